//! Reads through memtables answer what the backend answers once it has everything.

use std::sync::{Arc, RwLock};

use proptest::prelude::*;
use ulid::Ulid;

use crate::storage::{
    AnsweredChallenge, Category, CategoryId, Channel, ChannelId, Key, Message, MessageId, SessionDigest, StorageError,
    StoredSession, Timestamp, UsedChallenge, User, UserId,
    contract::{field::FieldType as _, model::Model},
    log::{Layers, LogReader, Memtable},
    port::{Bounds, CommitNumber, Opened, Page, Reader, Staged, View, Wants, Write, Writer},
    redb, sqlite,
};

const USERS: u128 = 4;
const CHANNELS: u128 = 3;
const CATEGORIES: u128 = 2;
const SESSIONS: u8 = 4;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn user(number: u128) -> UserId {
    Ulid(100 + number).into()
}

fn channel(number: u128) -> ChannelId {
    Ulid(200 + number).into()
}

fn category(number: u128) -> CategoryId {
    Ulid(300 + number).into()
}

fn message(number: u128) -> MessageId {
    Ulid(1000 + number).into()
}

fn session(number: u8) -> SessionDigest {
    SessionDigest::from_bytes([number; 32])
}

fn challenge(number: u32) -> UsedChallenge {
    UsedChallenge { slot: u64::from(number % 2), key_digest: [7; 32], number }
}

/// What is true while a history is made up.
#[derive(Default)]
struct World {
    users: Vec<User>,
    channels: Vec<Channel>,
    categories: Vec<Category>,
    messages: Vec<Message>,
    sessions: Vec<StoredSession>,
    challenges: Vec<u32>,
    gone: Vec<ChannelId>,
    posted: u128,
}

fn replaced<M: Model>(rows: &mut [M], number: usize, change: impl FnOnce(&mut M)) -> Option<Write> {
    let at = number % rows.len().max(1);
    let row = rows.get_mut(at)?;
    change(row);
    Some(Write::Replace(Arc::new(row.clone()).into_row()))
}

fn inserted<M: Model>(rows: &mut Vec<M>, row: M) -> Option<Write> {
    let is_new = rows.iter().all(|it| it.key() != row.key());
    is_new.then(|| {
        rows.push(row.clone());
        Write::Insert(Arc::new(row).into_row())
    })
}

impl World {
    /// One write that a front could have decided, if this one is possible now.
    fn write(&mut self, what: u8, number: u8) -> Option<Write> {
        let (wide, n) = (u128::from(number), usize::from(number));
        match what {
            0 => {
                let id = user(wide % USERS);
                let is_member = !number.is_multiple_of(3);
                inserted(&mut self.users, User { pubkey: format!("key {id}"), is_member, ..User::blank(id) })
            }
            1 => {
                let at = n % self.users.len().max(1);
                let user = self.users.get_mut(at)?;
                user.is_member = !user.is_member;
                Some(Write::ChangeMembership(Arc::new(user.clone())))
            }
            2 => replaced(&mut self.users, n, |user| user.display_name = Some(format!("name {number}"))),
            3 => {
                let id = channel(wide % CHANNELS);
                let row = Channel { name: "room".into(), position: n as i32 % 3, ..Channel::blank(id) };
                (!self.gone.contains(&id)).then(|| inserted(&mut self.channels, row)).flatten()
            }
            4 => replaced(&mut self.channels, n, |channel| channel.position = n as i32 % 5),
            5 => {
                let at = n % self.channels.len().max(1);
                let id = self.channels.get(at)?.id;
                self.channels.retain(|it| it.id != id);
                self.messages.retain(|it| it.channel_id != id);
                self.gone.push(id);
                Some(Write::BeginPurge(id))
            }
            6 => {
                let row = Category {
                    name: "heading".into(),
                    position: n as i32,
                    ..Category::blank(category(wide % CATEGORIES))
                };
                inserted(&mut self.categories, row)
            }
            7 => {
                let at = n % self.categories.len().max(1);
                let id = self.categories.get(at)?.id;
                self.categories.retain(|it| it.id != id);
                Some(Write::Remove(id.into()))
            }
            8..=11 => {
                let (author, channel) =
                    (self.users.get(n % self.users.len().max(1))?, self.channels.get(n % self.channels.len().max(1))?);
                self.posted += 1;
                let (author_id, channel_id) = (author.id, channel.id);
                let content = "x".repeat(1 + n % 5).into();
                inserted(
                    &mut self.messages,
                    Message { author_id, channel_id, content, ..Message::blank(message(self.posted)) },
                )
            }
            12 => replaced(&mut self.messages, n, |message| message.content = "edited".into()),
            13 | 14 => {
                // The front deletes nothing twice.
                let live: Vec<_> =
                    self.messages.iter().enumerate().filter(|(_, it)| !it.deleted).map(|(at, _)| at).collect();
                let at = *live.get(n % live.len().max(1))?;
                replaced(&mut self.messages, at, |message| message.deleted = true)
            }
            15 => {
                let user_id = self.users.get(n % self.users.len().max(1))?.id;
                let row = StoredSession {
                    user_id,
                    expires_at: at(u64::from(number)),
                    ..StoredSession::blank(session(number % SESSIONS))
                };
                inserted(&mut self.sessions, row)
            }
            16 => {
                let at = n % self.sessions.len().max(1);
                let digest = self.sessions.get(at)?.digest;
                self.sessions.retain(|it| it.digest != digest);
                Some(Write::Remove(digest.into()))
            }
            _ => {
                let number = u32::from(number % 6);
                (!self.challenges.contains(&number)).then(|| {
                    self.challenges.push(number);
                    Write::Insert(Arc::new(AnsweredChallenge::of(challenge(number))).into_row())
                })
            }
        }
    }
}

