//! Runs a script over a store and holds every answer and every announcement to the model.

use std::sync::Arc;

use decentcom_server::storage::{Change, ChangeFeed, FeedError, Storage, StorageError, Timestamp};
use futures::{FutureExt, future::join_all};
use tokio::task::unconstrained;

use super::{Answer, At, Call, Kind, Names, Step, Text, state::Model, together};
use crate::{
    Context, Setup,
    context::{NOBODY, at},
};

/// Characters of an answer that are shown.
const LONGEST: usize = 1_000;

/// Sees every answer of a store before it is judged, and may replace it.
pub type Observer<'a> = dyn Fn(&Call, Answer) -> Answer + Send + Sync + 'a;

/// Runs a script over a fresh store. The error says what was answered, and what the contract says instead.
pub async fn run(setup: Setup, script: &[Step], observer: &Observer<'_>) -> Result<(), String> {
    let place = setup.name();
    let mut runner = Runner::new(setup, observer).await;
    for (number, step) in script.iter().enumerate() {
        let told = |problem| format!("{place}, step {}: {step:?}\n{problem}", number + 1);
        runner.step(step).await.map_err(told)?;
    }
    runner.finish().await.map_err(|problem| format!("{place}, after the script\n{problem}"))
}

pub(super) struct Runner<'a> {
    t: Context,
    feed: ChangeFeed,
    pub(super) model: Model,
    pub(super) names: Arc<Names>,
    observer: &'a Observer<'a>,
}

impl<'a> Runner<'a> {
    pub(super) async fn new(setup: Setup, observer: &'a Observer<'a>) -> Self {
        let t = Context::in_quick_directory(setup).await;
        let feed = t.store.changes();
        let model = Model::new(t.now());
        Self { t, feed, model, names: Arc::default(), observer }
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Call(call) => {
                let answer = call.perform(&*self.t.store, &self.names, self.t.now()).await;
                let answer = (self.observer)(call, answer);
                self.judge(call, [answer])
            }
            Step::Many(count, call) => {
                let calls = (0..*count).map(|_| call.perform(&*self.t.store, &self.names, self.t.now()));
                let mut answers = join_all(calls).await;
                answers.sort_by_key(Answer::made);
                self.judge(call, answers)
            }
            Step::Together(callers) => {
                let events = together::make(&self.t.store, callers, &self.names, self.t.now()).await;
                together::judge(self, events).await
            }
            Step::Later(millis) => {
                let now = self.t.now().as_millis().saturating_add(*millis).min(Timestamp::MAX.as_millis());
                self.set_clock(now);
                Ok(())
            }
            Step::Earlier(millis) => {
                self.set_clock(self.t.now().as_millis().saturating_sub(*millis));
                Ok(())
            }
            Step::Reopen | Step::DropAndOpen if !self.t.setup().is_kept() => Ok(()),
            Step::Reopen => self.reopen().await,
            Step::DropAndOpen => {
                self.t.drop_and_open().await;
                self.feed = self.t.store.changes();
                Ok(())
            }
        }
    }

    fn set_clock(&mut self, millis: u64) {
        self.t.clock.set(at(millis));
        self.model.now = at(millis);
    }

    /// Everything once more, also from the files alone; and nothing in them that verification finds.
    async fn finish(mut self) -> Result<(), String> {
        self.read_everything().await?;
        if !self.t.setup().is_kept() {
            return Ok(());
        }
        self.reopen().await?;
        self.read_everything().await?;
        self.t.store.close().await.unwrap();
        let findings = self.t.setup().provider.verify(self.t.files());
        if findings.is_empty() { Ok(()) } else { Err(format!("verification finds {findings:#?}")) }
    }

    async fn read_everything(&mut self) -> Result<(), String> {
        for call in everything(&self.names) {
            self.step(&Step::Call(call.clone())).await.map_err(|problem| format!("{call:?}\n{problem}"))?;
        }
        Ok(())
    }

    /// What is closed takes no more calls, and has announced everything it will.
    async fn reopen(&mut self) -> Result<(), String> {
        let closed = self.t.store.clone();
        self.t.reopen().await;
        let refused = [closed.ping().await, closed.create_category("late", 0).await.map(drop)];
        if !refused.iter().all(|result| matches!(result, Err(StorageError::Unavailable { .. }))) {
            return Err(format!("a closed store answered {refused:?}"));
        }
        let last = self.feed.next().await;
        if last != Err(FeedError::Closed) {
            return Err(format!("a closed store announced {last:?}"));
        }
        self.feed = self.t.store.changes();
        Ok(())
    }

    /// Judges the answers to the same call, in the order in which the store must have given them.
    fn judge(&mut self, call: &Call, answers: impl IntoIterator<Item = Answer>) -> Result<(), String> {
        self.model.changes.clear();
        let names = self.names.clone();
        for answer in answers {
            let expected = self.model.step(call, &names, &answer);
            self.compare("answered", &expected, &answer, expected.allows(&answer))?;
            for (kind, name) in call.made(&answer) {
                Arc::make_mut(&mut self.names).learn(kind, name);
            }
        }
        let (announced, due) = (in_order(self.announced()), in_order(self.model.changes.clone()));
        self.compare("announced", &due, &announced, due == announced)
    }

    fn compare<T: std::fmt::Debug>(&self, verb: &str, due: &T, given: &T, agree: bool) -> Result<(), String> {
        if agree {
            return Ok(());
        }
        Err(format!("  {verb:10} {}\n  instead of {}", self.shown(given), self.shown(due)))
    }

    /// An answer in words.
    pub(super) fn shown(&self, it: &impl std::fmt::Debug) -> String {
        self.names.readable(format!("{it:?}").chars().take(LONGEST).collect())
    }

    /// What the store has announced and nobody has looked at yet.
    pub(super) fn announced(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        // Tokio would have a task pause after so many.
        while let Some(Ok(change)) = unconstrained(self.feed.next()).now_or_never() {
            changes.push(change);
        }
        changes
    }

    pub(super) fn observe(&self, call: &Call, answer: Answer) -> Answer {
        (self.observer)(call, answer)
    }

    pub(super) fn store(&self) -> &Arc<dyn Storage> {
        &self.t.store
    }
}

