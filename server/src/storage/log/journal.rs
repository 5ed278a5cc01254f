//! The log as one: the segments that join, one of them appended to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    LogError,
    folder::Directory,
    header::Header,
    record::{self, Hash, Record},
    segment::{START, Segment, failed, name_of, sequence_of},
};
use crate::storage::Timestamp;

/// The name of a file that is no segment at the moment begins with this.
const SPARE: &str = "spare-";

/// The newest record of a log, or the one that it goes on after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// Its number; 0 before the first.
    pub number: u64,
    /// What it is known by.
    pub hash: Hash,
    /// When it was made.
    pub time: Timestamp,
}

/// Which log: its id, and its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random, made with the store.
    pub log: [u8; 16],
    /// Random, made anew wherever the history of the store may have two branches.
    pub timeline: u64,
}

/// How large segments are, in bytes. One is larger where its first record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The first one of each opening.
    pub smallest: u64,
    /// Each is twice the one before, up to this.
    pub largest: u64,
}

impl Default for Sizes {
    /// 1 MiB, 64 MiB: a community of a few people has a small log, and under load a segment lasts for seconds.
    fn default() -> Self {
        Self { smallest: 1024 * 1024, largest: 64 * 1024 * 1024 }
    }
}

/// Why a record was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It is not stored, nor will it be.
    #[error("the log did not take the commit")]
    NotStored(#[source] LogError),
    /// Nobody knows whether it is stored: the next opening will. Until then the log takes nothing.
    #[error("the log failed, and so did what makes sure that the commit is void")]
    Unknown(#[source] LogError),
    /// It failed before in that way.
    #[error("the log failed before; the next start finds out what it has")]
    Stopped,
    /// It is larger than a record may be.
    #[error("the commit has {bytes} bytes; a record takes {most}")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// What a record takes at most.
        most: usize,
    },
}

/// What is to stay in the log.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Everything above this: the newest record that the backend has durably.
    pub applied: u64,
    /// Everything above this: the newest record that was shipped, where records are.
    pub shipped: Option<u64>,
    /// What is younger than this …
    pub since: Timestamp,
    /// … and within the newest so many bytes.
    pub bytes: u64,
}

/// The end of the log that takes records. There is one, and nobody else writes the files.
pub struct Journal {
    log: Arc<Log>,
    newest: Arc<Segment>,
    /// Where the next record goes.
    at: u64,
    tip: Tip,
    is_stopped: bool,
    buffer: Vec<u8>,
}

/// The log as everybody sees it: what is durable of it.
pub struct Log {
    directory: Arc<dyn Directory>,
    identity: Identity,
    sizes: Sizes,
    state: Mutex<State>,
}

struct State {
    /// The oldest first.
    segments: VecDeque<Arc<Segment>>,
    /// Names and lengths of files that can become segments.
    spares: Vec<(String, u64)>,
    tip: Tip,
}

/// Where a segment stands: which one it is, and what it goes on after.
struct Place {
    sequence: u64,
    after: Tip,
}

/// Reads records in order.
pub struct Records {
    log: Arc<Log>,
    next: u64,
    /// The segment that is being read, and where.
    reading: Option<(Arc<Segment>, u64)>,
}

fn random<const N: usize>() -> Result<[u8; N], LogError> {
    let mut bytes = [0; N];
    let drawn = getrandom::fill(&mut bytes);
    drawn.map_err(|error| failed("draw a random number for", "a segment")(std::io::Error::other(error)))?;
    Ok(bytes)
}

impl Journal {
    /// Begins a log that goes on after this record. What the directory has of other logs, or of other timelines of this one, is
    /// of no more use, and goes when it is opened next.
    pub fn create(
        directory: Arc<dyn Directory>,
        identity: Identity,
        sizes: Sizes,
        after: Tip,
    ) -> Result<Self, LogError> {
        let state = State { segments: VecDeque::new(), spares: Vec::new(), tip: after };
        let log = Arc::new(Log { directory, identity, sizes, state: Mutex::new(state) });
        let names = log.directory.names().map_err(failed("list the files", "the directory"))?;
        let others = names.iter().filter_map(|name| sequence_of(name)).max();
        let sequence = others.map_or(0, |newest| newest + 1);
        let newest = log.begin(Place { sequence, after }, sizes.smallest, None)?;
        Ok(Self { log, newest, at: START, tip: after, is_stopped: false, buffer: Vec::new() })
    }

