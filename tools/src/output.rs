//! A file that is there when it is whole, or not at all.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::outcome::{Code, Failure};

/// A file being written beside the place where it is to be, for its owner only. Dropped, nothing is left of it.
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
                return Err(Failure::usage(format!("{} is no file, so it cannot be replaced by one", path.display())));
            }
            if !force {
                return Err(exists(path));
            }
        }
        let file = NamedTempFile::with_prefix_in(".dcstore-", directory_of(path));
        let file = BufWriter::new(file.map_err(|error| failed(path, &error))?);
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
        match &mut self.file {
            Encoding::Plain(file) => file.write(bytes),
            Encoding::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Encoding::Plain(file) => file.flush(),
            Encoding::Zstd(encoder) => encoder.flush(),
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
