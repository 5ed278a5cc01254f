//! Whether there is room for what a command is about to write.

use std::path::Path;

use indicatif::HumanBytes;

use crate::outcome::{Code, Failure};

/// Refuses where the file system of `path` has less than this left.
pub(crate) fn require(path: &Path, bytes: u64, what: &str) -> Result<(), Failure> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let system = rustix::fs::statvfs(directory).map_err(std::io::Error::from)?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    let (needed, free) = (HumanBytes(bytes), HumanBytes(free));
    let place = directory.display();
    Err(Failure::new(Code::Io, format!("{what} needs up to {needed}; {place} has {free} left. Nothing was changed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_is_refused_before_anything_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        assert!(require(&path, 1, "a test").is_ok());
        let refused = require(&path, u64::MAX, "a test").unwrap_err();
        assert_eq!(refused.code, Code::Io);
        assert!(refused.message.contains("a test needs up to"), "{refused}");
    }
}
