//! Files beside a store's: the copy that is kept before it gets another format.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use crate::error::CannotOpen;

/// A file's name with something after it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The names that files as they were before they got another format have, in the order in which they are taken.
pub(super) fn kept_names(path: &Path, format: u32) -> impl Iterator<Item = PathBuf> {
    let first = beside(path, &format!(".before-format-{}", format.saturating_add(1)));
    let numbered = first.clone();
    [first].into_iter().chain((2..u32::MAX).map(move |number| beside(&numbered, &format!("-{number}"))))
}

/// One of them that is still free. A copy from an earlier upgrade, since gone back on, is somebody's backup.
pub(super) fn free_name(path: &Path, format: u32) -> PathBuf {
    kept_names(path, format).find(|name| !name.exists()).unwrap_or_else(|| beside(path, ".before"))
}

/// Keeps the file as it was before its first migration, beside it.
pub(super) fn keep_copy(path: &Path, format: u32) -> Result<PathBuf, CannotOpen> {
    let copy = free_name(path, format);
    let partial = beside(path, &format!(".before-format-{}.partial", format.saturating_add(1)));
    let written = std::fs::copy(path, &partial)
        .and_then(|_| File::open(&partial)?.sync_all())
        .and_then(|()| std::fs::rename(&partial, &copy))
        .and_then(|()| sync_directory(&copy));
    written.map_err(|source| {
        let _ = std::fs::remove_file(&partial); // half a copy is worth nothing, and takes space that may be what is missing
        CannotOpen::Io { path: copy.clone(), source }
    })?;
    Ok(copy)
}

/// Puts the names in a file's directory on disk.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
