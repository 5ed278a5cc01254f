//! A dump is loaded exactly if a check of the store with the same records would find nothing.

use std::sync::Arc;

use decentcom_server::storage::{
    Backend, Category, Channel, Message, SessionDigest, Timestamp, User,
    inspect::{self, Claim, Row, StoredSession},
};
use proptest::{prelude::*, sample::Index};
use ulid::Ulid;

use super::{
    FORMAT, META, check_dump,
    frame::Header,
    record::Record,
    redact::Redactor,
    tables,
    writer::{Ndjson, Sink as _},
};

/// What may be wrong with a record, or with the largest id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    LongText,
    EmptyText,
    CreatedAtAnotherTime,
    ChangedBeforeCreation,
    ExpiredAtCreation,
    NoChannel,
    NoAuthor,
    NoUser,
    LowHighWater,
    NothingAfterHighWater,
}

const FAULTS: [Fault; 10] = [
    Fault::LongText,
    Fault::EmptyText,
    Fault::CreatedAtAnotherTime,
    Fault::ChangedBeforeCreation,
    Fault::ExpiredAtCreation,
    Fault::NoChannel,
    Fault::NoAuthor,
    Fault::NoUser,
    Fault::LowHighWater,
    Fault::NothingAfterHighWater,
];

const START: u64 = 1_700_000_000_000;

