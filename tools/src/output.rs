//! A file that is there when it is whole, or not at all.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::MetadataExt as _,
    path::Path,
    path::PathBuf,
};

use tempfile::NamedTempFile;

use crate::outcome::{Code, Failure};

/// How the names of files begin that are being written.
const PREFIX: &str = ".dcstore-";

/// A file being written beside the place where it is to be, for its owner only. Dropped, nothing is left of it; what is left
/// of one whose process was killed goes when the next one is begun beside it.
pub(crate) struct Output {
    path: PathBuf,
    force: bool,
    file: Encoding,
}

enum Encoding {
    Plain(BufWriter<NamedTempFile>),
    Zstd(zstd::Encoder<'static, BufWriter<NamedTempFile>>),
}

impl Output {
    /// Begins a file; compressed if its name ends in `.zst`.
    pub(crate) fn create(path: &Path, force: bool) -> Result<Self, Failure> {
        if let Ok(there) = path.metadata() {
            if !there.is_file() {
                let path = path.display();
                return Err(Failure::usage(format!(
                    "{path} is no file, so it cannot be replaced by one; `-o -` writes to standard output"
                )));
            }
            if !force {
                return Err(exists(path));
            }
        }
        let file = begin(directory_of(path)).map_err(|error| failed(path, &error))?;
        let file = BufWriter::new(file);
        let is_compressed = path.extension().is_some_and(|extension| extension == "zst");
        let file = match is_compressed {
            true => Encoding::Zstd(zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?),
            false => Encoding::Plain(file),
        };
        Ok(Self { path: path.into(), force, file })
    }

    /// Puts the whole file on disk and then in its place.
    pub(crate) fn keep(self) -> Result<(), Failure> {
        let Self { path, force, file } = self;
        let kept = || {
            let plain = match file {
                Encoding::Plain(file) => file,
                Encoding::Zstd(encoder) => encoder.finish()?,
            };
            let file = plain.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            let kept = if force { file.persist(&path) } else { file.persist_noclobber(&path) };
            kept.map_err(|refused| refused.error)?;
            File::open(directory_of(&path))?.sync_all()
        };
        kept().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&path),
            _ => failed(&path, &error),
        })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.file {
            Encoding::Plain(file) => file.write(bytes),
            Encoding::Zstd(encoder) => encoder.write(bytes),
        };
        written.map_err(|error| io::Error::new(error.kind(), failed(&self.path, &error).message))
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Encoding::Plain(file) => file.flush(),
            Encoding::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// A new file that is locked for as long as it is being written: that tells the next one that it is nobody's remains.
fn begin(directory: &Path) -> io::Result<NamedTempFile> {
    sweep(directory);
    loop {
        let file = NamedTempFile::with_prefix_in(PREFIX, directory)?;
        // Where there are no locks, nobody can take it for remains either.
        let _ = file.as_file().try_lock();
        let own = file.as_file().metadata()?;
        // Between its making and its locking, somebody may have swept it away.
        if fs::metadata(file.path()).is_ok_and(|named| (named.ino(), named.dev()) == (own.ino(), own.dev())) {
            return Ok(file);
        }
    }
}

/// Removes what is left of files whose processes were killed.
fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_one = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !is_one || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        if File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn exists(path: &Path) -> Failure {
    Failure::usage(format!("{} exists; --force replaces it", path.display()))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::Io, format!("cannot write {}: {error}", path.display()))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_left_of_others_is_swept_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path(".dcstore-left"), "by a killed process").unwrap();
        fs::write(path("dcstore-mine"), "").unwrap();
        fs::create_dir(path(".dcstore-directory")).unwrap();
        let one = Output::create(&path("one"), false).unwrap();
        let other = Output::create(&path("other"), false).unwrap();
        assert!(!path(".dcstore-left").exists());
        one.keep().unwrap();
        other.keep().unwrap();
        let mut names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".dcstore-directory", "dcstore-mine", "one", "other"]);
    }
}
