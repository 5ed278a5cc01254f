//! Which file system a directory is on: `/proc/self/mountinfo`, see `proc_pid_mountinfo(5)`.

use std::path::{Path, PathBuf};

/// One mounted file system.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mount {
    point: PathBuf,
    kind: String,
    source: PathBuf,
    /// Those of this mount, then those of the file system.
    options: Vec<String>,
}

impl Mount {
    /// The one that `directory`, an absolute path without links, is in, in the text of a `mountinfo`.
    pub(super) fn of(directory: &Path, mountinfo: &str) -> Option<Self> {
        // Of several over the same point, the last one is seen.
        mountinfo
            .lines()
            .filter_map(Self::parse)
            .filter(|mount| directory.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
    }

    fn parse(line: &str) -> Option<Self> {
        // 36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(4);
        let (point, own) = (unescaped(mount.next()?), mount.next()?);
        let mut file_system = file_system.split(' ');
        let (kind, source) = (file_system.next()?, unescaped(file_system.next()?));
        let mut options: Vec<String> = Vec::new();
        for option in own.split(',').chain(file_system.next()?.split(',')) {
            if !options.iter().any(|it| it == option) {
                options.push(option.to_owned());
            }
        }
        Some(Self { point: point.into(), kind: kind.to_owned(), source: source.into(), options })
    }

    /// The file of the block device that a directory is on, as far as that is one file: through an overlay, that of the
    /// layer that is written to. Inside a container that layer is out of sight, and the answer is `None`.
    pub(super) fn device_file(directory: &Path, mountinfo: &str) -> Option<PathBuf> {
        let mut mount = Self::of(directory, mountinfo)?;
        if mount.kind == "overlay" {
            let upper = mount.options.iter().find_map(|option| option.strip_prefix("upperdir="))?;
            mount = Self::of(Path::new(upper), mountinfo)?;
        }
        mount.source.starts_with("/dev").then_some(mount.source)
    }

    /// Kind and options, for people.
    pub(super) fn describe(&self) -> String {
        format!("{} ({})", self.kind, self.options.join(","))
    }
}

/// The text that `mountinfo` writes with a backslash and three octal digits for each space, tab, newline and backslash.
fn unescaped(text: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, meant)| text.replace(escape, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with its data on a disk of its own, another disk mounted over that, btrfs in `/home`, and a container.
    const SERVER: &str = r"22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
31 27 8:1 / /srv rw,noatime shared:2 - ext4 /dev/sda1 rw
32 31 8:17 / /srv/data rw,noatime shared:3 - xfs /dev/sdb1 rw,inode64,noquota
33 31 253:3 / /srv/data rw,noatime shared:4 - xfs /dev/mapper/pool-data rw,inode64
34 27 0:40 /home /home rw,relatime shared:5 - btrfs /dev/sdc2 rw,compress=zstd:3,subvol=/home
35 27 0:41 / /srv/with\040space rw - tmpfs tmpfs rw,size=1024k
36 27 0:50 / /var/merged rw,relatime - overlay overlay rw,lowerdir=/lower,upperdir=/srv/data/upper,workdir=/srv/w
";
    /// What the same container sees of it.
    const CONTAINER: &str = "1 0 0:50 / / rw,relatime - overlay overlay rw,upperdir=/srv/data/upper,workdir=/srv/w\n";

    fn kind(directory: &str) -> String {
        Mount::of(Path::new(directory), SERVER).unwrap().describe()
    }

    fn device(directory: &str, mountinfo: &str) -> Option<PathBuf> {
        Mount::device_file(Path::new(directory), mountinfo)
    }

    #[test]
    fn a_directory_is_on_the_innermost_mount_that_is_seen() {
        assert_eq!(kind("/etc"), "ext4 (rw,relatime,errors=remount-ro)");
        assert_eq!(kind("/srv/database"), "ext4 (rw,noatime)");
        assert_eq!(kind("/srv/data/decentcom"), "xfs (rw,noatime,inode64)");
        assert_eq!(kind("/srv/with space/x"), "tmpfs (rw,size=1024k)");
        assert_eq!(Mount::of(Path::new("/etc"), "no mountinfo at all"), None);
    }

    #[test]
    fn the_device_is_found_through_btrfs_and_an_overlay_but_not_from_inside_a_container() {
        assert_eq!(device("/home/someone", SERVER), Some("/dev/sdc2".into()));
        assert_eq!(device("/var/merged/data", SERVER), Some("/dev/mapper/pool-data".into()));
        assert_eq!(device("/srv/with space", SERVER), None);
        assert_eq!(device("/data", CONTAINER), None);
    }
}
