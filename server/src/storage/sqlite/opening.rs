//! Which opening of a store its files belong to: so that a log is applied only to the file it was written for, and a file
//! without its log is known for what it is.
//!
//! ```text
//!  meta        store_id      random, 32 hexadecimal digits: the store's own, made with it
//!              opening_id    the same, of the last opening
//!              open_since    when that was; gone after a close in good order
//!  header      user_version  30 bits of the opening id, and one that says "open"
//!  FILE.lock                 the opening id, see `files/note.rs`
//! ```
//!
//! What is in `meta` is for people. Decided is by SQLite's `user_version`, which lies in the first sector of the first page
//! (<https://www.sqlite.org/fileformat.html>, 1.3): it can be read without SQLite, before any log is applied, and no power
//! loss leaves half of it. Each opening commits its own and moves that to the file at once, so from then on the file bears
//! it whatever becomes of the log.
//!
//! ```text
//!  note: opening   before SQLite opens the file, which may apply and remove the last opening's log
//!  commit          meta and user_version; a checkpoint moves them to the file
//!  note: open      the file bears the opening's name
//!  commit          at close: "open" is taken back; the last connection empties the log and removes it
//!  note: closed
//! ```

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, SqliteConnection};
use ulid::Ulid;

use super::{
    CLOSED_AT,
    error::{code, primary_code, storage_error},
    wal::{Frames, number},
};
use crate::storage::{
    Backend, Clock as _, OpenError, SystemClock,
    files::{
        self, Presence, beside,
        descriptor::Descriptor,
        held::Held,
        note::{Note, OpeningId, Phase},
        path_error,
    },
};

/// The names in `meta`.
pub(super) const STORE_ID: &str = "store_id";
pub(super) const OPEN_SINCE: &str = "open_since";
const OPENING_ID: &str = "opening_id";

/// How often the note beside the file is brought up to date, at most.
const NOTE_INTERVAL: Duration = Duration::from_millis(500);

/// Bytes of the file's header, and where in it lie what is read here.
const HEADER: usize = 100;
const WRITE_VERSION: usize = 18;
const SCHEMA_COOKIE: usize = 40;
const USER_VERSION: usize = 60;

/// A store's file being opened, or open.
pub(super) struct Opening {
    held: Held,
    /// The path that it was opened by, from the root on.
    named: PathBuf,
    id: OpeningId,
    /// What lay beside the file before.
    before: Option<Note>,
    found: Header,
    noted: Note,
    next_note: Instant,
    presence: Arc<Presence>,
}

impl Opening {
    /// Takes the file at `path` for this process, creating it empty where there is none. Refuses a file whose log is not
    /// its own, or missing, before SQLite sees either. To be dropped after SQLite has closed the file.
    pub(super) fn begin(path: &Path) -> Result<Self, OpenError> {
        files::kind::check(path, Backend::Sqlite)?;
        files::prepare(path, Backend::Sqlite)?; // a file of others gets no companions
        let held = Held::take(path, Backend::Sqlite)?;
        let files = Files::held(&held)?;
        refuse_doubtful(path, &held)?;
        if files.header.is_open && files.header.is_of_sqlites_making {
            tracing::info!("{} was made by SQLite from a store that was open; it is whole", path.display());
        }
        let id = OpeningId::new()?;
        let noted = Note { opening: id, phase: Phase::Opening, newest: Ulid::nil() };
        let (before, found) = (files.note, files.header);
        let presence = Arc::default();
        let named = files::kind::absolute(path)?;
        let opening = Self { held, named, id, before, found, noted, next_note: Instant::now(), presence };
        opening.note_durably(noted)?;
        if matches!(files.log, Log::Filled(_)) {
            write_anew(&beside(opening.path(), "-wal"), &beside(opening.path(), "-shm"));
        }
        Ok(opening)
    }

    /// The file's own path.
    pub(super) fn path(&self) -> &Path {
        self.held.path()
    }

    /// Whether the file has a database.
    pub(super) fn has_content(&self) -> bool {
        self.held.file().length() > 0
    }

    /// Whether the store was opened before by a program that says so, so that the newest id it noted means something.
    pub(super) fn was_noted(&self) -> bool {
        self.found.tag != 0 && self.before.is_some_and(|note| note.tag() == self.found.tag)
    }

