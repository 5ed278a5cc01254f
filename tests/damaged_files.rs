//! Files damaged behind the store's back: everything answers, with a record or an error; nothing panics, hangs or takes
//! memory without bound, and what a checksum covers is either right or refused.
//!
//! redb: each record has a checksum over its key and bytes, so a record that is answered equals the original. SQLite has
//! no checksums: there a damaged text is answered as it lies in the file, and only the rest is held to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, Once, mpsc},
    time::Duration,
};

use decentcom_server::storage::{
    self, Backend, Category, Channel, Clock, ManualClock, Message, OpenError, RedbOptions, Session, Storage,
    StorageError, StorageOptions, User, inspect::verify_file,
};
use decentcom_tests::context::{START, at};

/// Damaged files per kind of store: `DAMAGES=100000 DAMAGE_SEED=7 cargo test -p decentcom-tests --test damaged_files` for a long
/// run.
const DAMAGES: u64 = 300;
const SEED: u64 = 1;
/// Far more than any file takes: one that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most address space that reading a damaged file may take beyond what sound ones took, threads' included.
const MAX_GROWTH_KIB: u64 = 512 * 1024;

/// The signal of a process that ended itself.
const SIGABRT: i32 = 6;
/// Most cases of a test that may end their process.
const MOST_ENDS: u64 = 5;

/// The files of a store, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// What was in the store.
#[derive(Default)]
struct Original {
    users: BTreeMap<String, User>,
    channels: BTreeMap<String, Channel>,
    categories: BTreeMap<String, Category>,
    messages: BTreeMap<String, Message>,
    sessions: BTreeMap<String, Session>,
}

/// SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn options(backend: Backend, directory: &Path) -> StorageOptions {
    let redb = RedbOptions { cache_bytes: 256 * 1024, ..RedbOptions::default() };
    StorageOptions { backend, path: directory.join("store"), redb, min_free: Default::default() }
}

/// A store with some of everything, half of it written before it was closed and opened again, and its files: closed in good
/// order, or as a crash leaves them. On SQLite the first half is then in the file, the second in the log.
async fn a_store(backend: Backend, is_closed: bool) -> (Files, Original) {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(at(START)));
    let mut store = storage::open(&options(backend, directory.path()), clock.clone()).await.unwrap();
    let mut original = Original::default();
    for number in 0..12 {
        clock.advance(Duration::from_millis(number % 2));
        let user = store.create_user(&format!("key {number}"), Some("name")).await.unwrap();
        let session = store.create_session(&user.id.text(), Duration::from_secs(3600)).await.unwrap();
        original.sessions.insert(session.token.clone(), session);
        original.users.insert(user.id.to_string(), user);
    }
    let authors: Vec<_> = original.users.keys().cloned().collect();
    for number in 0..4 {
        if number == 2 {
            store.close().await.unwrap();
            store = storage::open(&options(backend, directory.path()), clock.clone()).await.unwrap();
        }
        let category = store.create_category(&format!("category {number}"), number).await.unwrap();
        let channel =
            store.create_channel(&format!("channel {number}"), Some(&category.id.text()), number).await.unwrap();
        original.categories.insert(category.id.to_string(), category);
        for post in 0..40 {
            let text = format!("channel {number}, post {post} {}", "x".repeat(post * post));
            let mut message = store.create_message(&channel.id.text(), &authors[post % 12], &text).await.unwrap();
            if post % 9 == 8 {
                message = store.update_message(&message.id.text(), "edited").await.unwrap();
            }
            if post % 7 == 6 {
                store.delete_message(&message.id.text()).await.unwrap();
                message.deleted = true;
            }
            original.messages.insert(message.id.to_string(), message);
        }
        original.channels.insert(channel.id.to_string(), channel);
    }
    if is_closed {
        store.close().await.unwrap();
    }
    let mut files = Files::new();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name == "store" || name == "store-wal" {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    assert_eq!(files.len(), if backend == Backend::Sqlite && !is_closed { 2 } else { 1 });
    (files, original)
}

