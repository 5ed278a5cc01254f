//! Files that do not belong together: a log beside another file, a file without its log. Each is known for what it is, and
//! everything that does belong together just starts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

mod support;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use support::{Server, User, program};

const NAME: &str = "decentcom.sqlite";
const ACCEPTING: &str = "--accept-copy";

/// A directory with a store, and what was posted to it.
struct Town {
    place: tempfile::TempDir,
    channel: String,
    posted: usize,
}

impl Town {
    /// A store in which `count` posts were made by a server that is still up; it is not the first one, so that the file
    /// has a channel, whatever is in the log.
    async fn start(count: usize) -> (Self, Server, User) {
        let place = tempfile::tempdir().unwrap();
        stop(Server::start(place.path(), "sqlite"));
        let server = Server::start(place.path(), "sqlite");
        let user = server.log_in(1).await;
        let channel = user.channel("general").await;
        let mut town = Self { place, channel, posted: 0 };
        town.post(&user, count).await;
        (town, server, user)
    }

    async fn post(&mut self, user: &User, count: usize) {
        for _ in 0..count {
            user.post(&self.channel, &format!("post {}", self.posted)).await;
            self.posted += 1;
        }
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.data().join(format!("{NAME}{suffix}"))
    }

    /// Starts a server on a directory; what it says if it refuses.
    fn try_start(place: &Path, accepting: bool) -> Result<Server, String> {
        let mut command = program(place);
        if accepting {
            command.arg(ACCEPTING);
        }
        Server::launch(command, "sqlite")
    }

    /// A start has to work and to show so many posts.
    async fn shows(&self, place: &Path, count: usize) -> Server {
        let server = Self::try_start(place, false).unwrap_or_else(|log| panic!("{log}"));
        assert_eq!(self.count(&server).await, count, "{}", server.log());
        server
    }

    async fn count(&self, server: &Server) -> usize {
        let history = server.log_in(1).await.history(&self.channel, 100).await;
        history.iter().map(|it| it["id"].as_str().unwrap()).collect::<HashSet<_>>().len()
    }
}

fn stop(server: Server) {
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// A directory with copies of these files in `data`.
fn copy_of(files: &[PathBuf]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("data")).unwrap();
    for file in files {
        fs::copy(file, place.path().join("data").join(file.file_name().unwrap())).unwrap();
    }
    place
}

fn all_files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|it| it.unwrap().path()).collect()
}

fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = all_files(directory).into_iter().map(|it| (it.clone(), fs::read(it).unwrap())).collect();
    files.sort();
    files
}