    /// Opens the log of a store that has everything up to `applied`. What is in the log after that is durable when this returns.
    pub fn open(
        directory: Arc<dyn Directory>,
        identity: Identity,
        sizes: Sizes,
        applied: Tip,
    ) -> Result<Self, LogError> {
        let Files { run, unreadable, idle } = find(&*directory, identity)?;
        let Some(newest) = run.back().map(|newest| newest.header.sequence) else {
            return Err(unreadable.map_or(LogError::Missing, |(_, error)| error));
        };
        let found = match (verify(&run, applied), unreadable) {
            // What is applied need not be readable.
            (Ok(found), Some((sequence, _))) if sequence < newest => found,
            (Ok(found), None) => found,
            (_, Some((_, error))) | (Err(error), None) => return Err(error),
        };
        let spares = keep_spares(&*directory, idle, sizes)?;
        let state = State { segments: run, spares, tip: found.tip };
        let log = Arc::new(Log { directory, identity, sizes, state: Mutex::new(state) });
        let sequence = newest + 1;
        let (tip, mut at) = (found.tip, START);
        let newest = match found.last.filter(|(last, _)| last.number > applied.number) {
            None => log.begin(Place { sequence, after: tip }, sizes.smallest, None)?,
            Some((last, time)) => {
                at += record::room(last.payload.len());
                let after = Tip { number: last.number - 1, hash: last.before, time };
                log.begin(Place { sequence, after }, at.max(sizes.smallest), Some(&last))?
            }
        };
        Ok(Self { log, newest, at, tip, is_stopped: false, buffer: Vec::new() })
    }

    /// The newest record.
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// What everybody may see of it.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Appends a commit; it is durable when this answers its number. Its time is `now`, or that of the one before.
    pub fn append(&mut self, now: Timestamp, payload: &[u8]) -> Result<Tip, AppendError> {
        if self.is_stopped {
            return Err(AppendError::Stopped);
        }
        if payload.len() > record::MAX_PAYLOAD {
            return Err(AppendError::TooLarge { bytes: payload.len(), most: record::MAX_PAYLOAD });
        }
        let (number, time, before) = (self.tip.number + 1, now.max(self.tip.time), self.tip.hash);
        let room = record::room(payload.len());
        if !self.newest.has_room(self.at, room) {
            let doubled = (self.newest.header.bytes * 2).min(self.log.sizes.largest);
            self.go_on(doubled.max(START + room)).map_err(AppendError::NotStored)?;
        }
        record::encode(&mut self.buffer, self.newest.header.salt, number, time, before, payload);
        if let Err(error) = self.newest.write(self.at, &self.buffer) {
            return Err(match self.go_on(self.log.sizes.smallest.max(START + room)) {
                Ok(()) => AppendError::NotStored(error),
                Err(worse) => {
                    self.is_stopped = true;
                    AppendError::Unknown(worse)
                }
            });
        }
        self.at += room;
        self.tip = Tip { number, hash: record::hash(number, time, before, payload), time };
        self.log.state().tip = self.tip;
        if self.buffer.capacity() > LARGEST_BUFFER {
            self.buffer = Vec::new();
        }
        Ok(self.tip)
    }

    /// Goes on in another segment, after what is durable; whatever else the one before has is void.
    fn go_on(&mut self, bytes: u64) -> Result<(), LogError> {
        // Should this fail, the segment may be there all the same at the next opening: then nothing more may go into this one.
        self.at = self.newest.header.bytes;
        let sequence = self.newest.header.sequence + 1;
        self.newest = self.log.begin(Place { sequence, after: self.tip }, bytes, None)?;
        self.at = START;
        Ok(())
    }
}

/// Memory that is kept from one record to the next.
const LARGEST_BUFFER: usize = 1024 * 1024;

impl Log {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which log it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The newest record that is durable.
    pub fn tip(&self) -> Tip {
        self.state().tip
    }

    /// The number after which [records](Self::records) can be read.
    pub fn reach(&self) -> u64 {
        self.state().first().saturating_sub(1)
    }