    /// Refuses a file that lacks what was noted beside it, now that its log was applied.
    pub(super) fn refuse_what_is_behind(&self, high_water: Ulid, path: &Path) -> Result<(), OpenError> {
        match self.before.filter(|note| self.was_noted() && high_water < note.newest) {
            Some(note) => {
                self.note_durably(note)?; // for the next start
                Err(Doubt::WithoutLog.error(path))
            }
            None => Ok(()),
        }
    }

    /// Puts this opening's name on the file, which `connection` has open, with its log.
    pub(super) async fn settle(
        &mut self,
        connection: &mut SqliteConnection,
        high_water: Ulid,
    ) -> Result<(), OpenError> {
        let (store, now) = (OpeningId::new()?, SystemClock.now());
        let statements = format!(
            "BEGIN IMMEDIATE;
             INSERT OR IGNORE INTO meta (name, value) VALUES ('{STORE_ID}', '{}');
             INSERT OR REPLACE INTO meta (name, value) VALUES ('{OPENING_ID}', '{}'), ('{OPEN_SINCE}', '{now}');
             PRAGMA user_version = {};
             COMMIT;
             PRAGMA wal_checkpoint(TRUNCATE)",
            store.to_hex(),
            self.id.to_hex(),
            tag(self.id) << 1 | 1
        );
        let stored = sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *connection).await;
        let own = self.held.path();
        let watched = [self.named.clone(), own.to_owned(), beside(own, "-wal"), beside(own, "-shm")];
        self.presence = Arc::new(Presence::of(watched));
        match stored {
            Err(error) if primary_code(&error) == Some(code::FULL) => {
                // Reading needs no room. The note keeps saying that this opening was cut short.
                let _ = sqlx::query("ROLLBACK").execute(connection).await;
                tracing::warn!("the disk is full: it cannot be noted in the file that it is open");
            }
            Err(error) => return Err(storage_error("note in the file that it is open", error).into()),
            Ok(_) => {}
        }
        // While somebody reads from the log the file cannot be brought up to date. Then it stays undecided whose it is.
        if Header::of(self.held.file()).map_err(|error| path_error(own, &error))?.tag == tag(self.id) {
            self.noted = Note { phase: Phase::Open, newest: high_water, ..self.noted };
            self.note_durably(self.noted)?;
        }
        Ok(())
    }

    pub(super) fn presence(&self) -> Arc<Presence> {
        self.presence.clone()
    }

    /// Notes beside the file, once in a while, that it has come this far. Not synced: whatever is found there is true.
    pub(super) fn note_newest(&mut self, newest: Ulid) {
        let now = Instant::now();
        if self.noted.phase == Phase::Open && newest > self.noted.newest && now >= self.next_note {
            self.noted.newest = newest;
            self.next_note = now + NOTE_INTERVAL;
            let _ = self.noted.write(self.held.note()); // only worth having
        }
    }

    /// Whether the log that SQLite is about to remove when it closes the file is the file's own, or gone already.
    pub(super) fn may_remove_the_log(&self) -> bool {
        self.presence.owns_or_misses(&beside(self.held.path(), "-wal"))
    }

    /// Notes that the file is closed; `says_so` is whether [`end`] was stored in it.
    pub(super) fn closed(self, says_so: bool) {
        let log = files::sizes(&beside(self.held.path(), "-wal")).0;
        if self.noted.phase == Phase::Open && log == 0 {
            let phase = if says_so { Phase::Closed } else { Phase::Emptied };
            let _ = self.note_durably(Note { phase, ..self.noted });
        }
    }

    fn note_durably(&self, note: Note) -> Result<(), OpenError> {
        let written = note.write(self.held.note()).and_then(|()| self.held.note().sync());
        written.map_err(|error| path_error(&files::held::note_path(self.held.path()), &error))
    }
}

/// Puts the log of a crash on disk, in a file of its own: where a sync of it had failed, the system shows what the disk may
/// not have, and no later sync of the same file writes it (<https://wiki.postgresql.org/wiki/Fsync_Errors>). Were it moved
/// to the database so, and the power went meanwhile, half of it would be there and no log to finish it from.
///
/// Only worth having: without room for it, the log is used as it is. So it is where another program has it open.
fn write_anew(log: &Path, index: &Path) {
    let new = beside(log, ".new");
    let written = match files::holder_of(index) {
        Some(_) => return,
        None => Descriptor::read(log).and_then(|log| log.copy_to(&new)),
    };
    let replaced = written
        .and_then(|()| std::fs::rename(&new, log))
        .and_then(|()| files::sync_directory(files::directory_of(log)));
    if let Err(error) = replaced {
        tracing::warn!(%error, log = %log.display(), "the log of a crash could not be written anew; it is used as it is");
        let _ = std::fs::remove_file(new);
    }
}

