//! What the clients were told, and what they asked for and got no answer to.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use crate::{found::Found, support::User};

/// Changes that a round must see acknowledged to be worth anything.
const LEAST_CHANGES: usize = 50;
/// Kinds of which something can be deleted: messages, channels, sessions.
const DELETABLE: usize = 3;

/// What a client can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// By id; what it is: author and text.
    Message,
    /// By id; what it is: the name.
    Channel,
    /// By id; what it is: key and display name.
    User,
    /// By token; what it is: the user's id.
    Session,
}

/// How a thing stands: what it is, or `None` when it was deleted, or its session ended.
pub(crate) type State = Option<String>;

struct Fact {
    told: State,
    /// Asked for and not answered yet: the crash may have come before or after it.
    asked: Option<State>,
    /// The channel of a message, which it goes with.
    channel: String,
    /// Whether it was touched since it was last found in the store.
    is_fresh: bool,
}

#[derive(Default)]
pub(crate) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    facts: HashMap<(Kind, String), Fact>,
    /// What was to be created, by what it would be; its id comes with the answer.
    begun: HashSet<(Kind, String)>,
    /// Messages of deleted channels.
    buried: Vec<(String, String)>,
    /// The largest id that anybody was told, and that of the last restart.
    newest: String,
    newest_at_start: String,
    acknowledged: usize,
    /// Of these, since the last restart; and of what kinds something was deleted in that time.
    acknowledged_lately: usize,
    deleted_lately: HashSet<Kind>,
}

impl Ledger {
    pub(crate) fn somebody_logged_in(&self, user: &User) {
        self.told_anew(Kind::User, &user.id, &format!("{} ", user.pubkey()));
        self.told_anew(Kind::Session, &user.token, &user.id);
    }

    /// Something will be asked for that does not exist yet.
    pub(crate) fn begin(&self, kind: Kind, what: &str) {
        let is_new = self.0.lock().unwrap().begun.insert((kind, what.to_owned()));
        assert!(is_new, "the test names everything differently: {what}");
    }

    /// Something was created.
    pub(crate) fn told_anew(&self, kind: Kind, id: &str, what: &str) {
        self.told_in("", kind, id, what);
    }

    /// A message was posted to a channel.
    pub(crate) fn told_in(&self, channel: &str, kind: Kind, id: &str, what: &str) {
        let mut book = self.0.lock().unwrap();
        book.begun.remove(&(kind, what.to_owned()));
        if kind != Kind::Session {
            assert!(*id > *book.newest_at_start, "{kind:?} {id} is not above {}", book.newest_at_start);
            book.newest = book.newest.clone().max(id.to_owned());
        }
        book.acknowledged += 1;
        book.acknowledged_lately += 1;
        let fact = Fact { told: Some(what.to_owned()), asked: None, channel: channel.to_owned(), is_fresh: true };
        let before = book.facts.insert((kind, id.to_owned()), fact);
        assert!(before.is_none_or(|it| kind == Kind::User && it.told.is_some()), "{kind:?} {id} was given out twice");
    }

    /// A change will be asked for.
    pub(crate) fn ask(&self, kind: Kind, id: &str, state: State) {
        let mut book = self.0.lock().unwrap();
        let fact = book.facts.get_mut(&(kind, id.to_owned())).unwrap();
        (fact.asked, fact.is_fresh) = (Some(state), true);
    }

    /// The change was acknowledged.
    pub(crate) fn told(&self, kind: Kind, id: &str) {
        let mut book = self.0.lock().unwrap();
        book.acknowledged += 1;
        book.acknowledged_lately += 1;
        let fact = book.facts.get_mut(&(kind, id.to_owned())).unwrap();
        fact.told = fact.asked.take().unwrap();
        if fact.told.is_none() {
            book.deleted_lately.insert(kind);
        }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.0.lock().unwrap().acknowledged
    }

    /// Whether enough was acknowledged since the last restart for a crash to be worth something: deletions of each kind too.
    pub(crate) fn is_worth_a_crash(&self) -> bool {
        let book = self.0.lock().unwrap();
        book.acknowledged_lately >= LEAST_CHANGES && book.deleted_lately.len() == DELETABLE
    }

    /// Things of a kind to ask the server for one by one: all that were touched, and some others.
    pub(crate) fn to_look_up(&self, kind: Kind, others: usize) -> Vec<(String, String)> {
        let book = self.0.lock().unwrap();
        let of_kind = || book.facts.iter().filter(move |((of, _), _)| *of == kind);
        let fresh = of_kind().filter(|(_, fact)| fact.is_fresh);
        let chosen = fresh.chain(of_kind().filter(|(_, fact)| !fact.is_fresh).take(others));
        chosen.map(|((_, id), fact)| (id.clone(), fact.channel.clone())).collect()
    }

    /// Messages whose channels were deleted, to ask the server for.
    pub(crate) fn buried(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().buried.clone()
    }

    /// Holds what is in the store after a crash against what was told. What was asked for and not answered happened or did
    /// not; answers how often it did. From then on that is what counts as told.
    pub(crate) fn settle(&self, found: &Found, place: &str) -> usize {
        let mut book = self.0.lock().unwrap();
        let Book { facts, begun, buried, newest, acknowledged_lately, deleted_lately, .. } = &mut *book;
        let mut happened = 0;
        for ((kind, id), fact) in facts.iter_mut() {
            let channel_is_gone = *kind == Kind::Message && !found.channels.contains(&fact.channel);
            if channel_is_gone {
                continue; // that it may be is settled with the channel
            }
            let Some(now) = found.state(*kind, id) else { continue }; // not looked up
            assert!(
                now == fact.told || fact.asked.as_ref() == Some(&now),
                "{place}: {kind:?} {id}: told {:?}, asked for {:?}, found {now:?}",
                fact.told,
                fact.asked
            );
            happened += usize::from(fact.asked.is_some() && now != fact.told);
            (fact.told, fact.asked, fact.is_fresh) = (now, None, false);
        }
        facts.retain(|(kind, id), fact| {
            let stays = match kind {
                Kind::Message => found.channels.contains(&fact.channel),
                Kind::Channel => fact.told.is_some(),
                Kind::User | Kind::Session => true,
            };
            if !stays && *kind == Kind::Message {
                buried.push((id.clone(), fact.channel.clone()));
            }
            stays
        });
        for (kind, id, channel, what) in found.all() {
            if facts.contains_key(&(kind, id.to_owned())) {
                continue;
            }
            assert!(begun.remove(&(kind, what.to_owned())), "{place}: nobody asked for {kind:?} {id}: {what}");
            happened += 1;
            *newest = newest.clone().max(id.to_owned());
            let fact = Fact { told: Some(what.to_owned()), asked: None, channel: channel.to_owned(), is_fresh: false };
            facts.insert((kind, id.to_owned()), fact);
        }
        begun.clear();
        deleted_lately.clear();
        *acknowledged_lately = 0;
        book.newest_at_start = book.newest.clone();
        happened
    }
}
