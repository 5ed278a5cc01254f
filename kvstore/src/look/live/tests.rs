use std::{io, ops::Bound, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use super::{socket::short_name, *};
use crate::{Direction, Error, Options, RawRange, RawRow, RawSource, Schema, Store, catalogue, record, table};

record! {
    /// A word.
    struct Word: version 1 {
        /// Its letters.
        letters: String,
    }
}

table! {
    /// Words by number.
    table Words("words"): u64 => Word;
}

const SCHEMA: Schema = Schema::new(catalogue![Words]);

fn add(store: &Store, keys: std::ops::Range<u64>) {
    add_long(store, keys, 600);
}

fn add_long(store: &Store, keys: std::ops::Range<u64>, length: usize) {
    store
        .write(|batch| {
            keys.map(|key| (key, Word { letters: "x".repeat(length) }))
                .try_for_each(|(key, word)| batch.insert::<Words>(&key, &word))
        })
        .unwrap();
}

fn a_store(path: &Path) -> Arc<Store> {
    let store = Options::default().open(path, &SCHEMA).unwrap();
    add(&store, 0..2500);
    Arc::new(store)
}

fn keys(source: &dyn RawSource, range: RawRange, direction: Direction) -> Vec<RawRow> {
    source.scan("words", range, direction).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_reader_in_steps_sees_what_the_store_has_and_what_is_written_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = a_store(&path);
    assert!(Live::connect(&path, SCHEMA.catalogue).unwrap().is_none());
    let _server = LiveServer::start(store.clone(), &path, "a test".into()).unwrap();
    let live = Live::connect(&path, SCHEMA.catalogue).unwrap().unwrap();
    assert_eq!((live.about(), live.process()), ("a test", std::process::id()));
    let snapshot = store.snapshot().unwrap();
    let key = |key: u64| key.to_be_bytes().to_vec();
    for range in [
        RawRange::ALL,
        RawRange::above(key(1200)),
        RawRange { start: Bound::Included(key(999)), end: Bound::Excluded(key(2001)) },
        RawRange { start: Bound::Included(key(9)), end: Bound::Excluded(key(2)) },
    ] {
        for direction in [Direction::Forward, Direction::Reverse] {
            assert_eq!(keys(&live, range.clone(), direction), keys(&*snapshot, range.clone(), direction), "{range:?}");
        }
    }
    assert_eq!(live.count("words").unwrap(), 2500);
    assert_eq!(live.tree("words").unwrap(), RawSource::tree(&*snapshot, "words").unwrap());
    assert!(live.raw("words", &key(7)).unwrap().is_some() && live.raw("words", &key(2500)).unwrap().is_none());
    assert!(matches!(live.count("no such table"), Err(Error::Refused(_))));
    add(&store, 2500..2600);
    assert_eq!(live.count("words").unwrap(), 2600);
}

#[test]
fn a_page_that_is_full_of_bytes_before_it_is_of_rows_is_not_the_last() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = a_store(&path);
    add_long(&store, 2500..2510, wire::PAGE_BYTES / 3);
    let _server = LiveServer::start(store.clone(), &path, "a test".into()).unwrap();
    let live = Live::connect(&path, SCHEMA.catalogue).unwrap().unwrap();
    for direction in [Direction::Forward, Direction::Reverse] {
        assert_eq!(keys(&live, RawRange::ALL, direction).len(), 2510, "{direction:?}");
    }
}

#[test]
fn a_spool_is_one_moment_while_the_store_is_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = a_store(&path);
    let _server = LiveServer::start(store.clone(), &path, "a test".into()).unwrap();
    let live = Live::connect(&path, SCHEMA.catalogue).unwrap().unwrap();
    let mut written = false;
    let spool = live.spool(SCHEMA.catalogue, tempfile::tempfile().unwrap(), &mut |rows| {
        if rows == 100 {
            add(&store, 10_000..10_100);
            written = true;
        }
        Ok(())
    });
    assert_eq!(spool.unwrap().count("words").unwrap(), 2500);
    assert!(written);
}

#[test]
fn the_socket_is_private_replaces_a_stale_one_and_goes_with_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let mut deep = directory.path().to_owned();
    for _ in 0..5 {
        deep.push("a directory with quite a long name, as they are found in some homes");
    }
    std::fs::create_dir_all(&deep).unwrap();
    for name in ["store", &"s".repeat(200)] {
        let path = deep.join(name);
        let socket = socket_path(&path);
        std::fs::write(&socket, "left by a crash").unwrap();
        assert!(Live::connect(&path, SCHEMA.catalogue).unwrap().is_none());
        let server = LiveServer::start(a_store(&path), &path, "a test".into()).unwrap();
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Live::connect(&path, SCHEMA.catalogue).unwrap().is_some());
        drop(server);
        assert!(!socket.exists() && Live::connect(&path, SCHEMA.catalogue).unwrap().is_none());
    }
}