fn commit(writer: &mut dyn Writer, number: CommitNumber, writes: &[Write]) {
    let staged = || Staged { writes: writes.to_vec(), high_water: None, commit: number };
    writer.transact(&Wants::default(), &mut |_| staged()).unwrap();
}

/// Everything that can be asked, in words.
async fn everything<R: Reader>(reader: &R) -> Vec<String> {
    let mut said = Vec::new();
    let mut say = |call: String, answer: String| said.push(format!("{call}: {answer}"));
    let keys = (0..USERS).map(|it| Key::from(user(it)));
    let keys =
        keys.chain((0..CHANNELS).map(|it| channel(it).into())).chain((0..CATEGORIES).map(|it| category(it).into()));
    let keys = keys.chain((1..60).map(|it| message(it).into())).chain((0..SESSIONS).map(|it| session(it).into()));
    for key in keys.chain((0..6).map(|it| challenge(it).into())) {
        let answer = match key {
            Key::User(key) => shown(reader.get::<User>(key).await),
            Key::Channel(key) => shown(reader.get::<Channel>(key).await),
            Key::Category(key) => shown(reader.get::<Category>(key).await),
            Key::Message(key) => shown(reader.get::<Message>(key).await),
            Key::Session(key) => shown(reader.get::<StoredSession>(key).await),
            Key::Challenge(key) => shown(reader.get::<AnsweredChallenge>(key).await),
        };
        say(format!("get {key:?}"), answer);
    }
    for limit in [Some(0), Some(1), Some(3), None] {
        say(format!("users {limit:?}"), shown(reader.list::<User>(None, limit).await));
        say(format!("users after {limit:?}"), shown(reader.list::<User>(Some(user(1)), limit).await));
        say(format!("messages {limit:?}"), shown(reader.list::<Message>(Some(message(3)), limit).await));
        say(format!("sessions {limit:?}"), shown(reader.list::<StoredSession>(None, limit).await));
    }
    for limit in [1, 2, 50] {
        for number in 0..USERS {
            let id = user(number);
            let found = reader.find::<StoredSession>(&StoredSession::BY_USER, id.value(), limit).await;
            say(format!("of {number}"), shown(found));
        }
        for number in 0..CHANNELS {
            let id = channel(number);
            let value = id.value();
            say(
                format!("in {number}"),
                shown(reader.find::<Message>(&Message::LIVE_BY_CHANNEL, value.clone(), limit).await),
            );
            say(
                format!("deleted in {number}"),
                shown(reader.find::<Message>(&Message::DELETED_BY_CHANNEL, value, limit).await),
            );
        }
        say(format!("members {limit}"), shown(reader.members(None, limit).await));
        say(format!("members after {limit}"), shown(reader.members(Some(user(0)), limit).await));
    }
    say("channels".into(), shown(reader.channels().await));
    say("categories".into(), shown(reader.categories().await));
    for number in 0..CHANNELS {
        for page in [
            Page::Newest,
            Page::Before(message(9)),
            Page::After(message(4)),
            Page::After(message(0)),
            Page::Before(message(999)),
        ] {
            for (messages, bytes) in [(1, 1000), (2, 1000), (5, 1000), (50, 1000), (50, 7), (3, 1)] {
                let bounds = Bounds { messages, bytes };
                say(
                    format!("page {number} {page:?} {bounds:?}"),
                    shown(reader.page(channel(number), page, bounds).await),
                );
            }
        }
    }
    say("challenges".into(), shown(reader.newest_used_challenges([7; 32], &[0, 1, 2]).await));
    said
}

