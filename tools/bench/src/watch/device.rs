//! The block device below a directory, and what it counts.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::mounts::Mount;

/// A block device, or a partition of one.
///
/// It counts what the whole machine writes, not what one process does. Writes reach it when somebody syncs: a caller
/// syncs before the first reading, so that older writes are not counted as new ones, and before the last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Device {
    /// Its directory in sysfs.
    directory: PathBuf,
    /// That of the whole disk: the same, unless it is a partition.
    disk: PathBuf,
}

/// What a device has done since it was found by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) bytes_written: u64,
    /// Flushes of its cache, of the whole disk: they are not counted by partition. Concurrent ones may be made one. `None`
    /// before Linux 5.5.
    pub(crate) flushes: Option<u64>,
}

impl Device {
    /// The device that a directory is on; `None` where there is none, as under tmpfs or NFS, or more than one, or where it
    /// is out of sight, as in a container. Of a btrfs over several devices, the one it was mounted by.
    pub(crate) fn under(directory: &Path) -> Option<Self> {
        let directory = directory.canonicalize().ok()?;
        // File systems that may span devices, and those above others, have numbers without a device.
        Self::numbered(fs::metadata(&directory).ok()?.dev()).or_else(|| {
            let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
            let device = Mount::device_file(&directory, &mountinfo)?;
            Self::numbered(fs::metadata(device).ok()?.rdev())
        })
    }

    fn numbered(number: u64) -> Option<Self> {
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        Self::at(&Path::new("/sys/dev/block").join(format!("{major}:{minor}")))
    }

    fn at(sysfs: &Path) -> Option<Self> {
        let directory = sysfs.canonicalize().ok()?;
        let disk = match directory.join("partition").exists() {
            true => directory.parent()?.to_owned(),
            false => directory.clone(),
        };
        Some(Self { directory, disk })
    }

    /// What it counts now.
    pub(crate) fn counters(&self) -> Option<Counters> {
        let of = |directory: &Path| parse(&fs::read_to_string(directory.join("stat")).ok()?);
        Some(Counters { bytes_written: of(&self.directory)?.bytes_written, flushes: of(&self.disk)?.flushes })
    }

    /// Its name, with what is known of the disk.
    pub(crate) fn name(&self) -> String {
        let read = |path: PathBuf| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let last = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let model = read(self.disk.join("device/model")).or_else(|| read(self.directory.join("dm/name")));
        let rotational = read(self.disk.join("queue/rotational")).map(|it| match it.as_str() {
            "0" => "not rotational".to_owned(),
            _ => "rotational, or so it says".to_owned(), // virtual disks often say so
        });
        let known: Vec<String> = model.into_iter().chain(rotational).collect();
        let name = last(&self.directory);
        if known.is_empty() { name } else { format!("{name} ({})", known.join(", ")) }
    }
}

/// Reads a `stat` of sysfs, see the kernel's `Documentation/block/stat.rst`.
fn parse(stat: &str) -> Option<Counters> {
    const SECTOR_BYTES: u64 = 512; // of this file, whatever the device's own
    let fields: Vec<u64> = stat.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let bytes_written = fields.get(6)?.checked_mul(SECTOR_BYTES)?;
    Some(Counters { bytes_written, flushes: fields.get(15).copied() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn counters_of_old_and_new_kernels_are_read() {
        let new = " 4445384 83257 199792474 6856685 18715868 646010 590695816 8162409 0 1111156 15575091 470885 401 \
                   299207880 107760 2948065 448235\n";
        assert_eq!(parse(new), Some(Counters { bytes_written: 590_695_816 * 512, flushes: Some(2_948_065) }));
        let old = "     446      216    4384       16      33       11     352        4       0       20       20\n";
        assert_eq!(parse(old), Some(Counters { bytes_written: 352 * 512, flushes: None }));
        assert_eq!(parse(""), None);
        assert_eq!(parse("one two three four five six seven"), None);
    }

    /// What sysfs has of a disk with a partition; the disk has written 70 sectors, the partition 30 of them.
    fn sysfs() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let partition = root.path().join("devices/sda/sda1");
        fs::create_dir_all(&partition).unwrap();
        fs::create_dir_all(root.path().join("devices/sda/device")).unwrap();
        fs::create_dir_all(root.path().join("devices/sda/queue")).unwrap();
        fs::write(root.path().join("devices/sda/device/model"), "Quick 980   \n").unwrap();
        fs::write(root.path().join("devices/sda/queue/rotational"), "0\n").unwrap();
        fs::write(root.path().join("devices/sda/stat"), "0 0 0 0 0 0 70 0 0 0 0 0 0 0 0 5 0\n").unwrap();
        fs::write(partition.join("stat"), "0 0 0 0 0 0 30 0 0 0 0 0 0 0 0 0 0\n").unwrap();
        fs::write(partition.join("partition"), "1\n").unwrap();
        symlink("devices/sda/sda1", root.path().join("8:1")).unwrap();
        symlink("devices/sda", root.path().join("8:0")).unwrap();
        root
    }

    #[test]
    fn a_partition_counts_its_own_bytes_and_the_flushes_of_its_disk() {
        let root = sysfs();
        let counters = |name: &str| Device::at(&root.path().join(name)).unwrap().counters();
        assert_eq!(counters("8:1"), Some(Counters { bytes_written: 30 * 512, flushes: Some(5) }));
        assert_eq!(counters("8:0"), Some(Counters { bytes_written: 70 * 512, flushes: Some(5) }));
        assert_eq!(Device::at(&root.path().join("0:40")), None);
    }

    #[test]
    fn the_name_of_a_partition_says_what_its_disk_is() {
        let root = sysfs();
        assert_eq!(Device::at(&root.path().join("8:1")).unwrap().name(), "sda1 (Quick 980, not rotational)");
        fs::write(root.path().join("devices/sda/queue/rotational"), "1\n").unwrap();
        let name = Device::at(&root.path().join("8:0")).unwrap().name();
        assert_eq!(name, "sda (Quick 980, rotational, or so it says)");
    }

    #[test]
    fn what_is_written_and_synced_is_counted_by_the_device_where_there_is_one() {
        // Where this program was built: the place for temporary files may be in memory.
        let directory = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let Some(device) = Device::under(directory.path()) else {
            let number = fs::metadata(directory.path()).unwrap().dev();
            assert_eq!(rustix::fs::major(number), 0, "device {number} is not seen");
            return eprintln!("this directory is on no block device that can be seen");
        };
        let before = device.counters().unwrap().bytes_written;
        let file = fs::File::create(directory.path().join("file")).unwrap();
        // Repeated bytes: compressed by btrfs, they would be fewer.
        let noise: Vec<u8> =
            (0..1_u32 << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        std::io::Write::write_all(&mut &file, &noise).unwrap();
        file.sync_all().unwrap();
        let written = device.counters().unwrap().bytes_written - before;
        assert!(written >= noise.len() as u64, "{written} bytes on {}", device.name());
    }
}
