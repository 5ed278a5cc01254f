//! Random scripts.

use proptest::{collection::vec, option, prelude::*, sample::select, strategy::Union};

use decentcom_server::storage::Admission;

use super::{At, Attempt, Call, Choice, Kind, Lasting, Text};
use crate::context::{MALFORMED, NOBODY};

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A call, with nothing else under way.
    Call(Call),
    /// So many times the same call at once, of those that make something which is not unique: more than fit a page, or
    /// a step of a sweep.
    Many(usize, Call),
    /// Several callers at once, each making its calls in turn.
    Together(Vec<Vec<Call>>),
    /// The clock goes forward by so many milliseconds, at most to the end of the year 9999.
    Later(u64),
    /// The clock goes back, at most to 1970.
    Earlier(u64),
    /// The store is closed and opened again, unless it is in memory.
    Reopen,
    /// The store is dropped without closing it, and opened again, unless it is in memory.
    DropAndOpen,
}

/// Scripts of 50 to 100 calls, one after the other, with the clock moving between them; with `reopening`, also with the
/// store opened again. `is_shrinking` says when a shorter one will do.
pub fn calls_in_turn(reopening: bool, is_shrinking: impl Fn() -> bool + 'static) -> impl Strategy<Value = Vec<Step>> {
    let mut steps = vec![(4000, call().prop_map(Step::Call).boxed()), (400, clock().boxed()), (1, many().boxed())];
    if reopening {
        steps.push((200, reopen().boxed()));
    }
    long_enough(vec(Union::new_weighted(steps), 0..=110), is_shrinking)
}

/// The same with up to eight calls at once, by two to eight callers.
pub fn calls_at_once(reopening: bool, is_shrinking: impl Fn() -> bool + 'static) -> impl Strategy<Value = Vec<Step>> {
    let callers =
        prop_oneof![vec(vec(call(), 1..=1), 2..=8), vec(vec(call(), 1..=2), 2..=4), vec(vec(call(), 1..=4), 2..=2),];
    let mut steps = vec![
        (8, callers.prop_map(Step::Together).boxed()),
        (10, call().prop_map(Step::Call).boxed()),
        (2, clock().boxed()),
    ];
    if reopening {
        steps.push((1, reopen().boxed()));
    }
    long_enough(vec(Union::new_weighted(steps), 0..=36), is_shrinking)
}

fn long_enough(
    scripts: impl Strategy<Value = Vec<Step>>,
    is_shrinking: impl Fn() -> bool + 'static,
) -> impl Strategy<Value = Vec<Step>> {
    scripts.prop_filter("fewer than 50 calls", move |script| is_shrinking() || 50 <= calls(script))
}

fn calls(script: &[Step]) -> usize {
    let calls = |step: &Step| match step {
        Step::Call(_) => 1,
        Step::Many(count, _) => *count,
        Step::Together(callers) => callers.iter().map(Vec::len).sum(),
        _ => 0,
    };
    script.iter().map(calls).sum()
}

/// A script as code: what stands between the brackets of a regression test.
pub fn listing(script: &[Step]) -> String {
    let code = |step: &Step| match step {
        Step::Together(callers) => {
            let callers: Vec<_> = callers.iter().map(|calls| format!("vec!{calls:?}")).collect();
            format!("Together(vec![{}])", callers.join(", "))
        }
        step => format!("{step:?}"),
    };
    script.iter().map(|step| format!("    {},\n", code(step))).collect()
}

fn clock() -> impl Strategy<Value = Step> {
    let (soon, hour) = (prop_oneof![1..20u64, Just(1_000)], Just(3_600_000u64));
    prop_oneof![
        100 => soon.clone().prop_map(Step::Later),
        25 => hour.prop_map(Step::Later),
        40 => soon.prop_map(Step::Earlier),
        15 => hour.prop_map(Step::Earlier),
        5 => Just(Step::Earlier(u64::MAX)),
        5 => Just(Step::Later(366 * 24 * 3_600_000)),
        1 => Just(Step::Later(u64::MAX)),
    ]
}

fn reopen() -> impl Strategy<Value = Step> {
    prop_oneof![2 => Just(Step::Reopen), 1 => Just(Step::DropAndOpen)]
}

/// Rare, because each takes as long as a whole script.
fn many() -> impl Strategy<Value = Step> {
    let (messages, sessions) = (select(vec![260, 510]), select(vec![260, 520]));
    prop_oneof![
        (messages, id(Kind::Channel), id(Kind::User)).prop_map(|(count, channel, author)| {
            Step::Many(count, Call::CreateMessage(channel, author, Text::Is("many")))
        }),
        (sessions, id(Kind::User), lasting())
            .prop_map(|(count, user, lasting)| Step::Many(count, Call::CreateSession(user, lasting))),
    ]
}

fn number() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0..3usize, 2 => 0..20usize]
}

