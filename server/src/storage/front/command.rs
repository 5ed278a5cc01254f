//! What a mutating call is on the commit thread: a command, and the caller who waits for its answer.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::batch::Batch;
use crate::storage::{StorageError, port::Wants};

/// A mutating call that passed every check that needs no row. Those of users are in `users.rs`, and so on.
pub(super) trait Command: Send + 'static {
    /// What the caller gets.
    type Answer: Send + 'static;

    /// Names the records that deciding it looks at.
    fn wants(&self, wants: &mut Wants);

    /// The rules: what it writes, and what it answers. One that is refused has written nothing. It may be decided again, as
    /// if for the first time, when the batch could not be stored.
    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Answer, StorageError>;

    /// Whether it frees room, or will once deleted channels are reclaimed: such commands go on while the disk is full.
    fn frees_room(&self) -> bool {
        false
    }

    /// Bytes of the texts it holds, where they may be long: a name or topic is a few KiB at most.
    fn text_bytes(&self) -> usize {
        0
    }

    /// Bytes of memory it holds while it waits, about.
    fn weight(&self) -> usize
    where
        Self: Sized,
    {
        size_of::<Asked<Self>>() + self.text_bytes()
    }
}

/// A command of any kind on its way through a commit.
pub(super) trait Job: Send {
    fn wants(&self, wants: &mut Wants);
    fn frees_room(&self) -> bool;
    fn weight(&self) -> usize;
    /// Decides it; the answer is kept until it is known whether the batch was stored.
    fn decide(&mut self, batch: &mut Batch<'_>);
    /// Gives up what was decided: this is the answer.
    fn fail(&mut self, error: StorageError);
    /// Tells the caller.
    fn answer(self: Box<Self>);
}

/// A command, and where its answer goes.
pub(super) struct Asked<C: Command> {
    command: C,
    decision: Option<Result<C::Answer, StorageError>>,
    /// `None` where the committer itself asked.
    response: Option<oneshot::Sender<Result<C::Answer, StorageError>>>,
    /// Held until the answer is sent: it bounds what waits and what is being committed.
    _memory: Option<OwnedSemaphorePermit>,
}

impl<C: Command> Asked<C> {
    /// A call, and where its caller waits.
    pub(super) fn by_a_caller(
        command: C,
        memory: OwnedSemaphorePermit,
    ) -> (Self, oneshot::Receiver<Result<C::Answer, StorageError>>) {
        let (response, answer) = oneshot::channel();
        (Self { command, decision: None, response: Some(response), _memory: Some(memory) }, answer)
    }

    /// A step of the committer's own.
    pub(super) fn by_the_committer(command: C) -> Self {
        Self { command, decision: None, response: None, _memory: None }
    }

    /// What was decided.
    pub(super) fn into_decision(self) -> Result<C::Answer, StorageError> {
        let undecided = || StorageError::Internal { attempt: "find the answer to a command".into(), source: None };
        self.decision.unwrap_or_else(|| Err(undecided()))
    }
}

impl<C: Command> Job for Asked<C> {
    fn wants(&self, wants: &mut Wants) {
        self.command.wants(wants);
    }

    fn frees_room(&self) -> bool {
        self.command.frees_room()
    }

    fn weight(&self) -> usize {
        self.command.weight()
    }

    fn decide(&mut self, batch: &mut Batch<'_>) {
        self.decision = Some(self.command.decide(batch));
    }

    fn fail(&mut self, error: StorageError) {
        self.decision = Some(Err(error));
    }

    fn answer(mut self: Box<Self>) {
        if let Some(response) = self.response.take() {
            let _ = response.send(self.into_decision()); // who no longer waits is not told
        }
    }
}
