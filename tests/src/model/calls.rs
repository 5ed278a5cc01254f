//! The calls of the contract as data, and what a store answers to them.

use std::time::Duration;

use decentcom_server::storage::{
    Admission, Category, CategoryChoice, Challenge, Channel, ChannelEdit, Entity, LogIn, LoggedIn, Message,
    MessagePage, PageAt, Session, Storage, StorageError, Timestamp, User,
};

use super::{Kind, Names, Text};

/// A call, with its arguments in the order of the contract. The debug text is the code that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the method of its name")]
pub enum Call {
    CreateUser(Text, Option<Text>),
    GetUserById(Text),
    GetUserByPubkey(Text),
    UpdateUser(Text, Option<Text>, Option<Text>),
    SetMembership(Text, bool),
    ListUsers,
    ListUsersPage(Option<Text>, u32),
    ListMembersPage(Option<Text>, u32),
    CreateMessage(Text, Text, Text),
    GetMessage(Text),
    ListMessages(Text, Option<Text>, u32),
    ListMessagesAfter(Text, Text, u32),
    /// `PageMessages(channel, page, limit, max_bytes)`.
    PageMessages(Text, At, u32, usize),
    UpdateMessage(Text, Text),
    DeleteMessage(Text),
    CreateChannel(Text, Option<Text>, i32),
    CreateChannelIn(Text, Choice, i32),
    GetChannel(Text),
    ListChannels,
    UpdateChannel(Text, Option<Text>, Option<Text>, Option<i32>),
    /// `EditChannel(id, name, topic, category_id, position)`.
    EditChannel(Text, Option<Text>, Option<Text>, Option<Choice>, Option<i32>),
    DeleteChannel(Text),
    CreateCategory(Text, i32),
    GetCategory(Text),
    ListCategories,
    UpdateCategory(Text, Option<Text>, Option<i32>),
    DeleteCategory(Text),
    CreateSession(Text, Lasting),
    LogIn(Text, Attempt, Lasting),
    /// Of the slots that can still be answered.
    NewestUsedChallenges(Text),
    GetSession(Text),
    DeleteSession(Text),
    DeleteSessionsOfUser(Text),
    DeleteExpiredSessions,
    Ping,
}

/// How a challenge is answered, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How many slots ago it was made for; less than none: it is of the future.
    pub age: i64,
    /// Its number.
    pub number: u32,
    /// Whom the log-in is to let in.
    pub admission: Admission,
    /// Whether a program logs in.
    pub is_bot: bool,
}

/// The slot so many slots before the one now.
pub(super) fn slot(now: Timestamp, age: i64) -> u64 {
    (now.as_millis() / 60_000).saturating_add_signed(-age)
}

/// A [`PageAt`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the variant of its name")]
pub enum At {
    Newest,
    Before(Text),
    After(Text),
}

impl At {
    /// The cursor's text.
    pub(super) fn cursor(&self, names: &Names) -> String {
        match self {
            Self::Newest => String::new(),
            Self::Before(cursor) | Self::After(cursor) => names.text(cursor),
        }
    }

    /// The place itself.
    pub(super) fn with<'a>(&self, cursor: &'a str) -> PageAt<'a> {
        match self {
            Self::Newest => PageAt::Newest,
            Self::Before(_) => PageAt::Before(cursor),
            Self::After(_) => PageAt::After(cursor),
        }
    }
}

/// A [`CategoryChoice`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the variant of its name")]
pub enum Choice {
    Uncategorised,
    Id(Text),
    Name(Text),
}

impl Choice {
    /// The choice itself.
    pub(super) fn with(&self, names: &Names) -> CategoryChoice {
        match self {
            Self::Uncategorised => CategoryChoice::Uncategorised,
            Self::Id(id) => CategoryChoice::Id(names.text(id)),
            Self::Name(name) => CategoryChoice::Name(names.text(name)),
        }
    }
}

/// How long a session is to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// So many nanoseconds.
    Nanos(u64),
    /// To the last millisecond of the year 9999, and so many nanoseconds more.
    ToTheEndAnd(u64),
    /// As long as a duration can say.
    Longest,
}