/// An id of this kind: of something that was made, live or deleted, or of something else, or none.
fn id(kind: Kind) -> impl Strategy<Value = Text> {
    let ids = [Kind::User, Kind::Channel, Kind::Category, Kind::Message];
    prop_oneof![
        80 => number().prop_map(move |number| Text::Made(kind, number)),
        8 => number().prop_map(move |number| Text::OtherCase(kind, number)),
        5 => (select(ids.to_vec()), number()).prop_map(|(kind, number)| Text::Made(kind, number)),
        2 => Just(Text::Is(NOBODY)),
        1 => Just(Text::Is("7zzzzzzzzzzzzzzzzzzzzzzzzz")),
        4 => malformed(),
    ]
}

/// Crockford's alphabet leaves out I, L, O and U; long texts are shortened in errors.
fn malformed() -> impl Strategy<Value = Text> {
    let mut texts: Vec<_> = MALFORMED.into_iter().map(Text::Is).collect();
    texts.extend(
        ["0000000000000000000000000I", "0000000000000000000000000l", "O0000000000000000000000000"].map(Text::Is),
    );
    texts.extend([" 0000000000000000000000000", "00000000000000000000000000\0"].map(Text::Is));
    texts.push(Text::Long(5_000));
    select(texts)
}

fn cursor(kind: Kind) -> impl Strategy<Value = Text> {
    prop_oneof![
        9 => id(kind),
        1 => Just(Text::Is("7ZZZZZZZZZZZZZZZZZZZZZZZZZ")),
    ]
}

fn pubkey() -> impl Strategy<Value = Text> {
    prop_oneof![
        20 => select(vec!["a", "b", "c", "d", "e", "A", "a ", "a\0", "\u{e9}", "e\u{301}"]).prop_map(Text::Is),
        1 => Just(Text::Is("")),
        1 => Just(Text::Long(256)),
        1 => Just(Text::Long(257)),
    ]
}

fn name() -> impl Strategy<Value = Text> {
    prop_oneof![
        20 => select(vec!["x", "y", "X", "\0", "\u{1F600}", "\u{e9}", "e\u{301}", "y\u{202e}", " ", "\u{3164}"]).prop_map(Text::Is),
        2 => Just(Text::Is("")),
        1 => Just(Text::Long(1024)),
        1 => Just(Text::Long(1025)),
    ]
}

fn content() -> impl Strategy<Value = Text> {
    prop_oneof![
        400 => select(vec!["one", "two", "", "%_'\"\\", "\u{202e}\0", "\u{202e}x\0"]).prop_map(Text::Is),
        1 => Just(Text::Long(1 << 20)),
        8 => Just(Text::Long((1 << 20) + 1)),
    ]
}

fn category() -> impl Strategy<Value = Text> {
    prop_oneof![8 => id(Kind::Category), 2 => name()]
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        2 => Just(Choice::Uncategorised),
        4 => id(Kind::Category).prop_map(Choice::Id),
        6 => category().prop_map(Choice::Name),
        2 => name().prop_map(Choice::Name),
    ]
}

fn at() -> impl Strategy<Value = At> {
    prop_oneof![
        2 => Just(At::Newest),
        2 => cursor(Kind::Message).prop_map(At::Before),
        2 => cursor(Kind::Message).prop_map(At::After),
    ]
}

fn bytes() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..12usize, 1 => select(vec![1 << 20, usize::MAX])]
}

fn position() -> impl Strategy<Value = i32> {
    prop_oneof![10 => -2..3i32, 1 => select(vec![i32::MIN, i32::MAX])]
}

fn limit() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 1..6u32, 1 => Just(0), 2 => select(vec![50, 500, 501, u32::MAX])]
}

fn lasting() -> impl Strategy<Value = Lasting> {
    prop_oneof![
        10 => select(vec![1, 2, 5, 10, 1_000, 3_600_000]).prop_map(|millis| Lasting::Nanos(millis * 1_000_000)),
        1 => select(vec![0, 1, 1_000_001]).prop_map(Lasting::Nanos),
        1 => select(vec![0, 1]).prop_map(Lasting::ToTheEndAnd),
        1 => Just(Lasting::Longest),
    ]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let age = prop_oneof![8 => 0..7i64, 1 => select(vec![-1, i64::MIN + 1, i64::MAX])];
    let number = prop_oneof![8 => 0..4u32, 1 => Just(u32::MAX)];
    let admission = select(vec![Admission::Join, Admission::Join, Admission::Visit, Admission::MembersOnly]);
    (age, number, admission, any::<bool>()).prop_map(|(age, number, admission, is_bot)| Attempt {
        age,
        number,
        admission,
        is_bot,
    })
}

fn token() -> impl Strategy<Value = Text> {
    prop_oneof![
        12 => number().prop_map(|number| Text::Made(Kind::Token, number)),
        1 => number().prop_map(|number| Text::OtherCase(Kind::Token, number)),
        1 => id(Kind::User),
        1 => malformed(),
    ]
}