/// Takes back that the file is open, and notes the time: to be stored right before the last connection closes.
pub(super) async fn end(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await?;
    let now = SystemClock.now().to_string();
    let version = AssertSqlSafe(format!("PRAGMA user_version = {}", version & !1));
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    sqlx::query("DELETE FROM meta WHERE name = ?").bind(OPEN_SINCE).execute(&mut *connection).await?;
    let closed = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sqlx::query(closed).bind(CLOSED_AT).bind(now).execute(&mut *connection).await?;
    sqlx::query(version).execute(&mut *connection).await?;
    sqlx::query("COMMIT").execute(connection).await.map(drop)
}

/// The same, of a store that a crash left; any other stays as it is.
pub(super) async fn end_a_crashed(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await?;
    if version & 1 == 1 { end(connection).await } else { Ok(()) }
}

/// Forgets which id the file had, after it was given a smaller one.
pub(in crate::storage) fn forget_newest(held: &Held) -> Result<(), OpenError> {
    let Some(note) = Note::read(held.note()) else { return Ok(()) };
    let written = Note { newest: Ulid::nil(), ..note }.write(held.note()).and_then(|()| held.note().sync());
    written.map_err(|error| path_error(&files::held::note_path(held.path()), &error))
}

/// Takes a file that lacks its log for what it is, from now on; answers whether it was one.
pub(in crate::storage) fn accept(path: &Path) -> Result<bool, OpenError> {
    files::require(path, Backend::Sqlite)?;
    let held = Held::take(path, Backend::Sqlite)?;
    let files = Files::held(&held)?;
    if files.doubt() != Some(Doubt::WithoutLog) && !files.may_be_behind() {
        return Ok(false);
    }
    let note = Note { opening: OpeningId::new()?, phase: Phase::Opening, newest: Ulid::nil() };
    let written = note.write(held.note()).and_then(|()| held.note().sync());
    written.map_err(|error| path_error(&files::held::note_path(held.path()), &error))?;
    Ok(true)
}

/// The part of an opening id that the file's header has room for; 0 is nobody's.
fn tag(id: OpeningId) -> u32 {
    ((id.0 >> 98) as u32).max(1)
}

impl Note {
    fn tag(&self) -> u32 {
        tag(self.opening)
    }
}

/// What the header of a file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// There is none where the file is empty, or its first page was never written.
    exists: bool,
    tag: u32,
    is_open: bool,
    /// Made by `VACUUM INTO` or SQLite's backup interface, which copy a store as of one moment, its log included: the first
    /// leaves the file in rollback mode, the second counts changes of the schema from the beginning.
    is_of_sqlites_making: bool,
}

impl Header {
    pub(super) fn of(file: &Descriptor) -> io::Result<Self> {
        let mut bytes = [0; HEADER];
        let read = file.read_at(0, &mut bytes)?;
        Ok(if read == HEADER { Self::parse(&bytes) } else { Self::default() })
    }

    fn parse(bytes: &[u8]) -> Self {
        if !bytes.starts_with(files::SQLITE_SIGNATURE) {
            return Self::default();
        }
        let version = number(bytes, USER_VERSION);
        let is_of_sqlites_making = bytes.get(WRITE_VERSION) == Some(&1) || number(bytes, SCHEMA_COOKIE) == 1;
        Self { exists: true, tag: version >> 1, is_open: version & 1 == 1, is_of_sqlites_making }
    }
}

/// The write-ahead log beside a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    Missing,
    /// It holds no commit.
    Empty,
    /// It holds commits; with the name that the file gets from them, where they change its first page.
    Filled(Option<u32>),
}