/// Damages one of the files and says how.
fn damage(files: &mut Files, random: &mut Random) -> String {
    const PAGE: usize = 4096;
    let which = random.below(files.len());
    let (name, bytes) = files.iter_mut().nth(which).unwrap();
    // Where there is something: redb's files are mostly empty.
    let used: Vec<usize> =
        (0..bytes.len()).step_by(PAGE).filter(|at| bytes[*at..].iter().take(PAGE).any(|byte| *byte != 0)).collect();
    let page = used[random.below(used.len())];
    let page_length = PAGE.min(bytes.len() - page);
    let place = |random: &mut Random| {
        let at = random.below(page_length);
        // Half of the time in the page's first bytes, which say what it is and where its rows are.
        page + if random.next().is_multiple_of(2) { at % 64.min(page_length) } else { at }
    };
    let length = 1 << random.below(10);
    let start = place(random);
    let range = start..(start + length).min(page + page_length);
    let what = match random.below(9) {
        0 | 1 => {
            bytes[start] ^= 1 << random.below(8);
            "one bit flipped"
        }
        2 => {
            for _ in 0..=random.below(16) {
                bytes[place(random)] ^= 1 << random.below(8);
            }
            "bits flipped"
        }
        3 => {
            bytes[range.clone()].fill(0);
            "zeros"
        }
        4 => {
            bytes[range.clone()].iter_mut().for_each(|byte| *byte = random.next() as u8);
            "random bytes"
        }
        5 => {
            let other = place(random);
            bytes.swap(start, other);
            "two bytes swapped"
        }
        6 | 7 => {
            // A write that went to the wrong place, or an old page come back.
            let other = used[random.below(used.len())];
            let whole = page_length.min(bytes.len() - other);
            let copy = bytes[page..page + whole].to_vec();
            if random.next().is_multiple_of(2) {
                bytes.copy_within(other..other + whole, page);
            }
            bytes[other..other + whole].copy_from_slice(&copy);
            "pages swapped or doubled"
        }
        _ => {
            bytes.truncate(start);
            "cut off"
        }
    };
    format!("{name}: {what} at {start}, length {length}")
}

/// An error that is a refusal, and none of a bug.
fn refused(error: &StorageError) {
    let told = format!("{error} {error:?}");
    assert!(!told.contains("panicked") && !told.contains("JoinError"), "{told}");
    assert!(!told.contains("out of memory"), "{told}");
}

/// Holds what a store answers against what was put into it.
struct Reading<'a> {
    store: Arc<dyn Storage>,
    original: &'a Original,
    has_checksums: bool,
    refusals: usize,
}