fn time(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

/// A store of one record of each kind, whose texts and times are drawn.
#[derive(Debug)]
struct Drawn {
    user: User,
    channel: Channel,
    category: Category,
    message: Message,
    session: StoredSession,
    high_water: Ulid,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let text = "[ -~é\u{202e}\u{1b}👩]{1,40}";
    let texts = (text, proptest::option::of(text), proptest::option::of(text), "\\PC{0,80}");
    let times = proptest::array::uniform4(0_u64..10_000_000_000);
    let randoms = proptest::array::uniform5(0_u128..1 << 80);
    (texts, times, randoms, any::<i32>(), any::<bool>()).prop_map(
        |((name, one, other, content), times, randoms, position, deleted)| {
            let [user_at, channel_at, message_at, later] = times.map(|it| START + it);
            let [user_id, channel_id, category_id, message_id, last] = randoms;
            let id = Ulid::from_parts;
            let newest = user_at.max(channel_at).max(message_at);
            let later = newest.max(later);
            let (user_id, channel_id) = (id(user_at, user_id), id(channel_at, channel_id));
            Drawn {
                user: User {
                    id: user_id.into(),
                    pubkey: name.clone(),
                    display_name: one.clone(),
                    avatar_hash: other.clone(),
                    is_bot: deleted,
                    is_member: !deleted,
                    created_at: time(user_at),
                    updated_at: time(later),
                },
                channel: Channel {
                    id: channel_id.into(),
                    name: name.clone(),
                    topic: other,
                    category_id: one,
                    position,
                    created_at: time(channel_at),
                    updated_at: time(channel_at),
                },
                category: Category {
                    id: id(channel_at, category_id).into(),
                    name,
                    position,
                    created_at: time(channel_at),
                },
                message: Message {
                    id: id(message_at, message_id).into(),
                    channel_id: channel_id.into(),
                    author_id: user_id.into(),
                    content: content.into(),
                    edited_at: deleted.then(|| time(later)),
                    deleted,
                    created_at: time(message_at),
                },
                session: StoredSession {
                    digest: SessionDigest::of("token"),
                    user_id: user_id.into(),
                    created_at: time(user_at),
                    expires_at: time(user_at + 1),
                },
                high_water: id(newest + 1, last),
            }
        },
    )
}

impl Drawn {
    /// Plants a fault; `which` says in which of the places where it can be.
    fn plant(&mut self, fault: Fault, which: Index) {
        let nobody = Ulid::from_parts(START, 7);
        match fault {
            Fault::LongText | Fault::EmptyText => {
                let made = |most: usize| if fault == Fault::EmptyText { String::new() } else { "x".repeat(most + 1) };
                match which.index(7) {
                    0 => self.user.pubkey = made(256),
                    1 => self.user.display_name = Some(made(1024)),
                    2 => self.user.avatar_hash = Some(made(1024)),
                    3 => self.channel.name = made(1024),
                    4 => self.channel.topic = Some(made(1024)),
                    5 => self.channel.category_id = Some(made(1024)),
                    _ if fault == Fault::LongText && which.index(2) == 0 => {
                        self.message.content = made(1024 * 1024).into()
                    }
                    _ => self.category.name = made(1024),
                }
            }
            Fault::CreatedAtAnotherTime => {
                let place = match which.index(4) {
                    0 => &mut self.user.created_at,
                    1 => &mut self.channel.created_at,
                    2 => &mut self.category.created_at,
                    _ => &mut self.message.created_at,
                };
                *place = time(place.as_millis() - 1); // not later: that would be before or after another time too
            }
            Fault::ChangedBeforeCreation => match which.index(3) {
                0 => self.user.updated_at = time(self.user.created_at.as_millis() - 1),
                1 => self.channel.updated_at = time(self.channel.created_at.as_millis() - 1),
                _ => self.message.edited_at = Some(time(self.message.created_at.as_millis() - 1)),
            },
            Fault::ExpiredAtCreation => self.session.expires_at = self.session.created_at,
            Fault::NoChannel => self.message.channel_id = nobody.into(),
            Fault::NoAuthor => self.message.author_id = nobody.into(),
            Fault::NoUser => self.session.user_id = nobody.into(),
            Fault::LowHighWater => self.high_water = Ulid::from_parts(START, 0),
            Fault::NothingAfterHighWater => {
                let last = Ulid::from_parts(Timestamp::MAX.as_millis(), u128::MAX);
                self.high_water = if which.index(2) == 0 { Ulid::max() } else { last };
            }
        }
    }

    fn rows(&self) -> Vec<Row> {
        vec![
            Row::User(Arc::new(self.user.clone())),
            Row::Channel(Arc::new(self.channel.clone())),
            Row::Category(Arc::new(self.category.clone())),
            Row::Message(Arc::new(self.message.clone())),
            Row::Session(Arc::new(self.session.clone())),
        ]
    }

    fn dump(&self) -> Vec<u8> {
        let header = Header {
            format: FORMAT,
            tool: "a test".into(),
            backend: "none".into(),
            schema: "none".into(),
            time: Timestamp::MIN,
            tables: tables().map(Into::into).collect(),
            redacted: false,
        };
        assert!(header.tables.iter().any(|table| table == META));
        let mut bytes = Vec::new();
        let mut dump = Ndjson::new(&mut bytes, header).unwrap();
        dump.take(&Record::high_water(self.high_water)).unwrap();
        for row in self.rows() {
            dump.take(&Record::of(&row, &mut Redactor::Open)).unwrap();
        }
        dump.finish().unwrap();
        bytes
    }

    /// What a check finds in a store of these records; or that there can be no such store.
    fn findings(&self, backend: Backend) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let (claim, _) = Claim::on(backend, &directory.path().join("store")).unwrap();
        let mut import = claim.import().unwrap();
        let pushed = self.rows().into_iter().try_for_each(|row| import.push(row));
        if let Err(refused) = pushed.and_then(|()| import.close(Some(self.high_water))) {
            return vec![refused.to_string()]; // SQLite has references of its own
        }
        let mut store = claim.unfinished().unwrap().unwrap();
        let mut findings = Vec::new();
        inspect::verify(&mut *store, &mut |finding| findings.push(finding.to_string()), &mut |_| Ok(())).unwrap();
        findings
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_load_takes_is_what_a_check_finds_nothing_wrong_with(
        mut store in drawn(),
        fault in proptest::option::weighted(0.9, any::<Index>()),
        which in any::<Index>(),
        backend in proptest::sample::select(vec![Backend::Sqlite, Backend::Redb]),
    ) {
        let fault = fault.map(|fault| FAULTS[fault.index(FAULTS.len())]);
        // redb keeps no time of creation but the one within the id, so there it cannot be another one.
        prop_assume!(fault != Some(Fault::CreatedAtAnotherTime) || backend == Backend::Sqlite);
        if let Some(fault) = fault {
            store.plant(fault, which);
        }
        let (loaded, findings) = (check_dump(store.dump()), store.findings(backend));
        prop_assert_eq!(loaded.is_ok(), findings.is_empty(), "{:?}: {:?}, but {:?}", fault, loaded, findings);
        prop_assert_eq!(loaded.is_ok(), fault.is_none(), "{:?} {:?}", fault, loaded);
    }
}