    /// Bytes that its files take.
    pub fn bytes(&self) -> u64 {
        let state = self.state();
        let segments = state.segments.iter().map(|segment| segment.header.bytes);
        segments.chain(state.spares.iter().map(|(_, bytes)| *bytes)).sum()
    }

    /// Reads the records with larger numbers, as far as they are durable by then.
    pub fn records(self: &Arc<Self>, after: u64) -> Records {
        Records { log: self.clone(), next: after + 1, reading: None }
    }

    /// Makes a segment of a file of at least so many bytes, a spare one or a new one, which may begin with a record. All of
    /// that is durable when this returns.
    fn begin(&self, place: Place, bytes: u64, record: Option<&Record>) -> Result<Arc<Segment>, LogError> {
        let Place { sequence, after } = place;
        let name = name_of(sequence);
        let spare = self.take_spare(bytes);
        let file = match &spare {
            Some((spare, _)) => {
                self.directory.rename(spare, &name).map_err(failed("take", spare))?;
                self.directory.open(&name)
            }
            None => {
                self.remove_if_there(&name)?;
                self.directory.create(&name, bytes)
            }
        };
        let file = file.map_err(failed("make", &name))?;
        let Identity { log, timeline } = self.identity;
        let header = Header {
            log,
            timeline,
            sequence,
            first: after.number + 1,
            before: after.hash,
            time: after.time,
            salt: u64::from_le_bytes(random()?),
            bytes: spare.map_or(bytes, |(_, bytes)| bytes),
        };
        let record = record.map(|record| {
            let mut bytes = Vec::new();
            record::encode(&mut bytes, header.salt, record.number, record.time, record.before, &record.payload);
            bytes
        });
        let segment = Arc::new(Segment::begin(&name, file, header, record.as_deref())?);
        self.directory.sync().map_err(failed("make durable", &name))?;
        self.state().segments.push_back(segment.clone());
        Ok(segment)
    }

    /// What an attempt that failed has left under this name; nothing was ever acknowledged in it.
    fn remove_if_there(&self, name: &str) -> Result<(), LogError> {
        match self.directory.remove(name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", name)(error)),
            _ => Ok(()),
        }
    }

    /// The smallest spare that is large enough.
    fn take_spare(&self, bytes: u64) -> Option<(String, u64)> {
        let mut state = self.state();
        let large_enough = state.spares.iter().enumerate().filter(|(_, (_, length))| *length >= bytes);
        let (place, _) = large_enough.min_by_key(|(_, (_, length))| *length)?;
        Some(state.spares.swap_remove(place))
    }

    /// Makes a spare for the segment after the newest, if there is none, so that no commit has to wait for that.
    pub fn prepare(&self) -> Result<(), LogError> {
        let wanted = {
            let state = self.state();
            let newest = state.segments.back().map_or(0, |newest| newest.header.bytes);
            let wanted = (newest * 2).clamp(self.sizes.smallest, self.sizes.largest);
            if state.spares.iter().any(|(_, bytes)| *bytes >= wanted) {
                return Ok(());
            }
            wanted
        };
        let name = spare_name()?;
        drop(self.directory.create(&name, wanted).map_err(failed("make", &name))?);
        self.state().spares.push((name, wanted));
        Ok(())
    }

    /// Takes out of the log what need not stay, the oldest first; its files are used again, or removed where there are
    /// enough.
    pub fn trim(&self, keep: &Keep) -> Result<(), LogError> {
        loop {
            let (oldest, is_wanted) = {
                let mut state = self.state();
                let Some(oldest) = state.trim(keep) else { return Ok(()) };
                (oldest, state.spares.len() < MOST_SPARES)
            };
            let name = oldest.name();
            if is_wanted {
                let spare = spare_name()?;
                self.directory.rename(&name, &spare).map_err(failed("put aside", &name))?;
                self.state().spares.push((spare, oldest.header.bytes));
            } else {
                self.directory.remove(&name).map_err(failed("remove", &name))?;
            }
        }
    }
}

/// Files kept for segments to come.
const MOST_SPARES: usize = 2;

fn spare_name() -> Result<String, LogError> {
    Ok(format!("{SPARE}{:016x}", u64::from_le_bytes(random()?)))
}