impl Log {
    /// Reads it as SQLite would: up to the last commit that is whole. What lies behind that may be anything, as after a power
    /// loss: the header of a frame without its page, pages of a log that was there before.
    fn of(path: &Path) -> io::Result<Self> {
        let file = match Descriptor::read(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Missing),
            Err(error) => return Err(error),
        };
        let Some(mut frames) = Frames::of(&file)? else { return Ok(Self::Empty) };
        let (mut log, mut named) = (Self::Empty, None);
        while let Some(frame) = frames.next_frame()? {
            if frame.page == 1 {
                named = Some(Header::parse(frame.content).tag);
            }
            if frame.ends_a_commit {
                log = Self::Filled(named);
            }
        }
        Ok(log)
    }
}

/// What lies on disk of a store that nobody has open.
pub(super) struct Files {
    header: Header,
    log: Log,
    note: Option<Note>,
}

/// Why a file is not what it seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The log beside it belongs to another file, or to another state of this one.
    ForeignLog,
    /// It was copied while it was open, and its log was not.
    WithoutLog,
}

impl Files {
    /// Those of the store in `file`, whose own path is `path`.
    pub(super) fn of(path: &Path, file: &Descriptor, note: Option<&Descriptor>) -> Result<Self, OpenError> {
        let log = beside(path, "-wal");
        Ok(Self {
            header: Header::of(file).map_err(|error| path_error(path, &error))?,
            log: Log::of(&log).map_err(|error| path_error(&log, &error))?,
            note: note.and_then(Note::read),
        })
    }

    fn held(held: &Held) -> Result<Self, OpenError> {
        Self::of(held.path(), held.file(), Some(held.note()))
    }

    pub(super) fn doubt(&self) -> Option<Doubt> {
        let Header { exists, tag, is_open, is_of_sqlites_making } = self.header;
        let noted = self.note.map(|note| (note.phase, note.tag() == tag));
        let is_right = match (self.log, noted) {
            (Log::Filled(_), _) if !exists => false,
            // An opening was cut short; it began with what it found to be right.
            (_, Some((Phase::Opening, _))) => true,
            (Log::Filled(Some(named)), _) => named == tag,
            (Log::Filled(None), Some((_, is_same))) => is_same,
            // Of a file that says it is closed there is no log; a program of before says nothing.
            (Log::Filled(None), None) => is_open || tag == 0,
            _ if !is_open || is_of_sqlites_making => true,
            (_, Some((Phase::Emptied, is_same))) => is_same,
            // The log was emptied, or the last of other programs to close the file has removed it: what the note says of
            // the newest id will show whether anything is missing.
            (_, Some((Phase::Open, is_same))) => is_same,
            _ => false,
        };
        let doubt = if matches!(self.log, Log::Filled(_)) { Doubt::ForeignLog } else { Doubt::WithoutLog };
        (!is_right).then_some(doubt)
    }

    /// Whether the file's log is gone, though it was not closed; only its newest id can tell if something is missing.
    fn may_be_behind(&self) -> bool {
        self.header.is_open
            && !matches!(self.log, Log::Filled(_))
            && self.note.is_some_and(|note| note.phase == Phase::Open)
    }

    /// The newest id that the file has to have, if it is known.
    pub(super) fn newest(&self) -> Option<Ulid> {
        self.note.filter(|note| self.header.tag != 0 && note.tag() == self.header.tag).map(|note| note.newest)
    }
}

impl Doubt {
    /// What is wrong, in a sentence without its end.
    pub(super) fn problem(self) -> &'static str {
        match self {
            Self::ForeignLog => {
                "the log beside it (-wal) is not its own: it was written at another opening, as when a backup is restored and \
                 the log of what was there before is left lying. Applied to this file, it would mix the two"
            }
            Self::WithoutLog => {
                "it was copied while a server had it open, and without its log (-wal), or the log was deleted: what was \
                 acknowledged last is missing, and its pages may be of different moments"
            }
        }
    }

    /// What to do about it.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::ForeignLog => {
                "If the file is the right one, move the -wal and -shm beside it away; if not, put back the file that the log \
                 belongs to. Nothing was changed"
            }
            Self::WithoutLog => {
                "Put the log that belongs to it beside it, or restore a backup made with `dcstore dump` or SQLite's `.backup`. \
                 To go on with what is there, check it with `dcstore verify` and start the server once with `--accept-copy`"
            }
        }
    }

    pub(super) fn error(self, path: &Path) -> OpenError {
        OpenError::Damaged { path: path.into(), problem: self.problem().into(), remedy: self.remedy() }
    }
}