#[test]
fn too_many_readers_are_refused_and_a_closed_store_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = a_store(&path);
    let _server = LiveServer::start(store.clone(), &path, "a test".into()).unwrap();
    let connect = || Live::connect(&path, SCHEMA.catalogue);
    let mut readers: Vec<_> = (0..8).map(|_| connect().unwrap().unwrap()).collect();
    assert!(matches!(connect(), Err(Error::Busy(8))));
    store.close().unwrap();
    assert!(readers.pop().unwrap().count("words").is_err());
}

#[test]
fn one_reader_too_many_is_told_so_and_a_place_that_is_left_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let _server = LiveServer::start(a_store(&path), &path, "a test".into()).unwrap();
    let mut readers = Vec::new();
    let refused = loop {
        match Live::connect(&path, SCHEMA.catalogue) {
            Ok(reader) => readers.push(reader.unwrap()),
            Err(error) => break error,
        }
        assert!(readers.len() < 100);
    };
    assert!(matches!(refused, Error::Busy(8)), "{refused}");
    assert_eq!(readers.len(), 8);
    drop(readers.pop());
    // The server notices in its own time.
    let again = (0..1000).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        Live::connect(&path, SCHEMA.catalogue).ok().flatten()
    });
    assert!(again.is_some());
}

/// It speaks when it gets to it, as on a machine with other work to do.
#[test]
fn one_reader_too_many_may_be_slow_to_ask() {
    use std::io::Write as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let _server = LiveServer::start(a_store(&path), &path, "a test".into()).unwrap();
    let _readers: Vec<_> = (0..8).map(|_| Live::connect(&path, SCHEMA.catalogue).unwrap().unwrap()).collect();
    let (_directory, short) = short_name(&socket_path(&path)).unwrap();
    let mut ninth = std::os::unix::net::UnixStream::connect(short).unwrap();
    // Nobody hangs up on it meanwhile: that would be the end of what there is to read.
    ninth.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let heard = std::io::Read::read(&mut ninth, &mut [0]);
    assert!(heard.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
    ninth.write_all(&[1, 0, 0, 0, 0]).unwrap(); // Hello
    assert!(std::io::Read::read(&mut ninth, &mut [0; 64]).unwrap() > 4);
}

#[test]
fn a_store_that_stops_in_the_middle_of_a_scan_ends_it_with_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = a_store(&path);
    let server = LiveServer::start(store.clone(), &path, "a test".into()).unwrap();
    let live = Live::connect(&path, SCHEMA.catalogue).unwrap().unwrap();
    let mut rows = live.scan("words", RawRange::ALL, Direction::Forward).unwrap();
    assert!(rows.next().unwrap().is_ok());
    drop(server);
    store.close().unwrap();
    assert!(rows.any(|row| row.is_err()));
    // Nobody is there any more, and the reader that is still connected keeps nobody from opening the file.
    assert!(Live::connect(&path, SCHEMA.catalogue).unwrap().is_none());
    drop(store);
    drop(Options::default().open(&path, &SCHEMA).unwrap());
}

/// Its end of the socket takes in what fits; all of that moment's pages would wait with the rest.
#[test]
fn a_reader_that_sleeps_is_hung_up_on_and_holds_no_moment() {
    use std::io::{Read as _, Write as _};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = a_store(&path);
    let moment = Arc::downgrade(&store.snapshot().unwrap());
    let _server = LiveServer::start(store.clone(), &path, "a test".into()).unwrap();
    let (_directory, short) = short_name(&socket_path(&path)).unwrap();
    let mut sleeping = std::os::unix::net::UnixStream::connect(short).unwrap();
    sleeping.write_all(&[1, 0, 0, 0, 5]).unwrap(); // Spool
    sleeping.read_exact(&mut [0; 5]).unwrap(); // that it follows
    add(&store, 2500..2501);
    assert!(moment.upgrade().is_some(), "it reads that moment, and gets no further");
    let began = std::time::Instant::now();
    while moment.upgrade().is_some() {
        assert!(began.elapsed().as_secs() < 60, "the moment is held for a reader that sleeps");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // Nobody is at the other end any more.
    assert!((0..100).any(|_| sleeping.write_all(&[0]).is_err()));
}

#[test]
fn a_reader_that_breaks_the_conversation_off_harms_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let _server = LiveServer::start(a_store(&path), &path, "a test".into()).unwrap();
    let connect = || {
        let (_directory, short) = short_name(&socket_path(&path)).unwrap();
        std::os::unix::net::UnixStream::connect(short).unwrap()
    };
    use std::io::Write as _;
    for said in [&[][..], &[1], &[0xFF; 4], &[3, 0, 0, 0, 9, 9, 9], &[200, 0, 0, 0, 1]] {
        for _ in 0..8 {
            connect().write_all(said).unwrap();
        }
        let reader = (0..1000).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            Live::connect(&path, SCHEMA.catalogue).ok().flatten()
        });
        assert_eq!(reader.unwrap().count("words").unwrap(), 2500);
    }
}
