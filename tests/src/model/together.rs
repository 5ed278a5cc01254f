//! Callers at the same time: what they saw must have a sequential explanation.

use std::sync::{Arc, Mutex};

use decentcom_server::storage::{Change, Storage, Timestamp};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};
use tokio::sync::Barrier;

use super::{
    Answer, Call, Names,
    run::{Runner, everything, in_order},
    state::Model,
};

/// What happened, in the order in which it was seen: a call is noted before it starts and after it has ended, so one
/// that is noted as ended before another started really was.
pub(super) enum Event {
    Started(usize, Call),
    Ended(usize, Answer),
}

/// Makes the calls, each caller's in turn, all callers at once.
pub(super) async fn make(
    store: &Arc<dyn Storage>,
    callers: &[Vec<Call>],
    names: &Arc<Names>,
    now: Timestamp,
) -> Vec<Event> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let start = Arc::new(Barrier::new(callers.len().max(1)));
    let calling = callers.iter().cloned().enumerate().map(|(caller, calls)| {
        let (store, names, events, start) = (store.clone(), names.clone(), events.clone(), start.clone());
        tokio::spawn(async move {
            start.wait().await;
            for call in calls {
                events.lock().unwrap().push(Event::Started(caller, call.clone()));
                let answer = call.perform(&*store, &names, now).await;
                events.lock().unwrap().push(Event::Ended(caller, answer));
            }
        })
    });
    for caller in futures::future::join_all(calling).await {
        caller.unwrap();
    }
    std::mem::take(&mut *events.lock().unwrap())
}

/// Calls that happen in one step: one call, or the reading of everything when all is quiet again.
#[derive(Clone, Debug)]
struct Op {
    calls: Arc<[Call]>,
    names: Arc<Names>,
    is_last: bool,
}

/// The model as a sequential specification, which knows what was announced: what a call changes must come next there.
#[derive(Clone)]
struct Specification {
    model: Model,
    announced: Arc<[Change]>,
    explained: usize,
}

impl SequentialSpec for Specification {
    type Op = Op;
    type Ret = Arc<[Answer]>;

    fn invoke(&mut self, op: &Op) -> Self::Ret {
        unreachable!("every call has ended before it is judged, {op:?} has not")
    }

    fn is_valid_step(&mut self, op: &Op, told: &Self::Ret) -> bool {
        for (call, told) in op.calls.iter().zip(told.iter()) {
            self.model.changes.clear();
            if !self.model.step(call, &op.names, told).allows(told) {
                return false;
            }
            let due = in_order(std::mem::take(&mut self.model.changes));
            let end = self.explained + due.len();
            if self.announced.get(self.explained..end).is_none_or(|next| in_order(next.to_vec()) != due) {
                return false;
            }
            self.explained = end;
        }
        !op.is_last || self.explained == self.announced.len()
    }
}

/// Looks for an order of the calls that explains every answer, everything there is to read afterwards, and what was
/// announced meanwhile; the model goes on from there.
pub(super) async fn judge(runner: &mut Runner<'_>, events: Vec<Event>) -> Result<(), String> {
    let before = runner.names.clone();
    let announced = runner.announced();
    let mut specification = Specification { model: runner.model.clone(), announced: announced.into(), explained: 0 };
    let mut tester = LinearizabilityTester::new(specification.clone());
    let mut calls: Vec<Option<Call>> = Vec::new();
    let (mut story, mut made) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Started(caller, call) => {
                story.push(format!("{caller} starts {call:?}"));
                calls.resize(calls.len().max(caller + 1), None);
                calls[caller] = Some(call.clone());
                tester.on_invoke(caller, Op { calls: [call].into(), names: before.clone(), is_last: false })?;
            }
            Event::Ended(caller, answer) => {
                let call = calls[caller].take().unwrap();
                let answer = runner.observe(&call, answer);
                story.push(format!("{caller} hears {answer:?}"));
                made.extend(call.made(&answer));
                tester.on_return(caller, [answer].into())?;
            }
        }
    }
    made.sort();
    for (kind, name) in made {
        Arc::make_mut(&mut runner.names).learn(kind, name);
    }

    let reads = everything(&runner.names);
    let mut answers = Vec::new();
    for call in &reads {
        answers.push(call.perform(&**runner.store(), &runner.names, runner.model.now).await);
    }
    story.extend(specification.announced.iter().map(|change| format!("announced {change:?}")));
    story.extend(reads.iter().zip(&answers).map(|(call, answer)| format!("then {call:?} is {answer:?}")));
    let last = Op { calls: reads.into(), names: runner.names.clone(), is_last: true };
    tester.on_invret(calls.len(), last, answers.into())?;

    let Some(explanation) = tester.serialized_history() else {
        let story: String = story.iter().map(|line| format!("  {}\n", runner.shown(&format_args!("{line}")))).collect();
        return Err(format!("no order of the calls explains\n{story}"));
    };
    for (op, told) in explanation {
        assert!(specification.is_valid_step(&op, &told));
    }
    runner.model = specification.model;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Setup, model::Text, provider::IN_MEMORY};

    /// A channel is made while another caller lists the channels and, of the answers `true`, finds it.
    async fn listing_while_a_channel_is_made(lists_after_the_end: bool, finds_it: bool) -> Result<(), String> {
        let setup = Setup::of(IN_MEMORY[1]);
        let mut runner = Runner::new(setup, &|_, answer| answer).await;
        let (names, now) = (runner.names.clone(), runner.model.now);
        let create = Call::CreateChannel(Text::Is("x"), None, 0);
        let created = create.perform(&**runner.store(), &names, now).await;
        let listed = if finds_it { created.clone() } else { Answer::Channels(Vec::new()) };
        let list = Event::Started(1, Call::ListChannels);
        let ended = Event::Ended(0, created);
        let (second, third) = if lists_after_the_end { (ended, list) } else { (list, ended) };
        judge(&mut runner, vec![Event::Started(0, create), second, third, Event::Ended(1, listed)]).await
    }

    #[tokio::test]
    async fn a_read_at_the_same_time_may_or_may_not_see_a_change() {
        listing_while_a_channel_is_made(false, true).await.unwrap();
        listing_while_a_channel_is_made(false, false).await.unwrap();
    }

    #[tokio::test]
    async fn a_read_that_misses_what_was_acknowledged_before_it_has_no_explanation() {
        listing_while_a_channel_is_made(true, true).await.unwrap();
        let problem = listing_while_a_channel_is_made(true, false).await.unwrap_err();
        assert!(problem.starts_with("no order of the calls explains"), "{problem}");
    }
}
