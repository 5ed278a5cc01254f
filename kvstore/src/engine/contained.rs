//! Panics of redb's stay inside.
//!
//! redb does not check the pages it reads: in release builds too, a flipped bit in one can make it index out of bounds,
//! while it opens, reads, commits, and also while a database or a transaction of it *ends*. So every call goes through
//! [`guarded`], and everything whose end is more than giving back memory lies in a [`Contained`].
//!
//! One thing cannot be kept inside. Where a panic makes redb end something of its own that panics in turn, Rust ends the process
//! (seen in `extract_freed_pages` of redb 4.6, when a commit meets a damaged list of free pages). Then it is said why.

use std::{
    cell::Cell,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

use crate::error::Error;

thread_local! {
    /// Calls into redb that this thread is in; what panics within them is answered as an error.
    static CALLS: Cell<usize> = const { Cell::new(0) };
    /// Panics in the innermost of them. The second ends the process, as the first is being dealt with.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// What is said before the process ends.
const LAST_WORDS: &str = "the store's file is damaged: the engine could not make sense of a page, nor end what it had begun, \
                          so this process ends. Keep a copy of the file, see what `dcstore verify` says, and restore from a backup";

/// One more call, for as long as it lives; and how many panics there were in the one around it.
struct InCall(usize);

impl InCall {
    fn begin() -> Self {
        static QUIET: Once = Once::new();
        // The default hook would print the panic and where it came from, though the caller hears of it as an error.
        QUIET.call_once(|| {
            let hook = take_hook();
            set_hook(Box::new(move |panic| {
                if !CALLS.try_with(|calls| calls.get() > 0).unwrap_or_default() {
                    hook(panic);
                } else if PANICS.try_with(|panics| panics.replace(panics.get() + 1)).unwrap_or_default() > 0 {
                    let _ = writeln!(std::io::stderr(), "{LAST_WORDS}");
                }
            }));
        });
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
        Self(PANICS.try_with(|panics| panics.replace(0)).unwrap_or_default())
    }
}

impl Drop for InCall {
    fn drop(&mut self) {
        let _ = CALLS.try_with(|calls| calls.set(calls.get().saturating_sub(1)));
        let _ = PANICS.try_with(|panics| panics.set(self.0));
    }
}

/// Runs a call into redb, and answers [`Error::Damaged`] where it panics.
///
/// What it read from is committed and unchanged, so the store goes on; the row is lost to that call only.
pub(crate) fn guarded<T, E: Into<Error>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, Error> {
    let _in_call = InCall::begin();
    catch_unwind(AssertUnwindSafe(call)).map_or_else(
        |panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Error::Damaged(format!("the engine could not make sense of a page: {text}")))
        },
        |result| result.map_err(Into::into),
    )
}

/// Something of redb's; if its end panics, nobody hears of it.
pub(crate) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self(Some(inner))
    }

    /// What was never there, or has ended.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn get(&self) -> Result<&T, Error> {
        self.0.as_ref().ok_or(Error::Closed)
    }

    pub(crate) fn get_mut(&mut self) -> Result<&mut T, Error> {
        self.0.as_mut().ok_or(Error::Closed)
    }

    /// Ends it so that somebody does hear; `Ok` if it had ended before.
    pub(crate) fn end<E: Into<Error>>(&mut self, how: impl FnOnce(T) -> Result<(), E>) -> Result<(), Error> {
        match self.0.take() {
            Some(inner) => guarded(|| how(inner)),
            None => Ok(()),
        }
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        let _ = self.end(|inner| {
            drop(inner);
            Ok::<_, Error>(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsAtItsEnd;

    impl Drop for PanicsAtItsEnd {
        fn drop(&mut self) {
            panic!("planned");
        }
    }

    #[test]
    fn what_panics_at_its_end_is_an_error_or_nothing() {
        drop(Contained::new(PanicsAtItsEnd));
        let ended = Contained::new(PanicsAtItsEnd).end(|inner| {
            drop(inner);
            Ok::<_, Error>(())
        });
        assert!(matches!(ended, Err(Error::Damaged(text)) if text.contains("planned")));
    }
}