impl Lasting {
    /// The duration of a session that starts at `now`.
    pub fn from(self, now: Timestamp) -> Duration {
        match self {
            Self::Nanos(nanos) => Duration::from_nanos(nanos),
            Self::ToTheEndAnd(nanos) => Timestamp::MAX.since(now) + Duration::from_nanos(nanos),
            Self::Longest => Duration::MAX,
        }
    }
}

/// What a call answered. A row, perhaps a row, and rows are all rows: the call says which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Users.
    Users(Vec<User>),
    /// Channels.
    Channels(Vec<Channel>),
    /// Categories.
    Categories(Vec<Category>),
    /// Messages.
    Messages(Vec<Message>),
    /// A page of messages, and whether there are others.
    Page(Vec<Message>, bool),
    /// Sessions.
    Sessions(Vec<Session>),
    /// Who logged in, and the session.
    LoggedIn(User, Session),
    /// A number for each slot, where there is one.
    Numbers(Vec<Option<u32>>),
    /// How many.
    Count(u64),
    /// `Ok`, with nothing to say.
    Done,
    /// An error.
    Refused(Refusal),
}

/// An error of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What does not exist, and its id.
    NotFound(Entity, String),
    /// The unique field that is taken.
    Conflict(Entity, &'static str),
    /// The field that breaks a rule; of the model, every field that does: the contract does not say which comes first.
    InvalidInput(Vec<&'static str>),
    /// An error that no call of a script may meet.
    Unexpected(String),
}

impl Answer {
    /// Whether a store may answer `given` where the contract says this.
    pub fn allows(&self, given: &Self) -> bool {
        match (self, given) {
            (Self::Refused(Refusal::InvalidInput(wrong)), Self::Refused(Refusal::InvalidInput(named))) => {
                named.iter().all(|field| wrong.contains(field))
            }
            _ => self == given,
        }
    }

    /// One word for the outcome.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(Refusal::NotFound(..)) => "not found",
            Self::Refused(Refusal::Conflict(..)) => "conflict",
            Self::Refused(Refusal::InvalidInput(..)) => "invalid input",
            Self::Refused(Refusal::Unexpected(..)) => "unexpected",
            Self::Count(0) => "nothing",
            Self::Count(_) | Self::Done => "done",
            Self::Users(rows) if rows.is_empty() => "nothing",
            Self::Channels(rows) if rows.is_empty() => "nothing",
            Self::Categories(rows) if rows.is_empty() => "nothing",
            Self::Messages(rows) | Self::Page(rows, _) if rows.is_empty() => "nothing",
            Self::Page(_, true) => "some",
            Self::Sessions(rows) if rows.is_empty() => "nothing",
            _ => "done",
        }
    }

    /// The kind and name of the one thing in the answer.
    pub fn made(&self) -> Option<(Kind, String)> {
        match self {
            Self::Users(rows) => rows.first().map(|user| (Kind::User, user.id.to_string())),
            Self::Channels(rows) => rows.first().map(|channel| (Kind::Channel, channel.id.to_string())),
            Self::Categories(rows) => rows.first().map(|category| (Kind::Category, category.id.to_string())),
            Self::Messages(rows) => rows.first().map(|message| (Kind::Message, message.id.to_string())),
            Self::Sessions(rows) => rows.first().map(|session| (Kind::Token, session.token.clone())),
            Self::LoggedIn(_, session) => Some((Kind::Token, session.token.clone())),
            Self::Page(..) | Self::Numbers(_) | Self::Count(_) | Self::Done | Self::Refused(_) => None,
        }
    }
}

impl From<MessagePage> for Answer {
    fn from(MessagePage { messages, has_more }: MessagePage) -> Self {
        Self::Page(messages, has_more)
    }
}

impl From<StorageError> for Answer {
    fn from(error: StorageError) -> Self {
        Self::Refused(match error {
            StorageError::NotFound { entity, id } => Refusal::NotFound(entity, shown(&id)),
            StorageError::Conflict { entity, field } => Refusal::Conflict(entity, field),
            StorageError::InvalidInput { field, reason } if !reason.is_empty() => Refusal::InvalidInput(vec![field]),
            other => Refusal::Unexpected(format!("{other:?}")),
        })
    }
}