impl Reading<'_> {
    fn check<T: PartialEq + std::fmt::Debug>(&self, found: &T, original: Option<&T>) {
        if self.has_checksums {
            assert_eq!(Some(found), original, "a record that was never written");
        }
    }

    fn unless_refused<T>(&mut self, answer: Result<T, StorageError>) -> Option<T> {
        answer.inspect_err(refused).inspect_err(|_| self.refusals += 1).ok()
    }

    async fn read_everything(&mut self) {
        let (store, original) = (self.store.clone(), self.original);
        let _ = self.unless_refused(store.ping().await);
        for user in self.unless_refused(store.list_users().await).unwrap_or_default() {
            self.check(&user, original.users.get(&*user.id.text()));
        }
        for user in self.unless_refused(store.list_users_page(None, 500).await).unwrap_or_default() {
            self.check(&user, original.users.get(&*user.id.text()));
        }
        for channel in self.unless_refused(store.list_channels().await).unwrap_or_default() {
            self.check(&channel, original.channels.get(&*channel.id.text()));
        }
        for category in self.unless_refused(store.list_categories().await).unwrap_or_default() {
            self.check(&category, original.categories.get(&*category.id.text()));
        }
        for user in original.users.values() {
            if let Some(found) = self.unless_refused(store.get_user_by_id(&user.id.text()).await).flatten() {
                self.check(&found, Some(user));
            }
            if let Some(found) = self.unless_refused(store.get_user_by_pubkey(&user.pubkey).await).flatten() {
                self.check(&found, Some(user));
            }
        }
        for category in original.categories.values() {
            if let Some(found) = self.unless_refused(store.get_category(&category.id.text()).await).flatten() {
                self.check(&found, Some(category));
            }
        }
        for channel in original.channels.values() {
            if let Some(found) = self.unless_refused(store.get_channel(&channel.id.text()).await).flatten() {
                self.check(&found, Some(channel));
            }
            let mut before: Option<String> = None;
            for _ in 0..20 {
                let page = store.list_messages(&channel.id.text(), before.as_deref(), 7).await;
                let page = self.unless_refused(page).unwrap_or_default();
                self.check_page(channel, &page);
                let Some(last) = page.last() else { break };
                before = Some(last.id.to_string());
            }
            let page = store.list_messages_after(&channel.id.text(), &channel.id.text(), 500).await;
            let page = self.unless_refused(page).unwrap_or_default();
            self.check_page(channel, &page);
        }
        for message in original.messages.values() {
            if let Some(found) = self.unless_refused(store.get_message(&message.id.text()).await).flatten() {
                self.check(&found, Some(message));
            }
        }
        for (token, session) in &original.sessions {
            if let Some(found) = self.unless_refused(store.get_session(token).await).flatten() {
                self.check(&found, Some(session));
            }
        }
    }

    fn check_page(&self, channel: &Channel, page: &[Message]) {
        for message in page {
            self.check(message, self.original.messages.get(&*message.id.text()));
            if self.has_checksums {
                assert!(message.channel_id == channel.id && !message.deleted, "on the wrong page: {message:?}");
            }
        }
    }

    async fn write_a_little(&mut self) {
        let (store, original) = (self.store.clone(), self.original);
        let user = original.users.values().next().unwrap();
        let channel = original.channels.values().next().unwrap();
        let message = original.messages.values().next().unwrap();
        let _ = self.unless_refused(store.create_user("new", None).await);
        let _ = self.unless_refused(store.create_message(&channel.id.text(), &user.id.text(), "new").await);
        let _ = self.unless_refused(store.update_message(&message.id.text(), "new").await);
        let _ = self.unless_refused(store.delete_expired_sessions().await);
        let _ = self.unless_refused(store.delete_channel(&channel.id.text()).await);
        let _ = self.unless_refused(store.close().await);
    }
}

/// Opens these files, and closes them again without having done anything; then drops them.
async fn open_and_end(backend: Backend, files: &Files) -> usize {
    let mut refusals = 0;
    for is_closed in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, bytes)| fs::write(directory.path().join(name), bytes).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(at(START)));
        match storage::open(&options(backend, directory.path()), clock).await {
            Err(OpenError::Storage(error)) => refused(&error),
            Err(error) => assert!(!error.to_string().contains("panicked"), "{error}"),
            Ok(store) if is_closed => refusals += usize::from(store.close().await.inspect_err(refused).is_err()),
            Ok(store) => drop(store),
        }
    }
    refusals
}

/// Opens, reads, writes and verifies these files; answers how many calls were refused.
async fn use_everything(backend: Backend, files: &Files, original: &Original) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let restore = || files.iter().for_each(|(name, bytes)| fs::write(directory.path().join(name), bytes).unwrap());
    restore();
    let options = options(backend, directory.path());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(at(START)));
    let mut refusals = 0;
    match storage::open(&options, clock).await {
        Err(OpenError::Storage(error)) => refused(&error),
        Err(error) => assert!(!error.to_string().contains("panicked"), "{error}"),
        Ok(store) => {
            let has_checksums = backend == Backend::Redb;
            let mut reading = Reading { store, original, has_checksums, refusals: 0 };
            reading.read_everything().await;
            reading.write_a_little().await;
            refusals = reading.refusals;
        }
    }
    restore();
    let verified = verify_file(backend, &options.path, |_| refusals += 1);
    refusals + usize::from(verified.is_err())
}

