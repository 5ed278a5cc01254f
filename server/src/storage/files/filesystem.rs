//! Where a database lies: file systems whose locks and syncs may not be what they are on a local disk.

use std::path::Path;

/// Magic numbers of file systems, see statfs(2), that are not a disk of this machine.
const REMOTE: [(u64, &str); 18] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564C, "NCP"),
    (0x00C3_6400, "Ceph"),
    (0x0BD0_0BD0, "Lustre"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x786F_4256, "a shared folder of VirtualBox"),
    (0xBACB_ACBC, "a shared folder of VMware"),
];

/// The name of the file system with this number, if it is one that lies over a network or in another program.
fn remote(magic: u64) -> Option<&'static str> {
    REMOTE.iter().find(|(number, _)| *number == magic).map(|(_, name)| name).copied()
}

/// What is to be said of a store in the file at `path` because of the file system that it lies on.
pub(in crate::storage) fn warning(path: &Path) -> Option<String> {
    let place = path.ancestors().find(|it| it.exists()).filter(|it| !it.as_os_str().is_empty());
    let found = rustix::fs::statfs(place.unwrap_or(Path::new("."))).ok()?;
    // Its type differs between machines; the numbers have 32 bits.
    let name = remote(u64::from(found.f_type as u32))?;
    Some(format!(
        "{} lies on {name}: locks and syncs there may not keep what they promise, so a second server may not be noticed and \
         a power loss may lose what was acknowledged. Put the database on a local disk",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_foreign_file_systems_are_told_from_local_ones() {
        for (magic, name) in [
            (0x6969, Some("NFS")),
            (0xFF53_4D42, Some("CIFS")),
            (0xFE53_4D42, Some("SMB")),
            (0x0102_1997, Some("9p")),
            (0x6573_5546, Some("FUSE")),
            (0x5346_414F, Some("AFS")),
            (0x00C3_6400, Some("Ceph")),
            (0x0BD0_0BD0, Some("Lustre")),
            (0x0116_1970, Some("GFS2")),
            (0x7461_636F, Some("OCFS2")),
            (0xEF53, None),      // ext4
            (0x0102_1994, None), // tmpfs
            (0x5846_5342, None), // XFS
            (0x9123_683E, None), // Btrfs
            (0x2FC1_2FC1, None), // ZFS
            (0x794C_7630, None), // overlayfs
            (0xF2F5_2010, None), // F2FS
        ] {
            assert_eq!(remote(magic), name, "{magic:#x}");
        }
    }

    #[test]
    fn numbers_are_listed_once() {
        let mut numbers = REMOTE.map(|(number, _)| number).to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), REMOTE.len());
    }

    #[test]
    fn a_place_that_does_not_exist_yet_is_that_of_the_directory_above_it() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(warning(&directory.path().join("not/yet/there")), warning(directory.path()));
    }
}