fn shown<T: std::fmt::Debug>(answer: Result<View<T>, StorageError>) -> String {
    format!("{:?}", answer.unwrap().shows)
}

/// Two stores of a backend: one gets all commits, the other those up to `applied`, and lies behind memtables, the older one of
/// which begins somewhere before that.
fn a_view_is_what_the_backend_will_be<R: Reader>(
    runtime: &tokio::runtime::Runtime,
    open: impl Fn() -> Opened<R>,
    commits: &[Vec<Write>],
    (applied, begun, sealed): (usize, usize, usize),
) {
    let (mut whole, mut behind) = (open(), open());
    let mut tables = [Memtable::default(), Memtable::default()];
    for (at, writes) in commits.iter().enumerate() {
        let number = at as CommitNumber + 1;
        commit(&mut *whole.writer, number, writes);
        if at < applied {
            commit(&mut *behind.writer, number, writes);
        }
        if at >= begun.min(applied) {
            tables[usize::from(at >= sealed)].insert(number, writes, None);
        }
    }
    let [older, newer] = tables.map(|table| Arc::new(RwLock::new(table)));
    let newest = commits.len() as CommitNumber;
    let layers = Arc::new(Layers::after(applied as CommitNumber));
    layers.publish(vec![newer, older], newest);
    let reader = LogReader::over(layers, behind.reader);
    let (found, expected) = (runtime.block_on(everything(&reader)), runtime.block_on(everything(&whole.reader)));
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(runtime.block_on(reader.channels()).unwrap().commit, newest);
}

/// What is written, commit by commit, and how many of the commits the backend and the older memtable have.
type History = (Vec<Vec<(u8, u8)>>, (usize, usize, usize));

fn histories() -> impl Strategy<Value = History> {
    let commits = prop::collection::vec(prop::collection::vec((0..18_u8, any::<u8>()), 1..6), 1..24);
    (commits, (0..24_usize, 0..24_usize, 0..24_usize))
}

fn made(history: Vec<Vec<(u8, u8)>>) -> Vec<Vec<Write>> {
    let mut world = World::default();
    // Something to begin with.
    let begin = [(0, 0), (0, 1), (0, 2), (3, 0), (3, 1), (8, 0), (8, 1), (9, 2), (10, 3)];
    let history = std::iter::once(begin.to_vec()).chain(history);
    let commits = history.map(|commit| commit.into_iter().filter_map(|(what, n)| world.write(what, n)).collect());
    commits.filter(|writes: &Vec<Write>| !writes.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn on_redb((history, (applied, begun, sealed)) in histories()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let commits = made(history);
        let applied = applied.min(commits.len() - 1);
        a_view_is_what_the_backend_will_be(&runtime, || redb::open_in_memory().unwrap(), &commits, (applied, begun, sealed));
    }

    #[test]
    fn on_sqlite((history, (applied, begun, sealed)) in histories()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let commits = made(history);
        let applied = applied.min(commits.len() - 1);
        let open = || runtime.block_on(sqlite::open_in_memory()).unwrap();
        a_view_is_what_the_backend_will_be(&runtime, open, &commits, (applied, begun, sealed));
    }
}