/// The largest address space that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn within_patience<T: Send + 'static>(what: &str, case: impl Future<Output = T> + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = done.send(runtime.block_on(case));
    });
    match is_done.recv_timeout(PATIENCE) {
        Ok(result) => {
            thread.join().unwrap();
            result
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{what}: it failed"),
    }
}

/// Panics that somebody would see on a terminal, or that end a process.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Those so far. (An assertion must not hold the lock: its own panic is taken note of.)
fn seen() -> Vec<String> {
    SEEN.lock().unwrap().clone()
}

/// Takes note of every panic from now on; those that the stores make errors of are none.
fn watch_for_panics() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            SEEN.lock().unwrap().push(panic.to_string());
            hook(panic);
        }));
    });
}

/// Names the test and the case to go on from, in a process of its own.
const FROM: &str = "DAMAGE_FROM";
/// What such a process says when a case begins.
const CASE: &str = "case ";
/// What the store says before it ends the process, where its engine leaves it no other way (`kvstore/src/engine/contained.rs`).
const LAST_WORDS: &str = "the store's file is damaged";

/// Runs the cases in a process of its own, and in another from the next case on, where one ended its process and said why.
fn in_processes_of_their_own(test: &str, cases: impl FnOnce(u64)) {
    if let Some(from) =
        std::env::var(FROM).ok().and_then(|text| text.strip_prefix(test)?.strip_prefix(' ')?.parse().ok())
    {
        return cases(from);
    }
    let mut from = 0;
    let mut ends = 0;
    loop {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", "--nocapture", "--test-threads=1", test]).env(FROM, format!("{test} {from}"));
        let ended = process.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        if ended.status.success() {
            eprintln!("{test}: {ends} cases ended their process\n{}", said.lines().last().unwrap_or_default());
            return;
        }
        let last = said.lines().rev().find_map(|line| line.strip_prefix(CASE)?.parse::<u64>().ok());
        let is_told = ended.status.signal() == Some(SIGABRT) && said.contains(LAST_WORDS);
        assert!(is_told && ends < MOST_ENDS, "{test}: {} after {last:?}\n{said}", ended.status);
        (from, ends) = (last.unwrap() + 1, ends + 1);
    }
}

fn damage_everything(backend: Backend, is_closed: bool, test: &str) {
    in_processes_of_their_own(test, |from| damage_from(backend, is_closed, from));
}

fn damage_from(backend: Backend, is_closed: bool, from: u64) {
    watch_for_panics();
    let (damages, seed) = (setting("DAMAGES", DAMAGES), setting("DAMAGE_SEED", SEED));
    let (files, original) = within_patience("making a store", a_store(backend, is_closed));
    let (files, original) = (Arc::new(files), Arc::new(original));
    let sound = (files.clone(), original.clone());
    let refusals = within_patience("sound", async move { use_everything(backend, &sound.0, &sound.1).await });
    assert_eq!(refusals, 0, "a sound store refuses");
    let before = peak_kib();
    let mut noticed = 0;
    for number in from..damages {
        eprintln!("{CASE}{number}");
        let mut files = Files::clone(&files);
        let what = damage(&mut files, &mut Random(seed.wrapping_mul(1 << 32) + number));
        let what = format!("{what}, number {number} of DAMAGE_SEED={seed}");
        let original = original.clone();
        noticed +=
            u64::from(within_patience(&what, async move { use_everything(backend, &files, &original).await }) > 0);
        let growth = peak_kib().saturating_sub(before);
        assert!(growth < MAX_GROWTH_KIB, "{what}: took {growth} KiB");
    }
    eprintln!("{backend:?}, closed: {is_closed}: damages {from} to {damages}, {noticed} noticed, DAMAGE_SEED={seed}");
    assert_eq!(seen(), Vec::<String>::new());
    let tried = damages - from;
    assert!(noticed >= tried / 10, "only {noticed} of {tried} damages were noticed: do they hit anything?");
}

