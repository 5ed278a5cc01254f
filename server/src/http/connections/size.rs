//! What room an answer takes, before it is made.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How large the answers of a call are: at once what the largest was, slowly less when they are smaller.
#[derive(Debug)]
pub(crate) struct AnswerSize(AtomicUsize);

impl Default for AnswerSize {
    fn default() -> Self {
        Self(AtomicUsize::new(Self::AT_FIRST))
    }
}

impl AnswerSize {
    const AT_FIRST: usize = 256 * 1024;

    pub(crate) fn guess(&self) -> usize {
        self.0.load(Relaxed)
    }

    pub(crate) fn was(&self, size: usize) {
        let before = self.guess();
        let after = if size > before { size } else { before - (before - size) / 8 };
        self.0.store(after, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_follows_the_largest_answer_at_once_and_smaller_ones_slowly() {
        let size = AnswerSize::default();
        size.was(2_000_000);
        assert_eq!(size.guess(), 2_000_000);
        size.was(1000);
        assert!(size.guess() > 1_700_000);
        for _ in 0..100 {
            size.was(1000);
        }
        assert!(size.guess() < 1100, "{}", size.guess());
    }
}
