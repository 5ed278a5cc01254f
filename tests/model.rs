//! The stores against the reference model, call by call. `MODEL_CASES=100000 cargo test -p decentcom-tests --test model`
//! hunts for longer.

#![allow(clippy::unwrap_used, clippy::panic)] // a test program

use std::{collections::BTreeSet, sync::Mutex};

use decentcom_tests::{
    Setup,
    model::{
        Answer,
        Call::*,
        Hunt,
        Kind::*,
        Lasting::*,
        Step::{self, *},
        Text::*,
        cases, listing, run,
    },
    provider::IN_MEMORY,
};

/// Scripts among which each call has each outcome.
const ENOUGH: u32 = 200;

/// Every outcome that a call can have, so that agreeing is not for want of trying.
const OUTCOMES: &[(&str, &[&str])] = &[
    ("CreateUser", &["done", "invalid input", "conflict"]),
    ("GetUserById", &["done", "nothing"]),
    ("GetUserByPubkey", &["done", "nothing"]),
    ("UpdateUser", &["done", "invalid input", "not found"]),
    ("ListUsers", &["done", "nothing"]),
    ("ListUsersPage", &["done", "nothing", "invalid input"]),
    ("CreateMessage", &["done", "invalid input", "not found"]),
    ("GetMessage", &["done", "nothing"]),
    ("ListMessages", &["done", "nothing", "invalid input"]),
    ("ListMessagesAfter", &["done", "nothing", "invalid input"]),
    ("PageMessages", &["done", "some", "nothing", "invalid input"]),
    ("UpdateMessage", &["done", "invalid input", "not found"]),
    ("DeleteMessage", &["done", "not found"]),
    ("CreateChannel", &["done", "invalid input"]),
    ("CreateChannelIn", &["done", "invalid input", "not found"]),
    ("GetChannel", &["done", "nothing"]),
    ("ListChannels", &["done", "nothing"]),
    ("UpdateChannel", &["done", "invalid input", "not found"]),
    ("EditChannel", &["done", "invalid input", "not found"]),
    ("DeleteChannel", &["done", "not found"]),
    ("CreateCategory", &["done", "invalid input"]),
    ("GetCategory", &["done", "nothing"]),
    ("ListCategories", &["done", "nothing"]),
    ("UpdateCategory", &["done", "invalid input", "not found"]),
    ("DeleteCategory", &["done", "not found"]),
    ("CreateSession", &["done", "invalid input", "not found"]),
    ("SetMembership", &["done", "not found"]),
    ("ListMembersPage", &["done", "nothing", "invalid input"]),
    ("LogIn", &["done", "invalid input", "not found", "conflict"]),
    ("NewestUsedChallenges", &["done"]),
    ("DeleteSessionsOfUser", &["done", "nothing"]),
    ("GetSession", &["done", "nothing"]),
    ("DeleteSession", &["done"]),
    ("DeleteExpiredSessions", &["done", "nothing"]),
    ("Ping", &["done"]),
];

#[test]
fn both_backends_agree_with_the_model_call_by_call_in_every_outcome_a_call_can_have() {
    let seen = Mutex::new(BTreeSet::new());
    let hunt = Hunt { cases: cases(60).max(ENOUGH), setups: Setup::in_memory(), at_once: false };
    hunt.run(&|call, answer| {
        seen.lock().unwrap().insert((call.method(), answer.outcome()));
        answer
    });
    let seen = seen.into_inner().unwrap();
    let seen: BTreeSet<_> = seen.iter().map(|(method, outcome)| (method.as_str(), *outcome)).collect();
    let expected = OUTCOMES.iter().flat_map(|(method, outcomes)| outcomes.iter().map(|outcome| (*method, *outcome)));
    assert_eq!(seen, expected.collect());
}

#[test]
fn both_backends_agree_with_the_model_across_reopens_and_verification_finds_nothing() {
    Hunt { cases: cases(20), setups: Setup::on_disk(), at_once: false }.run(&|_, answer| answer);
}

/// Holds both backends, in memory and on disk, to a script that was found by a hunt or written by hand.
fn agrees(script: &[Step]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for setup in Setup::in_memory().into_iter().chain(Setup::on_disk()) {
        if let Err(problem) = runtime.block_on(run(setup, script, &|_, answer| answer)) {
            panic!("{problem}\nin the script\n{}", listing(script));
        }
    }
}

#[test]
fn more_than_a_page_and_more_than_a_step_of_a_sweep_or_of_reclaiming() {
    agrees(&[
        Call(CreateUser(Is("a"), None)),
        Call(CreateChannel(Is("x"), None, 0)),
        Call(CreateChannel(Is("y"), None, 0)),
        Many(510, CreateMessage(Made(Channel, 0), Made(User, 0), Is("many"))),
        Many(260, CreateMessage(Made(Channel, 1), Made(User, 0), Is("many"))),
        Call(DeleteMessage(Made(Message, 5))),
        Call(ListMessages(Made(Channel, 0), None, 501)),
        Call(ListMessages(Made(Channel, 0), Some(Made(Message, 505)), u32::MAX)),
        Call(ListMessagesAfter(Made(Channel, 0), Made(Message, 3), u32::MAX)),
        Many(520, CreateSession(Made(User, 0), Nanos(5_000_000))),
        Call(CreateSession(Made(User, 0), Nanos(6_000_000))),
        Later(5),
        Call(DeleteExpiredSessions),
        Call(DeleteChannel(Made(Channel, 0))),
        Reopen,
        Call(DeleteExpiredSessions),
    ]);
}

/// A store that forgets the oldest of three messages is found out, by a script of the calls that it takes.
#[test]
fn a_lie_shrinks_to_the_calls_it_takes() {
    let forgets = |call: &decentcom_tests::model::Call, answer| match (call, answer) {
        (ListMessages(..), Answer::Messages(mut page)) if page.len() == 3 => {
            page.pop();
            Answer::Messages(page)
        }
        (_, answer) => answer,
    };
    let setups = vec![Setup::of(IN_MEMORY[1])];
    let found = Hunt { cases: 200, setups, at_once: false }.search(&forgets).expect("the lie is noticed");
    let calls: Vec<_> = found
        .script
        .iter()
        .map(|step| match step {
            Step::Call(call) => call.method(),
            other => panic!("{other:?} is not needed in\n{}", listing(&found.script)),
        })
        .collect();
    let mut needed = ["CreateUser", "CreateChannel", "CreateMessage", "CreateMessage", "CreateMessage"].to_vec();
    assert!(calls.len() <= 12, "{calls:?}");
    needed.retain(|call| !calls.iter().any(|it| it.starts_with(call))); // `CreateChannelIn` makes one too
    assert!(needed.is_empty(), "{calls:?}");
}