/// Refuses a store beside which the log of another one lies, for tools that take what is there for what it is.
pub(in crate::storage) fn refuse_foreign_log(path: &Path, held: &Held) -> Result<(), OpenError> {
    if Files::held(held)?.doubt() == Some(Doubt::WithoutLog) { Ok(()) } else { refuse_doubtful(path, held) }
}

/// Refuses a store whose files do not belong together, for tools that are about to change it.
pub(in crate::storage) fn refuse_doubtful(path: &Path, held: &Held) -> Result<(), OpenError> {
    match Files::held(held)?.doubt() {
        None => Ok(()),
        Some(doubt) => {
            held.remove_new_note();
            Err(doubt.error(path))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: OpeningId = OpeningId(7 << 98);
    const OTHERS: OpeningId = OpeningId(9 << 98);

    fn file(id: OpeningId, is_open: bool) -> Header {
        Header { exists: true, tag: tag(id), is_open, is_of_sqlites_making: false }
    }

    fn note(opening: OpeningId, phase: Phase) -> Option<Note> {
        Some(Note { opening, phase, newest: Ulid::nil() })
    }

    #[test]
    fn files_that_belong_together_are_told_from_those_that_do_not() {
        let (open, closed) = (file(OURS, true), file(OURS, false));
        let (ours, others) = (Log::Filled(Some(tag(OURS))), Log::Filled(Some(tag(OTHERS))));
        let unnamed = Log::Filled(None);
        let old = Header { exists: true, ..Header::default() };
        let made_by_sqlite = Header { is_of_sqlites_making: true, ..open };
        let (none, foreign, without) = (None, Some(Doubt::ForeignLog), Some(Doubt::WithoutLog));
        for (case, header, log, note, expected) in [
            ("a crash", open, ours, note(OURS, Phase::Open), none),
            ("a crash soon after the log began anew", open, unnamed, note(OURS, Phase::Open), none),
            ("a crash before the first commit", open, Log::Empty, note(OURS, Phase::Open), none),
            ("a crash, and another program emptied the log", open, Log::Missing, note(OURS, Phase::Open), none),
            ("a crash, and the note was tidied away", open, ours, None, none),
            ("the same soon after the log began anew", open, unnamed, None, none),
            ("closed", closed, Log::Missing, note(OURS, Phase::Closed), none),
            ("closed while another program had it open", closed, ours, note(OURS, Phase::Open), none),
            ("closed on a full disk", open, Log::Missing, note(OURS, Phase::Emptied), none),
            ("closed, written to by a shell that was killed", closed, unnamed, note(OURS, Phase::Closed), none),
            ("an opening cut short, the log applied", open, Log::Missing, note(OTHERS, Phase::Opening), none),
            ("an opening cut short, its name not in the file yet", closed, others, note(OTHERS, Phase::Opening), none),
            ("a good copy elsewhere", closed, Log::Missing, None, none),
            ("a good copy in place of another", closed, Log::Missing, note(OTHERS, Phase::Open), none),
            ("a copy by SQLite of an open store", made_by_sqlite, Log::Missing, None, none),
            ("a store of before, crashed", old, unnamed, None, none),
            ("a store of before, closed", old, Log::Missing, None, none),
            ("nothing yet", Header::default(), Log::Missing, None, none),
            ("a copy without its log", open, Log::Missing, None, without),
            ("the same, with what a reader left", open, Log::Empty, None, without),
            ("a copy in place of another", open, Log::Missing, note(OTHERS, Phase::Open), without),
            ("a copy in place of the one that was closed", open, Log::Missing, note(OURS, Phase::Closed), without),
            ("a copy beside a log that was left", open, others, note(OTHERS, Phase::Open), foreign),
            ("a good copy beside a log that was left", closed, others, note(OTHERS, Phase::Open), foreign),
            ("the same soon after the log began anew", closed, unnamed, note(OTHERS, Phase::Open), foreign),
            ("the same, and the note was tidied away", closed, unnamed, None, foreign),
            ("a copy of before beside a log that was left", old, others, None, foreign),
            ("the same, with the note", old, unnamed, note(OTHERS, Phase::Open), foreign),
            ("a log alone", Header::default(), unnamed, None, foreign),
            ("a log alone, with the note", Header::default(), ours, note(OURS, Phase::Opening), foreign),
        ] {
            assert_eq!(Files { header, log, note }.doubt(), expected, "{case}");
        }
    }
}