/// Any call, the ones that change something more often.
fn call() -> impl Strategy<Value = Call> {
    Union::new_weighted(vec![
        (6, (pubkey(), option::of(name())).prop_map(|(key, name)| Call::CreateUser(key, name)).boxed()),
        (2, id(Kind::User).prop_map(Call::GetUserById).boxed()),
        (2, pubkey().prop_map(Call::GetUserByPubkey).boxed()),
        (
            5,
            (id(Kind::User), option::of(name()), option::of(name()))
                .prop_map(|(id, name, avatar)| Call::UpdateUser(id, name, avatar))
                .boxed(),
        ),
        (1, Just(Call::ListUsers).boxed()),
        (
            3,
            (option::of(cursor(Kind::User)), limit())
                .prop_map(|(after, limit)| Call::ListUsersPage(after, limit))
                .boxed(),
        ),
        (
            16,
            (id(Kind::Channel), id(Kind::User), content())
                .prop_map(|(channel, author, content)| Call::CreateMessage(channel, author, content))
                .boxed(),
        ),
        (4, id(Kind::Message).prop_map(Call::GetMessage).boxed()),
        (
            6,
            (id(Kind::Channel), option::of(cursor(Kind::Message)), limit())
                .prop_map(|(channel, before, limit)| Call::ListMessages(channel, before, limit))
                .boxed(),
        ),
        (
            5,
            (id(Kind::Channel), cursor(Kind::Message), limit())
                .prop_map(|(channel, after, limit)| Call::ListMessagesAfter(channel, after, limit))
                .boxed(),
        ),
        (
            6,
            (id(Kind::Channel), at(), limit(), bytes())
                .prop_map(|(channel, at, limit, bytes)| Call::PageMessages(channel, at, limit, bytes))
                .boxed(),
        ),
        (8, (id(Kind::Message), content()).prop_map(|(id, content)| Call::UpdateMessage(id, content)).boxed()),
        (6, id(Kind::Message).prop_map(Call::DeleteMessage).boxed()),
        (
            8,
            (name(), option::of(category()), position())
                .prop_map(|(name, category, position)| Call::CreateChannel(name, category, position))
                .boxed(),
        ),
        (
            5,
            (name(), choice(), position())
                .prop_map(|(name, category, position)| Call::CreateChannelIn(name, category, position))
                .boxed(),
        ),
        (2, id(Kind::Channel).prop_map(Call::GetChannel).boxed()),
        (2, Just(Call::ListChannels).boxed()),
        (
            4,
            (id(Kind::Channel), option::of(name()), option::of(name()), option::of(position()))
                .prop_map(|(id, name, topic, position)| Call::UpdateChannel(id, name, topic, position))
                .boxed(),
        ),
        (
            4,
            (id(Kind::Channel), option::of(name()), option::of(name()), option::of(choice()), option::of(position()))
                .prop_map(|(id, name, topic, category, position)| {
                    Call::EditChannel(id, name, topic, category, position)
                })
                .boxed(),
        ),
        (3, id(Kind::Channel).prop_map(Call::DeleteChannel).boxed()),
        (5, (name(), position()).prop_map(|(name, position)| Call::CreateCategory(name, position)).boxed()),
        (2, id(Kind::Category).prop_map(Call::GetCategory).boxed()),
        (2, Just(Call::ListCategories).boxed()),
        (
            4,
            (id(Kind::Category), option::of(name()), option::of(position()))
                .prop_map(|(id, name, position)| Call::UpdateCategory(id, name, position))
                .boxed(),
        ),
        (4, id(Kind::Category).prop_map(Call::DeleteCategory).boxed()),
        (6, (id(Kind::User), lasting()).prop_map(|(user, lasting)| Call::CreateSession(user, lasting)).boxed()),
        (
            8,
            (pubkey(), attempt(), lasting())
                .prop_map(|(key, attempt, lasting)| Call::LogIn(key, attempt, lasting))
                .boxed(),
        ),
        (2, pubkey().prop_map(Call::NewestUsedChallenges).boxed()),
        (3, (id(Kind::User), any::<bool>()).prop_map(|(id, is)| Call::SetMembership(id, is)).boxed()),
        (
            2,
            (option::of(cursor(Kind::User)), limit())
                .prop_map(|(after, limit)| Call::ListMembersPage(after, limit))
                .boxed(),
        ),
        (2, id(Kind::User).prop_map(Call::DeleteSessionsOfUser).boxed()),
        (4, token().prop_map(Call::GetSession).boxed()),
        (3, token().prop_map(Call::DeleteSession).boxed()),
        (3, Just(Call::DeleteExpiredSessions).boxed()),
        (1, Just(Call::Ping).boxed()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_the_code_of_its_steps() {
        let get = Call::GetSession(Text::OtherCase(Kind::Token, 2));
        let create = Call::CreateSession(Text::Is("\0\u{e9}"), Lasting::Nanos(1));
        let script =
            [Step::Call(get), Step::Together(vec![vec![create, Call::Ping], vec![Call::Ping]]), Step::Later(3)];
        let code = "    Call(GetSession(OtherCase(Token, 2))),
    Together(vec![vec![CreateSession(Is(\"\\0\u{e9}\"), Nanos(1)), Ping], vec![Ping]]),
    Later(3),
";
        assert_eq!(listing(&script), code);
    }
}