/// The changes of one call. Those of a deleted category's channels come before its own, in an order that the contract
/// leaves open; here it is that of the ids. So is that of several sessions that end at once.
pub(super) fn in_order(mut changes: Vec<Change>) -> Vec<Change> {
    if changes.iter().all(|change| matches!(change, Change::SessionDeleted(_))) {
        changes.sort_by_key(|change| match change {
            Change::SessionDeleted(digest) => Some(*digest),
            _ => None,
        });
    }
    if let [channels @ .., Change::CategoryDeleted(_)] = &mut changes[..] {
        channels.sort_by_key(|change| match change {
            Change::ChannelUpdated(channel) => Some(channel.id),
            _ => None,
        });
    }
    changes
}

/// Calls that together read all there is.
pub(super) fn everything(names: &Names) -> Vec<Call> {
    let made = |kind| (0..names.count(kind)).map(move |number| Text::Made(kind, number));
    let mut calls =
        vec![Call::ListUsers, Call::ListUsersPage(None, u32::MAX), Call::ListChannels, Call::ListCategories];
    calls.push(Call::ListMembersPage(None, u32::MAX));
    calls.extend(made(Kind::User).map(Call::GetUserById));
    calls.extend(made(Kind::Category).map(Call::GetCategory));
    calls.extend(made(Kind::Message).map(Call::GetMessage));
    calls.extend(made(Kind::Token).map(Call::GetSession));
    for channel in made(Kind::Channel) {
        calls.push(Call::GetChannel(channel.clone()));
        calls.push(Call::ListMessages(channel.clone(), None, u32::MAX));
        calls.push(Call::PageMessages(channel.clone(), At::Newest, u32::MAX, 1000));
        calls.push(Call::ListMessagesAfter(channel, Text::Is(NOBODY), u32::MAX));
    }
    calls
}
