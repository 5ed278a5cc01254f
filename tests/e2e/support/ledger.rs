//! What clients asked for and what they were told, against what a store holds after a crash at some moment.

use std::collections::{BTreeMap, BTreeSet};

use decentcom_server::storage::Storage;

/// What the store shows, by thing: `message TOKEN` (a message's text begins with its token), `user PUBKEY`,
/// `channel NAME`, `session TOKEN`.
pub(crate) type Contents = BTreeMap<String, String>;

/// Every change that was asked for. Each thing is changed by one client at a time.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    histories: BTreeMap<String, Vec<Version>>,
    /// Ids that clients were told, and when.
    ids: Vec<(String, u64)>,
    channels: BTreeSet<String>,
}

/// What a thing became. Moments are positions in the disk's log.
#[derive(Clone)]
struct Version {
    /// `None`: gone.
    state: Option<String>,
    asked: u64,
    /// When the client had the answer; `None` as long as it has none, and when the answer was an error.
    told: Option<u64>,
}

/// A change that was asked for.
pub(crate) struct Asked(Vec<(String, usize)>);

impl Ledger {
    /// Somebody asks, at `now`, for a change that makes `thing` have this state.
    pub(crate) fn ask(&mut self, now: u64, thing: &str, state: Option<&str>) -> Asked {
        self.ask_all(now, vec![thing.to_owned()], state)
    }

    /// The same for one change of many things at once.
    pub(crate) fn ask_all(&mut self, now: u64, things: Vec<String>, state: Option<&str>) -> Asked {
        let first = || vec![Version { state: None, asked: 0, told: Some(0) }];
        let asked = things.into_iter().map(|thing| {
            let versions = self.histories.entry(thing.clone()).or_insert_with(first);
            versions.push(Version { state: state.map(str::to_owned), asked: now, told: None });
            (thing, versions.len() - 1)
        });
        Asked(asked.collect())
    }

    /// The answer came, at `now`: it is done.
    pub(crate) fn tell(&mut self, now: u64, asked: Asked) {
        for (thing, version) in asked.0 {
            self.histories.get_mut(&thing).unwrap()[version].told = Some(now);
        }
    }

    /// A client saw this id at `now`.
    pub(crate) fn saw_id(&mut self, now: u64, id: &str) {
        self.ids.push((id.to_owned(), now));
    }

    /// The same, of a channel.
    pub(crate) fn saw_channel(&mut self, now: u64, id: &str) {
        self.saw_id(now, id);
        self.channels.insert(id.to_owned());
    }

    /// Whether anybody ever asked for `thing`.
    pub(crate) fn knows(&self, thing: &str) -> bool {
        self.histories.contains_key(thing)
    }

    /// The messages of which this ledger knows, by their tokens' first part.
    pub(crate) fn messages_of(&self, writer: &str) -> Vec<String> {
        let start = format!("message {writer}-");
        self.histories.keys().filter(|thing| thing.starts_with(&start)).cloned().collect()
    }

    /// How many changes were acknowledged.
    pub(crate) fn told(&self) -> usize {
        self.histories.values().flatten().filter(|it| it.told.is_some_and(|told| told > 0)).count()
    }

    /// What is wrong with a store that shows `found` after a crash at `cut`: every change acknowledged by then must be
    /// there, unless a later one is; what was never asked for must not.
    pub(crate) fn wrongs(&self, found: &Contents, cut: u64) -> Vec<String> {
        let mut wrongs: Vec<String> =
            found.keys().filter(|it| !self.histories.contains_key(*it)).map(|it| format!("nobody made {it}")).collect();
        for (thing, versions) in &self.histories {
            let state = found.get(thing);
            let sure = versions.iter().rposition(|it| it.told.is_some_and(|told| told <= cut)).unwrap();
            let possible = versions[sure..].iter().filter(|it| it.asked <= cut);
            if !possible.clone().any(|it| it.state.as_ref() == state) {
                let possible: Vec<_> = possible.map(|it| short(it.state.as_deref())).collect();
                wrongs.push(format!("{thing} is {}; possible are {possible:?}", short(state.map(String::as_str))));
            }
        }
        wrongs
    }

    /// The largest id that a client had seen by `cut`.
    pub(crate) fn newest_id(&self, cut: u64) -> &str {
        self.ids.iter().filter(|(_, told)| *told <= cut).map(|(id, _)| id.as_str()).max().unwrap_or("")
    }

    /// What `store` shows of the things this ledger knows, and of all others that can be listed.
    pub(crate) async fn contents(&self, store: &dyn Storage) -> Contents {
        let mut contents = Contents::new();
        for user in store.list_users().await.unwrap() {
            contents.insert(format!("user {}", user.pubkey), user.display_name.unwrap_or_default());
        }
        let mut channels = self.channels.clone();
        for channel in store.list_channels().await.unwrap() {
            channels.insert(channel.id.to_string());
            contents.insert(format!("channel {}", channel.name), channel.topic.unwrap_or_default());
        }
        for channel in channels {
            let mut before = None;
            loop {
                let page = store.list_messages(&channel, before.as_deref(), 500).await.unwrap();
                let Some(last) = page.last() else { break };
                before = Some(last.id.to_string());
                for message in page {
                    let token = message.content.split(' ').next().unwrap();
                    contents.insert(format!("message {token}"), message.content.to_string());
                }
            }
        }
        for thing in self.histories.keys() {
            let Some(token) = thing.strip_prefix("session ") else { continue };
            if store.get_session(token).await.unwrap().is_some() {
                contents.insert(thing.clone(), String::new());
            }
        }
        contents
    }
}

/// The start of a long text.
fn short(state: Option<&str>) -> String {
    state.map_or("gone".into(), |text| format!("`{text:.40}`"))
}
