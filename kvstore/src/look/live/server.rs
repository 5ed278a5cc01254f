//! The end of the process that has the store open.

use std::{
    io,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::{
    fs::Mode,
    net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType},
};

use super::{
    socket::{short_name, socket_path},
    wire::{Answer, Call, PAGE_BYTES, PAGE_ROWS, receive, send},
};
use crate::{
    error::Error,
    look::spool,
    schema::{
        catalogue::fingerprint,
        range::{Direction, RawRange},
    },
    store::{
        Store,
        source::{RawRow, RawSource as _},
    },
};

/// Readers at one time; another one is told so.
const MAX_READERS: usize = 8;
/// Readers that are being told so at one time; yet another one is hung up on.
const MAX_REFUSED: usize = 32;
/// How long a reader that is to be told so may take to ask.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a reader may take to accept what it asked for, so that no snapshot is held for one that sleeps.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a reader may be silent between two calls.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// How long to wait when a reader cannot be accepted, for want of descriptors for example.
const PAUSE: Duration = Duration::from_millis(100);
/// Steps down from normal priority for the threads that answer, see `nice(2)`.
const NICENESS: i32 = 10;

/// Answers readers until it is dropped.
pub struct LiveServer {
    path: PathBuf,
    listener: Arc<UnixListener>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LiveServer {
    /// Answers for `store`, which has the file at `path` open. Only whoever holds the file's lock may call this: a
    /// socket that is there is taken for one left by a crash. `about` is told to whoever asks who answers.
    pub fn start(store: Arc<Store>, path: &Path, about: String) -> io::Result<Self> {
        let path = socket_path(path);
        let listener = Arc::new(listen(&path)?);
        let stopping = Arc::new(AtomicBool::new(false));
        let (accepting, asked_to_stop) = (listener.clone(), stopping.clone());
        let thread = std::thread::Builder::new()
            .name("store-live".into())
            .spawn(move || accept(&accepting, &asked_to_stop, &store, &Arc::from(about)))?;
        Ok(Self { path, listener, stopping, thread: Some(thread) })
    }
}

impl Drop for LiveServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread: accepting on a socket that was shut down is an error.
        let _ = rustix::net::shutdown(&self.listener, Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A listening socket at `path`, which nobody but its owner could ever connect to.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let (_directory, short) = short_name(&new)?;
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&short)?)?;
    rustix::fs::chmod(&new, Mode::RUSR | Mode::WUSR)?;
    rustix::net::listen(&socket, MAX_READERS as i32)?;
    std::fs::rename(&new, path)?;
    Ok(socket.into())
}

/// A reader being served, or told that it is not; one less when dropped, in whatever way that comes about.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// `None` where there are enough.
    fn one_of(readers: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let counted = Self(readers.clone());
        (readers.fetch_add(1, Ordering::SeqCst) < most).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn accept(listener: &UnixListener, stopping: &AtomicBool, store: &Arc<Store>, about: &Arc<str>) {
    let (readers, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    while !stopping.load(Ordering::SeqCst) {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // A reader that has gone already, or no descriptor left: the next one may be served.
            Err(_) => {
                std::thread::sleep(PAUSE);
                continue;
            }
        };
        // Where no thread can be started, the reader is hung up on.
        if let Some(counted) = Counted::one_of(&readers, MAX_READERS) {
            // Weak: a reader must not keep the file open.
            let (store, about) = (Arc::downgrade(store), about.clone());
            spawn(move || serve(&store, &about, stream, counted));
        } else if let Some(counted) = Counted::one_of(&refused, MAX_REFUSED) {
            spawn(move || refuse(stream, counted));
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    let _ = std::thread::Builder::new().name("store-live-reader".into()).spawn(move || {
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
        work();
    });
}

fn serve(store: &Weak<Store>, about: &str, mut stream: UnixStream, _counted: Counted) {
    let _ = stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let _ = stream.set_read_timeout(Some(IDLE_TIMEOUT));
    // A reader that hangs up, in whatever way, is no concern of the store.
    let _ = std::iter::repeat_with(|| {
        let call = receive(&mut stream)?;
        let store = store.upgrade().ok_or(Error::Closed)?;
        respond(&store, about, call, &mut stream)
    })
    .find(Result::is_err);
}

/// Tells a reader that there are enough. It is heard out first: whoever is hung up on while speaking may see nothing but a
/// broken pipe.
fn refuse(mut stream: UnixStream, _counted: Counted) {
    let _ = stream.set_write_timeout(Some(REFUSAL_TIMEOUT));
    let _ = stream.set_read_timeout(Some(REFUSAL_TIMEOUT));
    if receive::<Call>(&mut stream).is_ok() {
        let _ = send(&mut stream, &Answer::Busy(MAX_READERS as u32));
    }
}

/// Answers one call; an error ends the conversation.
fn respond(store: &Store, about: &str, call: Call, stream: &mut UnixStream) -> Result<(), Error> {
    if let Call::Spool = call {
        let snapshot = store.snapshot()?;
        send(stream, &Answer::Spool)?;
        spool::write(&snapshot, &mut *stream, &mut |_| Ok(()))?;
        return Err(Error::Closed); // the reader has all it came for
    }
    let answer = answer(store, about, call).unwrap_or_else(|error| Answer::Refused(error.to_string()));
    send(stream, &answer)
}

fn answer(store: &Store, about: &str, call: Call) -> Result<Answer, Error> {
    let snapshot = store.snapshot()?;
    Ok(match call {
        Call::Hello => Answer::Hello {
            about: about.into(),
            process: std::process::id(),
            fingerprint: fingerprint(store.catalogue()),
        },
        Call::Raw(table, key) => Answer::Raw(snapshot.raw(&table, &key)?),
        Call::Page(table, start, end, reverse) => {
            let direction = if reverse { Direction::Reverse } else { Direction::Forward };
            let (mut rows, mut bytes) = (Vec::<RawRow>::new(), 0);
            for row in snapshot.scan(&table, RawRange { start, end }, direction)? {
                let row = row?;
                bytes += row.0.len() + row.1.len();
                rows.push(row);
                if rows.len() >= PAGE_ROWS || bytes >= PAGE_BYTES {
                    return Ok(Answer::Page(rows, true));
                }
            }
            Answer::Page(rows, false)
        }
        Call::Count(table) => Answer::Count(snapshot.count(&table)?),
        Call::Tree(table) => Answer::tree(snapshot.tree(&table)?.unwrap_or_default()),
        Call::Spool => Answer::Spool,
    })
}