/// Runs a statement with SQLite, in a process of its own that ends in good order.
fn sqlite(file: &Path, statement: &str) -> String {
    let script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1], isolation_level=None); \
                  print(c.execute(sys.argv[2]).fetchall()); c.close()";
    let ran = Command::new("python3").args(["-c", script]).arg(file).arg(statement).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_copied_without_its_log_from_a_running_server_is_named_and_can_be_accepted() {
    let (mut town, server, user) = Town::start(20).await;
    let copy = copy_of(&[town.file("")]);
    town.post(&user, 5).await;
    let before = contents(&copy.path().join("data"));
    for _ in 0..2 {
        let said = Town::try_start(copy.path(), false).err().expect("a copy without its log starts");
        assert!(said.contains("copied while a server had it open"), "{said}");
        assert!(said.contains("backup") && said.contains(ACCEPTING), "{said}");
        let now = contents(&copy.path().join("data"));
        assert!(before.iter().all(|file| now.contains(file)), "the file is as it was");
    }
    let accepted = Town::try_start(copy.path(), true).unwrap();
    assert!(town.count(&accepted).await < 20, "its log had some");
    assert!(accepted.log().contains("going on with what is in the file"), "{}", accepted.log());
    accepted.kill(); // from now on it is a store like any other
    let again = Town::try_start(copy.path(), false).unwrap();
    stop(again);
    assert_eq!(town.count(&server).await, 25);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_without_its_log_is_named_in_the_place_of_the_store_too() {
    for stopped_in_good_order in [true, false] {
        let (mut town, server, user) = Town::start(20).await;
        let copy = copy_of(&[town.file("")]);
        town.post(&user, 5).await;
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await; // the note beside the file follows
        if stopped_in_good_order {
            stop(server)
        } else {
            server.kill()
        }
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(town.file(suffix));
        }
        // Over the file, so that it is the same one; with the note still beside it.
        fs::write(town.file(""), fs::read(copy.path().join("data").join(NAME)).unwrap()).unwrap();
        for _ in 0..2 {
            let said = Town::try_start(town.place.path(), false).err().expect("an old copy starts");
            assert!(said.contains("copied while a server had it open"), "{stopped_in_good_order}: {said}");
        }
        let accepted = Town::try_start(town.place.path(), true).unwrap();
        assert!(town.count(&accepted).await < 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_beside_a_restored_file_is_not_applied_and_not_deleted() {
    let (mut town, server, _) = Town::start(10).await;
    stop(server);
    let backup = copy_of(&[town.file("")]); // closed in good order: a whole backup of 10
    let server = town.shows(town.place.path(), 10).await;
    let user = server.log_in(1).await;
    town.post(&user, 10).await;
    server.kill();
    let log = fs::read(town.file("-wal")).unwrap();
    assert!(!log.is_empty());
    for note_is_there in [true, false] {
        fs::copy(backup.path().join("data").join(NAME), town.file("")).unwrap();
        if !note_is_there {
            fs::remove_file(town.file(".lock")).unwrap();
        }
        let said = Town::try_start(town.place.path(), false).err().expect("a log of another opening is applied");
        assert!(said.contains("the log beside it (-wal) is not its own"), "{said}");
        assert!(said.contains("move the -wal and -shm beside it away"), "{said}");
        assert!(Town::try_start(town.place.path(), true).is_err(), "nobody can accept a mixture");
        assert_eq!(fs::read(town.file("-wal")).unwrap(), log);
    }
    // As it says.
    fs::rename(town.file("-wal"), town.data().join("the log")).unwrap();
    let _ = fs::remove_file(town.file("-shm"));
    town.shows(town.place.path(), 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_file_is_gone_stays() {
    let (town, server, _) = Town::start(5).await;
    server.kill();
    fs::remove_file(town.file("")).unwrap();
    let log = fs::read(town.file("-wal")).unwrap();
    for _ in 0..2 {
        let said = Town::try_start(town.place.path(), false).err().expect("a new store is made over an old log");
        assert!(said.contains("-wal"), "{said}");
        assert_eq!(fs::read(town.file("-wal")).unwrap(), log);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_together_just_starts() {
    // After a crash: as it is; copied with everything, or with its log alone; the note tidied away.
    let (mut town, server, user) = Town::start(20).await;
    town.post(&user, 5).await;
    server.kill();
    let whole = copy_of(&all_files(&town.data()));
    stop(town.shows(whole.path(), 25).await);
    let with_log = copy_of(&[town.file(""), town.file("-wal")]);
    stop(town.shows(with_log.path(), 25).await);
    // Somebody looks at it, or writes to it, with another program, which empties the log.
    let looked_at = copy_of(&all_files(&town.data()));
    sqlite(&looked_at.path().join("data").join(NAME), "SELECT count(*) FROM messages");
    assert!(!looked_at.path().join("data").join(format!("{NAME}-wal")).exists());
    town.shows(looked_at.path(), 25).await.kill();
    town.shows(looked_at.path(), 25).await.kill();
    fs::remove_file(town.file(".lock")).unwrap();
    let server = town.shows(town.place.path(), 25).await;

    // Copies that SQLite made of the running store are whole.
    for (name, statement) in [("vacuumed", "VACUUM INTO '{}'"), ("backed up", "")] {
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join("data")).unwrap();
        let to = copy.path().join("data").join(NAME);
        if statement.is_empty() {
            let script = "import sqlite3,sys; a=sqlite3.connect(sys.argv[1]); b=sqlite3.connect(sys.argv[2]); a.backup(b); b.close(); a.close()";
            let ran = Command::new("python3").args(["-c", script]).arg(town.file("")).arg(&to).status().unwrap();
            assert!(ran.success());
        } else {
            sqlite(&town.file(""), &statement.replace("{}", to.to_str().unwrap()));
        }
        let copied = town.shows(copy.path(), 25).await;
        assert!(copied.log().contains("made by SQLite"), "{name}: {}", copied.log());
        stop(copied);
        stop(town.shows(copy.path(), 25).await);
    }

    // In good order: the file alone is everything, here and elsewhere, with another's note beside it too.
    stop(server);
    let alone = copy_of(&[town.file("")]);
    stop(town.shows(alone.path(), 25).await);
    fs::copy(alone.path().join("data").join(NAME), town.file("")).unwrap();
    town.shows(town.place.path(), 25).await.kill();
    town.shows(town.place.path(), 25).await.kill(); // the log was emptied at the start, and nothing committed since
    let server = town.shows(town.place.path(), 25).await;
    stop(server);
}

/// Each store has an id of its own, each opening another; "open since" is there for as long as it is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_keeps_its_id_and_says_that_it_is_open() {
    let (town, server, _) = Town::start(1).await;
    let facts = |file: &Path| {
        let names = ["store_id", "opening_id", "open_since"];
        names.map(|name| sqlite(file, &format!("SELECT value FROM meta WHERE name = '{name}'")).trim().to_owned())
    };
    let [store, opening, since] = facts(&town.file(""));
    assert!(store.len() > 32 && opening.len() > 32 && since.contains('T'), "{store} {opening} {since}");
    // They are in the file itself, whatever is in the log.
    let copy = copy_of(&[town.file("")]);
    assert_eq!(facts(&copy.path().join("data").join(NAME)), [store.clone(), opening.clone(), since]);
    stop(server);
    assert_eq!(facts(&town.file("")), [store.clone(), opening.clone(), "[]".into()]);
    let server = town.shows(town.place.path(), 1).await;
    let [same, other, _] = facts(&town.file(""));
    assert_eq!(same, store);
    assert_ne!(other, opening);
    drop(server);
    let (other_town, _server, _) = Town::start(1).await;
    assert_ne!(facts(&other_town.file(""))[0], store);
}