/// The part of an id that any error shows: very long ones are shortened, and the contract does not say to what.
pub(super) fn shown(id: &str) -> String {
    id.chars().take(40).collect()
}

/// An answer, from what the call returned.
trait IntoAnswer {
    fn into_answer(self) -> Answer;
}

impl<T: IntoAnswer> IntoAnswer for Result<T, StorageError> {
    fn into_answer(self) -> Answer {
        self.map_or_else(Answer::from, T::into_answer)
    }
}

impl IntoAnswer for () {
    fn into_answer(self) -> Answer {
        Answer::Done
    }
}

impl IntoAnswer for LoggedIn {
    fn into_answer(self) -> Answer {
        Answer::LoggedIn(self.user, self.session)
    }
}

impl IntoAnswer for Vec<Option<u32>> {
    fn into_answer(self) -> Answer {
        Answer::Numbers(self)
    }
}

impl IntoAnswer for MessagePage {
    fn into_answer(self) -> Answer {
        self.into()
    }
}

impl IntoAnswer for u64 {
    fn into_answer(self) -> Answer {
        Answer::Count(self)
    }
}

macro_rules! rows_into_answers {
    ($($row:ident => $rows:ident,)*) => {$(
        impl IntoAnswer for $row {
            fn into_answer(self) -> Answer {
                Answer::$rows(vec![self])
            }
        }
        impl IntoAnswer for Option<$row> {
            fn into_answer(self) -> Answer {
                Answer::$rows(self.into_iter().collect())
            }
        }
        impl IntoAnswer for Vec<$row> {
            fn into_answer(self) -> Answer {
                Answer::$rows(self)
            }
        }
    )*};
}

rows_into_answers! {
    User => Users,
    Channel => Channels,
    Category => Categories,
    Message => Messages,
    Session => Sessions,
}

impl Call {
    /// The method.
    pub fn method(&self) -> String {
        let code = format!("{self:?}");
        code.split('(').next().unwrap_or_default().to_owned()
    }

    /// Whether it makes something that gets a name.
    fn makes(&self) -> bool {
        matches!(
            self,
            Self::CreateUser(..)
                | Self::CreateMessage(..)
                | Self::CreateChannel(..)
                | Self::CreateChannelIn(..)
                | Self::CreateCategory(..)
                | Self::CreateSession(..)
                | Self::LogIn(..)
        )
    }

    /// The names in an answer to it, of things that may be new: a category may be made with its channel.
    pub fn made(&self, answer: &Answer) -> Vec<(Kind, String)> {
        let category = match (self, answer) {
            (
                Self::CreateChannelIn(_, Choice::Name(_), _) | Self::EditChannel(_, _, _, Some(Choice::Name(_)), _),
                Answer::Channels(rows),
            ) => rows.first().and_then(|channel| channel.category_id.clone()),
            _ => None,
        };
        let category = category.map(|id| (Kind::Category, id));
        category.into_iter().chain(answer.made().filter(|_| self.makes())).collect()
    }

