//! The end of whoever looks.

use std::{
    fs::File,
    io,
    os::unix::net::UnixStream,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    socket::{short_name, socket_path},
    wire::{Answer, Call, receive, send, tree_of},
};
use crate::{
    error::Error,
    look::spool::Spool,
    schema::{
        catalogue::{Catalogue, fingerprint},
        range::{Direction, RawRange},
    },
    store::source::{RawRow, RawRows, RawSource, Tree},
};

/// How long the other end may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store that another process has open. Its rows are read in steps, each from the newest state: what is written
/// meanwhile shows in later steps and not in earlier ones. [`spool`](Self::spool) reads one moment.
pub struct Live {
    stream: Mutex<UnixStream>,
    about: String,
    process: u32,
}

impl Live {
    /// Connects to the process that has the file at `path` open; `None` if nobody answers there.
    pub fn connect(path: &Path, catalogue: Catalogue) -> Result<Option<Self>, Error> {
        let connected = short_name(&socket_path(path)).and_then(|(_directory, short)| UnixStream::connect(short));
        let mut stream = match connected {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // Of more readers than it turns away in good order the other end hears nothing: what they say may not get through.
        let sent = send(&mut stream, &Call::Hello);
        match receive(&mut stream).map_err(|error| sent.err().unwrap_or(error))? {
            Answer::Busy(readers) => Err(Error::Busy(usize::try_from(readers).unwrap_or(usize::MAX))),
            Answer::Hello { about, process, fingerprint: theirs } if theirs == fingerprint(catalogue) => {
                Ok(Some(Self { stream: Mutex::new(stream), about, process }))
            }
            Answer::Hello { about, .. } => {
                Err(Error::Refused(format!("the store is open in {about}, whose tables are not those of this program")))
            }
            other => Err(unexpected(other)),
        }
    }

    /// What the process says of itself.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// The number of the process.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Takes every row as of one moment into `file`, which is empty. The other process holds the moment no longer than
    /// that takes. `progress` is told the rows taken so far and may stop it.
    pub fn spool(
        self,
        catalogue: Catalogue,
        file: File,
        progress: &mut dyn FnMut(u64) -> Result<(), Error>,
    ) -> Result<Spool, Error> {
        match self.call(&Call::Spool)? {
            Answer::Spool => {
                let stream = self.stream.into_inner().unwrap_or_else(PoisonError::into_inner);
                Spool::receive(catalogue, stream, file, progress)
            }
            other => Err(unexpected(other)),
        }
    }

    fn call(&self, call: &Call) -> Result<Answer, Error> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        send(&mut *stream, call)?;
        receive(&mut *stream)
    }
}

fn unexpected(answer: Answer) -> Error {
    Error::Refused(match answer {
        Answer::Refused(why) => format!("the process that has the store open refused: {why}"),
        other => format!("the process that has the store open answered something else: {other:?}"),
    })
}

impl RawSource for Live {
    fn raw(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.call(&Call::Raw(table.into(), key.to_vec()))? {
            Answer::Raw(value) => Ok(value),
            other => Err(unexpected(other)),
        }
    }

    fn scan(&self, table: &str, range: RawRange, direction: Direction) -> Result<RawRows<'_>, Error> {
        let table = table.to_owned();
        let mut left = Some(range);
        let pages = std::iter::from_fn(move || {
            let range = left.take()?;
            Some(match self.call(&Call::page(&table, range.clone(), direction)) {
                Ok(Answer::Page(rows, more)) => {
                    left = rows.last().filter(|_| more).map(|(key, _)| range.past(key.clone(), direction));
                    rows.into_iter().map(Ok).collect()
                }
                Ok(other) => vec![Err(unexpected(other))],
                Err(error) => vec![Err(error)],
            })
        });
        Ok(Box::new(pages.flat_map(Vec::<Result<RawRow, Error>>::into_iter)))
    }

    fn count(&self, table: &str) -> Result<u64, Error> {
        match self.call(&Call::Count(table.into()))? {
            Answer::Count(rows) => Ok(rows),
            other => Err(unexpected(other)),
        }
    }

    fn tree(&self, table: &str) -> Result<Option<Tree>, Error> {
        match self.call(&Call::Tree(table.into()))? {
            Answer::Tree(tree) => Ok(Some(tree_of(tree))),
            other => Err(unexpected(other)),
        }
    }
}
