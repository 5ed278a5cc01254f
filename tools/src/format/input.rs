//! Where a dump comes from. It is read twice, first to check it and then to load it; what cannot be read twice, such as
//! standard input, is copied to a file without a name while it is read the first time.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Read, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use super::reader::Reader;
use crate::outcome::{Code, Failure};

/// A dump that can be read twice.
pub(crate) struct Input {
    path: PathBuf,
    source: Source,
}

enum Source {
    /// A file, opened anew each time.
    File,
    /// What is read the first time, and what the second.
    Stream { first: Option<Box<dyn Read>>, copy: File },
}

impl Input {
    /// The dump at `path`, `-` being standard input. A copy of one, if it needs that, lies in `directory`, or where temporary
    /// files do.
    pub(crate) fn open(path: &Path, directory: &Path) -> Result<Self, Failure> {
        let stream: Box<dyn Read> = if path == Path::new("-") {
            if io::stdin().is_terminal() {
                return Err(Failure::usage("standard input is a terminal; give a dump to it with < or |"));
            }
            Box::new(io::stdin())
        } else {
            let failed = |error| cannot_read(path, &error);
            let file = File::open(path).map_err(failed)?;
            let kind = file.metadata().map_err(failed)?;
            if kind.is_dir() {
                return Err(Failure::usage(format!("{} is a directory, not a dump", path.display())));
            }
            if kind.is_file() {
                return Ok(Self { path: path.into(), source: Source::File });
            }
            Box::new(file)
        };
        let copy = tempfile::tempfile_in(directory).or_else(|_| tempfile::tempfile())?;
        Ok(Self { path: path.into(), source: Source::Stream { first: Some(stream), copy } })
    }

    /// Begins to read it: for the first time, or from the copy.
    pub(crate) fn reader(&mut self) -> Result<Reader, Failure> {
        let path = self.path.clone();
        let failed = move |error: io::Error| cannot_read(&path, &error);
        let bytes: Box<dyn BufRead> = match &mut self.source {
            Source::File => Box::new(BufReader::new(File::open(&self.path).map_err(&failed)?)),
            Source::Stream { first, copy } => {
                let mut copy = copy.try_clone()?;
                match first.take() {
                    Some(first) => Box::new(BufReader::new(Copying { first, copy })),
                    None => {
                        copy.rewind()?;
                        Box::new(BufReader::new(copy))
                    }
                }
            }
        };
        Reader::over(bytes, failed)
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    Failure::new(Code::Io, format!("cannot read {name}: {error}"))
}

/// Keeps what is read.
struct Copying {
    first: Box<dyn Read>,
    copy: File,
}

impl Read for Copying {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.first.read(buffer)?;
        self.copy.write_all(buffer.get(..read).unwrap_or_default())?;
        Ok(read)
    }
}