#[test]
fn a_damaged_redb_file_answers_what_is_sound_and_refuses_the_rest() {
    damage_everything(Backend::Redb, true, "a_damaged_redb_file_answers_what_is_sound_and_refuses_the_rest");
}

#[test]
fn a_damaged_redb_file_after_a_crash_answers_what_is_sound_and_refuses_the_rest() {
    damage_everything(
        Backend::Redb,
        false,
        "a_damaged_redb_file_after_a_crash_answers_what_is_sound_and_refuses_the_rest",
    );
}

#[test]
fn a_damaged_sqlite_file_answers_or_refuses() {
    damage_everything(Backend::Sqlite, true, "a_damaged_sqlite_file_answers_or_refuses");
}

#[test]
fn a_damaged_sqlite_file_or_log_after_a_crash_answers_or_refuses() {
    damage_everything(Backend::Sqlite, false, "a_damaged_sqlite_file_or_log_after_a_crash_answers_or_refuses");
}

/// Which byte, and what it becomes.
type Change = (usize, u8);

/// Damages one byte after the other of a closed file.
fn damage_bytes(whole: bool, test: &str, changes: impl Fn(&[u8]) -> Vec<Change>) {
    in_processes_of_their_own(test, |from| {
        watch_for_panics();
        let (files, original) = within_patience("making a store", a_store(Backend::Redb, true));
        let original = Arc::new(original);
        let changes = changes(&files["store"]);
        let count = changes.len();
        let mut noticed = 0;
        for (number, (at, value)) in changes.into_iter().enumerate().skip(from as usize) {
            eprintln!("{CASE}{number}");
            let mut files = files.clone();
            files.get_mut("store").unwrap()[at] = value;
            let (what, original) = (format!("byte {at} is {value}"), original.clone());
            noticed += within_patience(&what, async move {
                match whole {
                    true => use_everything(Backend::Redb, &files, &original).await,
                    false => open_and_end(Backend::Redb, &files).await,
                }
            });
            assert_eq!(seen(), Vec::<String>::new(), "{what}");
        }
        eprintln!("{count} bytes, {noticed} refusals");
    });
}

/// redb's header: what it is, how it is laid out, and two commits.
const HEADER: usize = 320;

#[test]
fn any_byte_of_a_closed_redb_files_header_may_be_wrong() {
    damage_bytes(true, "any_byte_of_a_closed_redb_files_header_may_be_wrong", |file| {
        (0..HEADER).map(|at| (at, file[at] ^ [0xFF, 0x01, 0x80][at % 3])).collect()
    });
}

#[test]
fn a_redb_file_with_any_wrong_byte_in_its_header_ends_or_is_refused() {
    damage_bytes(false, "a_redb_file_with_any_wrong_byte_in_its_header_ends_or_is_refused", |file| {
        (0..HEADER).map(|at| (at, file[at] ^ [0x02, 0x10, 0xFF][at % 3])).collect()
    });
}

/// The end of a store reads and writes pages, too: those that say what is free.
#[test]
fn a_redb_file_with_a_wrong_byte_in_any_page_opens_and_ends_or_is_refused() {
    damage_bytes(false, "a_redb_file_with_a_wrong_byte_in_any_page_opens_and_ends_or_is_refused", |file| {
        let pages = file.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
        pages
            .flat_map(|(number, _)| [0, 2, 4, 9, 17].map(|at| number * 4096 + at))
            .map(|at| (at, file[at] ^ 0xFF))
            .collect()
    });
}