    /// Makes the call on a store whose clock says `now`.
    pub async fn perform(&self, store: &dyn Storage, names: &Names, now: Timestamp) -> Answer {
        let text = |text: &Text| names.text(text);
        let optional = |text: &Option<Text>| names.optional(text);
        match self {
            Self::CreateUser(pubkey, name) => {
                store.create_user(&text(pubkey), optional(name).as_deref()).await.into_answer()
            }
            Self::GetUserById(id) => store.get_user_by_id(&text(id)).await.into_answer(),
            Self::GetUserByPubkey(pubkey) => store.get_user_by_pubkey(&text(pubkey)).await.into_answer(),
            Self::UpdateUser(id, name, avatar) => {
                let (name, avatar) = (optional(name), optional(avatar));
                store.update_user(&text(id), name.as_deref(), avatar.as_deref()).await.into_answer()
            }
            Self::ListUsers => store.list_users().await.into_answer(),
            Self::ListUsersPage(after, limit) => {
                store.list_users_page(optional(after).as_deref(), *limit).await.into_answer()
            }
            Self::SetMembership(id, is_member) => store.set_membership(&text(id), *is_member).await.into_answer(),
            Self::ListMembersPage(after, limit) => {
                store.list_members_page(optional(after).as_deref(), *limit).await.into_answer()
            }
            Self::LogIn(pubkey, attempt, lasting) => {
                let Attempt { age, number, admission, is_bot } = *attempt;
                let challenge = Challenge { slot: slot(now, age), number };
                let (pubkey, duration) = (text(pubkey), lasting.from(now));
                store.log_in(LogIn { pubkey, challenge, admission, is_bot, duration }).await.into_answer()
            }
            Self::NewestUsedChallenges(pubkey) => {
                let slots: Vec<_> = (0..6).map(|age| slot(now, age)).collect();
                store.newest_used_challenges(&text(pubkey), &slots).await.into_answer()
            }
            Self::DeleteSessionsOfUser(id) => store.delete_sessions_of_user(&text(id)).await.into_answer(),
            Self::CreateMessage(channel, author, content) => {
                store.create_message(&text(channel), &text(author), &text(content)).await.into_answer()
            }
            Self::GetMessage(id) => store.get_message(&text(id)).await.into_answer(),
            Self::ListMessages(channel, before, limit) => {
                store.list_messages(&text(channel), optional(before).as_deref(), *limit).await.into_answer()
            }
            Self::ListMessagesAfter(channel, after, limit) => {
                store.list_messages_after(&text(channel), &text(after), *limit).await.into_answer()
            }
            Self::PageMessages(channel, at, limit, max_bytes) => {
                let cursor = at.cursor(names);
                store.page_messages(&text(channel), at.with(&cursor), *limit, *max_bytes).await.into_answer()
            }
            Self::UpdateMessage(id, content) => store.update_message(&text(id), &text(content)).await.into_answer(),
            Self::DeleteMessage(id) => store.delete_message(&text(id)).await.into_answer(),
            Self::CreateChannel(name, category, position) => {
                store.create_channel(&text(name), optional(category).as_deref(), *position).await.into_answer()
            }
            Self::CreateChannelIn(name, category, position) => {
                store.create_channel_in(&text(name), category.with(names), *position).await.into_answer()
            }
            Self::GetChannel(id) => store.get_channel(&text(id)).await.into_answer(),
            Self::ListChannels => store.list_channels().await.into_answer(),
            Self::UpdateChannel(id, name, topic, position) => {
                let (name, topic) = (optional(name), optional(topic));
                store.update_channel(&text(id), name.as_deref(), topic.as_deref(), *position).await.into_answer()
            }
            Self::EditChannel(id, name, topic, category, position) => {
                let category = category.as_ref().map(|category| category.with(names));
                let edit = ChannelEdit { name: optional(name), topic: optional(topic), category, position: *position };
                store.edit_channel(&text(id), edit).await.into_answer()
            }
            Self::DeleteChannel(id) => store.delete_channel(&text(id)).await.into_answer(),
            Self::CreateCategory(name, position) => store.create_category(&text(name), *position).await.into_answer(),
            Self::GetCategory(id) => store.get_category(&text(id)).await.into_answer(),
            Self::ListCategories => store.list_categories().await.into_answer(),
            Self::UpdateCategory(id, name, position) => {
                store.update_category(&text(id), optional(name).as_deref(), *position).await.into_answer()
            }
            Self::DeleteCategory(id) => store.delete_category(&text(id)).await.into_answer(),
            Self::CreateSession(user, lasting) => {
                store.create_session(&text(user), lasting.from(now)).await.into_answer()
            }
            Self::GetSession(token) => store.get_session(&text(token)).await.into_answer(),
            Self::DeleteSession(token) => store.delete_session(&text(token)).await.into_answer(),
            Self::DeleteExpiredSessions => store.delete_expired_sessions().await.into_answer(),
            Self::Ping => store.ping().await.into_answer(),
        }
    }
}