impl State {
    /// Takes the oldest segment out, if nothing in it is to stay. The newest always does.
    fn trim(&mut self, keep: &Keep) -> Option<Arc<Segment>> {
        let end = self.segments.range(1..).map(|later| later.header.first).min()?;
        let next = self.segments.get(1)?.header;
        let others: u64 = self.segments.range(1..).map(|later| later.header.bytes).sum();
        let needed_from = keep.applied.min(keep.shipped.unwrap_or(u64::MAX)).saturating_add(1);
        let is_reached = next.time >= keep.since && others < keep.bytes;
        (end <= needed_from && !is_reached).then(|| self.segments.pop_front()).flatten()
    }

    /// The smallest number that there is a record of, or will be. (A segment in which nothing was written when the log was opened
    /// again may begin with a larger one than the next.)
    fn first(&self) -> u64 {
        self.segments.iter().map(|segment| segment.header.first).min().unwrap_or(self.tip.number + 1)
    }

    /// The segment that has the record with this number: the newest that begins no later.
    fn segment_with(&self, number: u64) -> Option<&Arc<Segment>> {
        self.segments.iter().rev().find(|segment| segment.header.first <= number)
    }
}

impl Iterator for Records {
    type Item = Result<Record, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

impl Records {
    fn read(&mut self) -> Result<Option<Record>, LogError> {
        let number = self.next;
        let (segment, first, tip) = {
            let state = self.log.state();
            (state.segment_with(number).cloned(), state.first(), state.tip.number)
        };
        if number > tip {
            return Ok(None);
        }
        let segment = segment.ok_or(LogError::Gap { applied: number - 1, first })?;
        let mut at = match &self.reading {
            Some((reading, at)) if reading.header.sequence == segment.header.sequence => *at,
            _ => START,
        };
        loop {
            // Others than this one may be damaged: the store has what they say.
            let record = match segment.read(at)? {
                Some(record) => record,
                None => {
                    let found = segment.find_above(at, number - 1)?;
                    let missing = |problem| LogError::Damaged { number, name: segment.name(), problem };
                    let (place, record) = found.ok_or_else(|| missing("it is not there"))?;
                    if record.number > number {
                        return Err(missing("others follow it"));
                    }
                    at = place;
                    record
                }
            };
            at += record::room(record.payload.len());
            if record.number == number {
                self.next += 1;
                self.reading = Some((segment, at));
                return Ok(Some(record));
            }
        }
    }
}

/// What was found in a log that is sound.
struct Found {
    tip: Tip,
    /// The newest record, and the time of the one before it.
    last: Option<(Record, Timestamp)>,
}

/// The files of a log.
struct Files {
    /// The longest run of segments that ends with the newest, the oldest first.
    run: VecDeque<Arc<Segment>>,
    /// The newest that should be a segment and is none.
    unreadable: Option<(u64, LogError)>,
    /// What else there is: spares, segments that were never begun, those of before a gap.
    idle: Vec<String>,
}

fn find(directory: &dyn Directory, identity: Identity) -> Result<Files, LogError> {
    let mut found = Vec::new();
    let (mut run, mut unreadable, mut idle) = (VecDeque::<Arc<Segment>>::new(), None::<(u64, LogError)>, Vec::new());
    for name in directory.names().map_err(failed("list the files", "the directory"))? {
        match (Segment::open(directory, &name), sequence_of(&name)) {
            (Ok(Some(segment)), _) if segment.header.identity() == identity => found.push(segment),
            (Ok(None), None) if !name.starts_with(SPARE) => {} // not ours
            (Ok(_), _) => idle.push(name),
            (Err(error @ LogError::Header { .. }), Some(sequence)) => {
                if unreadable.as_ref().is_none_or(|(newest, _)| *newest < sequence) {
                    unreadable = Some((sequence, error));
                }
            }
            (Err(error), _) => return Err(error),
        }
    }
    found.sort_by_key(|segment| segment.header.sequence);
    while let Some(segment) = found.pop() {
        let joins = run.front().is_none_or(|next| segment.header.sequence + 1 == next.header.sequence);
        match joins {
            true => run.push_front(Arc::new(segment)),
            false => idle.push(segment.name()),
        }
    }
    Ok(Files { run, unreadable, idle })
}

/// Removes files that are no segments, but for some that can become one.
fn keep_spares(directory: &dyn Directory, idle: Vec<String>, sizes: Sizes) -> Result<Vec<(String, u64)>, LogError> {
    let mut spares = Vec::new();
    for name in idle {
        let file = directory.open(&name).map_err(failed("open", &name))?;
        let bytes = file.bytes().map_err(failed("read", &name))?;
        if name.starts_with(SPARE) && bytes >= sizes.smallest && spares.len() < MOST_SPARES {
            spares.push((name, bytes));
        } else {
            directory.remove(&name).map_err(failed("remove", &name))?;
        }
    }
    Ok(spares)
}

/// Reads what the store has not applied, and the record that it has applied last.
fn verify(segments: &VecDeque<Arc<Segment>>, applied: Tip) -> Result<Found, LogError> {
    let first = segments.iter().map(|segment| segment.header.first).min().unwrap_or(0);
    if first > applied.number + 1 {
        return Err(LogError::Gap { applied: applied.number, first });
    }
    // The newest that begins no later has it: what an older one has of its numbers is void.
    let begins = |segment: &Arc<Segment>| segment.header.first <= applied.number.max(first);
    let from = segments.iter().rposition(begins).unwrap_or(0);
    let mut reading: Option<Found> = None;
    for (place, segment) in segments.iter().enumerate().skip(from) {
        let later = segments.range(place + 1..).map(|later| later.header.first).min();
        if later.is_some_and(|later| later <= segment.header.first) {
            continue; // all of it is void
        }
        let Header { first, before, time, .. } = segment.header;
        let begins = || Found { tip: Tip { number: first - 1, hash: before, time }, last: None };
        let found = reading.get_or_insert_with(begins);
        if found.tip.number + 1 < first && first <= applied.number + 1 {
            *found = begins(); // what is missing is in the database, too
        }
        if found.tip.number + 1 != first || found.tip.hash != before {
            let problem = "the segment does not go on where the one before ends";
            return Err(LogError::Damaged { number: first, name: segment.name(), problem });
        }
        read_on(segment, later, applied, found)?;
    }
    let found = reading.ok_or(LogError::Missing)?;
    match found.tip.number {
        last if last < applied.number => Err(LogError::Behind { applied: applied.number, last }),
        _ => Ok(found),
    }
}

/// Reads the records of a segment up to those that a later one makes void.
fn read_on(segment: &Segment, later: Option<u64>, applied: Tip, found: &mut Found) -> Result<(), LogError> {
    let is_applied = |tip: &Tip| match tip.number == applied.number && tip.hash != applied.hash {
        true => Err(LogError::Foreign { number: applied.number }),
        false => Ok(()),
    };
    is_applied(&found.tip)?;
    let counts = |record: &Record| later.is_none_or(|later| record.number < later);
    let mut at = START;
    loop {
        let expected = found.tip.number + 1;
        if later.is_some_and(|later| expected >= later) {
            return Ok(());
        }
        let record = segment.read(at)?.filter(|record| record.number == expected && record.before == found.tip.hash);
        let record = match record {
            Some(record) => record,
            None => match (segment.find_above(at, expected)?.filter(|(_, it)| counts(it)), later) {
                // What is applied is in the database, too.
                (Some((place, resumed)), _) if resumed.number <= applied.number + 1 => {
                    found.last = None;
                    found.tip = Tip { number: resumed.number - 1, hash: resumed.before, time: found.tip.time };
                    is_applied(&found.tip)?;
                    at = place;
                    resumed
                }
                (None, Some(later)) if later <= applied.number + 1 => return Ok(()),
                (None, None) => return Ok(()), // torn when it was written
                (found, _) => {
                    let problem = if found.is_some() { "others follow it" } else { "it is not there" };
                    return Err(LogError::Damaged { number: expected, name: segment.name(), problem });
                }
            },
        };
        at += record::room(record.payload.len());
        let before = found.tip.time;
        found.tip = Tip { number: record.number, hash: record.hash(), time: record.time };
        is_applied(&found.tip)?;
        found.last = Some((record, before));
    }
}
