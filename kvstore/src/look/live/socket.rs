//! The socket's place in the file system.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

/// Bytes that a socket's path may have, without the terminating zero; see unix(7).
const MAX_SOCKET_PATH: usize = 107;

/// Where the store in the file at `path` answers while it is open: beside it, under its name with `.sock` after it. A
/// name too long for a socket is replaced by its checksum.
pub fn socket_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let mut socket = OsString::from(name);
    socket.push(".sock");
    if socket.len() + "/proc/self/fd/2147483647/.new".len() > MAX_SOCKET_PATH {
        socket = format!("{:08x}.sock", crc32c::crc32c(name.as_bytes())).into();
    }
    path.with_file_name(socket)
}

/// A directory, and the short name of a file in it while it is open.
pub(super) fn short_name(path: &Path) -> io::Result<(File, PathBuf)> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory =
        File::from(rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    Ok((directory, short))
}
