//! Challenges that wait to be signed, in memory and bounded.
//!
//! Several may be open per key, so that a stranger who asks for one in somebody's name takes nothing away. Keys of
//! existing users and unknown keys are kept apart: however many unknown keys ask, only unknown ones are forgotten.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::storage::Timestamp;

/// How long a challenge can be answered.
const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Challenges open per key; past it the newest is given again.
const OPEN_PER_KEY: usize = 4;
/// Unknown keys remembered at once, some megabytes; past it the one that asked first is forgotten.
const UNKNOWN_KEYS: usize = 16 * 1024;

/// All open challenges.
#[derive(Default)]
pub(crate) struct Challenges {
    /// Keys of existing users; as many as there are users, at most.
    known: Mutex<Pool>,
    unknown: Mutex<Pool>,
}

#[derive(Default)]
struct Pool {
    by_key: HashMap<String, Vec<Challenge>>,
    /// Keys in the order of their challenges' expiry.
    expiries: VecDeque<(Timestamp, String)>,
}

struct Challenge {
    text: String,
    expires_at: Timestamp,
}

impl Challenges {
    /// Opens a challenge with the text that `draw` makes, or gives one that is open already.
    pub(crate) fn open<E>(
        &self,
        pubkey: &str,
        is_known: bool,
        now: Timestamp,
        draw: impl FnOnce() -> Result<String, E>,
    ) -> Result<String, E> {
        let mut pool = lock(if is_known { &self.known } else { &self.unknown });
        pool.forget_expired(now);
        if !is_known && !pool.by_key.contains_key(pubkey) {
            while pool.by_key.len() >= UNKNOWN_KEYS {
                pool.forget_oldest();
            }
        }
        if let Some(open) = pool.by_key.get(pubkey).filter(|open| open.len() >= OPEN_PER_KEY)
            && let Some(newest) = open.last()
        {
            return Ok(newest.text.clone());
        }
        let text = draw()?;
        let expires_at = now.checked_add(LIFETIME).unwrap_or(Timestamp::MAX);
        pool.by_key.entry(pubkey.to_owned()).or_default().push(Challenge { text: text.clone(), expires_at });
        pool.expiries.push_back((expires_at, pubkey.to_owned()));
        Ok(text)
    }

    /// The challenges that this key may answer now.
    pub(crate) fn of(&self, pubkey: &str, now: Timestamp) -> Vec<String> {
        let mut texts = Vec::new();
        for pool in [&self.known, &self.unknown] {
            let open = lock(pool);
            let live = open.by_key.get(pubkey).into_iter().flatten().filter(|challenge| challenge.expires_at > now);
            texts.extend(live.map(|challenge| challenge.text.clone()));
        }
        texts
    }

    /// Uses a challenge up; `false` if somebody else just did.
    pub(crate) fn consume(&self, pubkey: &str, text: &str) -> bool {
        [&self.known, &self.unknown].into_iter().any(|pool| lock(pool).consume(pubkey, text))
    }
}

impl Pool {
    fn forget_expired(&mut self, now: Timestamp) {
        while self.expiries.front().is_some_and(|(expires_at, _)| *expires_at <= now) {
            if let Some((_, pubkey)) = self.expiries.pop_front()
                && let Some(open) = self.by_key.get_mut(&pubkey)
            {
                open.retain(|challenge| challenge.expires_at > now);
                if open.is_empty() {
                    self.by_key.remove(&pubkey);
                }
            }
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, pubkey)) = self.expiries.pop_front() {
            self.by_key.remove(&pubkey);
        } else {
            self.by_key.clear();
        }
    }

    fn consume(&mut self, pubkey: &str, text: &str) -> bool {
        let Some(open) = self.by_key.get_mut(pubkey) else { return false };
        let Some(index) = open.iter().position(|challenge| challenge.text == text) else { return false };
        let used = open.remove(index);
        if open.is_empty() {
            self.by_key.remove(pubkey);
        }
        // So that log-ins leave nothing behind: the entry is near the back, where the newest are.
        let entry = self.expiries.iter().rposition(|(expires_at, key)| *expires_at == used.expires_at && key == pubkey);
        if let Some(entry) = entry {
            self.expiries.remove(entry);
        }
        true
    }
}

/// A panic elsewhere leaves a pool that is at worst incomplete.
fn lock(pool: &Mutex<Pool>) -> MutexGuard<'_, Pool> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000).unwrap()
    }

    fn open(challenges: &Challenges, pubkey: &str, is_known: bool, now: u64, text: &str) -> String {
        challenges.open(pubkey, is_known, at(now), || Ok::<_, ()>(text.to_owned())).unwrap()
    }

    #[test]
    fn a_challenge_is_used_once_and_for_five_minutes() {
        let challenges = Challenges::default();
        open(&challenges, "key", true, 0, "a");
        assert_eq!(challenges.of("key", at(299)), ["a"]);
        assert!(challenges.of("key", at(300)).is_empty());
        assert!(challenges.consume("key", "a"));
        assert!(!challenges.consume("key", "a"));
        assert!(challenges.of("key", at(1)).is_empty());
        assert!(lock(&challenges.known).expiries.is_empty());
    }

    #[test]
    fn a_stranger_asking_for_a_key_takes_no_open_challenge_away() {
        let challenges = Challenges::default();
        open(&challenges, "key", true, 0, "mine");
        for attempt in 0..100 {
            open(&challenges, "key", true, 1, &format!("stranger {attempt}"));
        }
        let of_key = challenges.of("key", at(2));
        assert_eq!(of_key.len(), OPEN_PER_KEY);
        assert_eq!(of_key[0], "mine");
        assert_eq!(open(&challenges, "key", true, 3, "unused"), *of_key.last().unwrap());
    }

    #[test]
    fn a_flood_of_unknown_keys_is_bounded_and_crowds_out_no_known_one() {
        let challenges = Challenges::default();
        open(&challenges, "known", true, 0, "a");
        for key in 0..3 * UNKNOWN_KEYS {
            open(&challenges, &format!("unknown {key}"), false, 1, "b");
        }
        assert_eq!(challenges.of("known", at(2)), ["a"]);
        assert_eq!(lock(&challenges.unknown).by_key.len(), UNKNOWN_KEYS);
        assert_eq!(lock(&challenges.unknown).expiries.len(), UNKNOWN_KEYS);
        assert_eq!(challenges.of(&format!("unknown {}", 3 * UNKNOWN_KEYS - 1), at(2)), ["b"]);
    }

    #[test]
    fn expired_challenges_leave_no_memory_behind() {
        let challenges = Challenges::default();
        for key in 0..100 {
            open(&challenges, &format!("key {key}"), true, 0, "a");
        }
        open(&challenges, "last", true, 300, "b");
        let pool = lock(&challenges.known);
        assert_eq!((pool.by_key.len(), pool.expiries.len()), (1, 1));
    }
}
