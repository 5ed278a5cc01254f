//! Challenges: made with the store's login key, and derived again when they are answered, so that none is kept.
//!
//! ```text
//!  decentcom log-in to "NAME" at ADDRESS, 2026-11-26T02:39Z, challenge <base64 of HMAC-SHA-256>[|bot]
//!                                                                       over: public key ‖ slot ‖ number ‖ bot
//! ```
//!
//! The words are for whoever signs: a server that passes another one's challenge on cannot hide whose it is. One line, with
//! nothing in it that a terminal or a dialog would act on.
//!
//! `verify` does not say which challenge it answers, so those that were given out and not answered are tried, the newest slot
//! first. Which they are is remembered in a bounded *hint* per key and slot. Where it is lost, by a restart or by a flood of
//! other keys, the [`UNREMEMBERED`] numbers on either side of the newest used one are tried instead: nobody is crowded out,
//! and what a key has used is in the store. So a bad answer costs no signature check for a key that asked for nothing, at
//! most 48 for one of which nothing is remembered and that did not log in, and never more than 480.

use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hashlink::LruCache;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{
    config::Config,
    storage::{ANSWERABLE_SLOTS, Challenge, LoginKey, StorageError, Timestamp},
    terminal::{acts, is_unseen},
};

/// How far the numbers that are given out run ahead of those that were used; then they begin anew. So many log-ins of one
/// key can be under way at once.
const WINDOW: u32 = 32;
/// The numbers that are tried where it is forgotten which were given out.
const UNREMEMBERED: u32 = 4;
/// Challenges of a key and slot that are remembered as open: as many as there are numbers to give out, for people and bots.
const OPEN: usize = 2 * WINDOW as usize;
/// Hints held: about 10 MiB where each key asked once. Past it, the one that was used least recently is forgotten.
const HINTS: usize = 64 * 1024;
/// Characters of a name in a challenge; a dialog has to have room for it.
const LONGEST_NAME: usize = 100;

/// What challenges are made from, and what is remembered of those that were given out.
pub(crate) struct Challenges {
    key: LoginKey,
    hints: Mutex<Hints>,
}

struct Hints {
    given: LruCache<(PublicKeyBytes, u64), Given>,
    /// The newest slot that challenges were given out for.
    newest: u64,
    /// From this slot on, every challenge that was given out is remembered.
    complete_from: u64,
}

/// The bytes of an Ed25519 public key.
pub(super) type PublicKeyBytes = [u8; 32];

/// What was given out to a key in a slot.
#[derive(Clone, Default)]
struct Given {
    /// The number that comes next.
    next: u32,
    /// What was not answered yet, the oldest first.
    open: Vec<Candidate>,
}

/// A challenge that may have been given out, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) challenge: Challenge,
    pub(super) is_bot: bool,
}

impl Challenges {
    /// Challenges made with `key`. `nothing_before` says that nobody can have one yet.
    pub(crate) fn new(key: LoginKey, now: Timestamp, nothing_before: bool) -> Self {
        let slot = Challenge::slot_at(now);
        let complete_from = if nothing_before { 0 } else { slot + 1 };
        Self { key, hints: Mutex::new(Hints { given: LruCache::new(HINTS), newest: slot, complete_from }) }
    }

    /// The slots whose challenges can be answered now, the newest first; new ones are given out for that. A clock that steps
    /// back by less than five minutes does not take the slots with it, so what was given out stays good.
    pub(super) fn slots(&self, now: Timestamp) -> Vec<u64> {
        let slot = Challenge::slot_at(now);
        let mut hints = self.lock();
        if !(slot..slot + ANSWERABLE_SLOTS).contains(&hints.newest) {
            hints.newest = slot;
        }
        (0..ANSWERABLE_SLOTS).filter_map(|age| hints.newest.checked_sub(age)).collect()
    }

    /// Gives out a challenge of a slot: one that was not used, and not given out to anybody else who asks at the same time.
    pub(super) fn give(&self, key: PublicKeyBytes, slot: u64, newest_used: Option<u32>, is_bot: bool) -> Candidate {
        let first = first_unused(newest_used);
        let mut hints = self.lock();
        let mut given = hints.given.remove(&(key, slot)).unwrap_or_default();
        let is_within = (first..first.saturating_add(WINDOW)).contains(&given.next);
        let number = if is_within { given.next } else { first };
        given.next = number.saturating_add(1);
        let candidate = Candidate { challenge: Challenge { slot, number }, is_bot };
        given.open.retain(|open| *open != candidate);
        if given.open.len() >= OPEN {
            given.open.remove(0);
        }
        given.open.push(candidate);
        if hints.given.len() >= HINTS
            && let Some(((_, forgotten), _)) = hints.given.remove_lru()
        {
            hints.complete_from = hints.complete_from.max(forgotten.saturating_add(1));
        }
        hints.given.insert((key, slot), given);
        candidate
    }

    /// The challenges of a slot that may have been given out to a key and can be answered, the newest first.
    pub(super) fn candidates(&self, key: PublicKeyBytes, slot: u64, newest_used: Option<u32>) -> Vec<Candidate> {
        let mut hints = self.lock();
        let open = hints.given.get(&(key, slot)).map(|given| given.open.clone()).unwrap_or_default();
        let mut candidates: Vec<_> = open.into_iter().rev().collect();
        if slot < hints.complete_from {
            let first = first_unused(newest_used);
            for number in first.saturating_sub(UNREMEMBERED)..first.saturating_add(UNREMEMBERED) {
                let challenge = Challenge { slot, number };
                let either = [false, true].map(|is_bot| Candidate { challenge, is_bot });
                let unknown = either.into_iter().filter(|candidate| !candidates.contains(candidate));
                candidates.extend(unknown.collect::<Vec<_>>());
            }
        }
        candidates
    }

    /// Remembers that a challenge was answered, so that it is not tried again.
    pub(super) fn answered(&self, key: PublicKeyBytes, candidate: Candidate) {
        if let Some(given) = self.lock().given.get_mut(&(key, candidate.challenge.slot)) {
            given.open.retain(|open| *open != candidate);
        }
    }

    /// A challenge's text.
    pub(super) fn text(
        &self,
        words: &str,
        key: PublicKeyBytes,
        Candidate { challenge, is_bot }: Candidate,
    ) -> Result<String, StorageError> {
        let attempt = "make a challenge";
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes())
            .map_err(|error| StorageError::internal(attempt, error))?;
        mac.update(&key);
        mac.update(&challenge.slot.to_be_bytes());
        mac.update(&challenge.number.to_be_bytes());
        mac.update(&[is_bot.into()]);
        let code = STANDARD.encode(mac.finalize().into_bytes());
        let begins = Challenge::slot_begins(challenge.slot).unwrap_or(Timestamp::MAX).to_string();
        let minute = begins.get(..16).unwrap_or(&begins);
        let bot = if is_bot { "|bot" } else { "" };
        Ok(format!("{words}, {minute}Z, challenge {code}{bot}"))
    }

    /// A panic elsewhere leaves hints that are at worst incomplete.
    fn lock(&self) -> MutexGuard<'_, Hints> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn first_unused(newest_used: Option<u32>) -> u32 {
    newest_used.map_or(0, |number| number.saturating_add(1))
}

/// The words that a challenge begins with: what is signed, and for whom.
pub(super) fn words(config: &Config) -> String {
    let name = one_line(&config.server.name);
    match config.network.public_address.as_str() {
        "" => format!("decentcom log-in to \"{name}\""),
        address => format!("decentcom log-in to \"{name}\" at {}", one_line(address)),
    }
}

/// A text that stays within its line and its quotes, whatever the operator wrote, and hides nothing.
fn one_line(text: &str) -> String {
    let misleads = |character| character == '"' || acts(character) || is_unseen(character);
    text.chars().map(|character| if misleads(character) { ' ' } else { character }).take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PublicKeyBytes = [7; 32];

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_704_067_200_000 + seconds * 1000).unwrap()
    }

    fn challenges(nothing_before: bool) -> Challenges {
        Challenges::new(LoginKey::from_bytes([1; 32]), at(0), nothing_before)
    }

    fn numbers(candidates: &[Candidate]) -> Vec<u32> {
        candidates.iter().map(|candidate| candidate.challenge.number).collect()
    }

    #[test]
    fn those_who_ask_at_once_get_different_challenges_and_each_can_be_answered() {
        let challenges = challenges(true);
        let slot = challenges.slots(at(1))[0];
        let given: Vec<_> = (0..20).map(|_| challenges.give(KEY, slot, None, false)).collect();
        assert_eq!(numbers(&given), (0..20).collect::<Vec<_>>());
        // The last is answered first; the others are still tried.
        challenges.answered(KEY, given[19]);
        let mut tried = numbers(&challenges.candidates(KEY, slot, Some(19)));
        tried.sort_unstable();
        assert_eq!(tried, (0..19).collect::<Vec<_>>());
        assert_eq!(challenges.give(KEY, slot, Some(19), false).challenge.number, 20);
    }

    #[test]
    fn a_bad_answer_costs_what_was_given_out_and_never_more_than_is_said() {
        let one = challenges(true);
        let slots = one.slots(at(1));
        let cost = |challenges: &Challenges, used| {
            slots.iter().map(|slot| challenges.candidates(KEY, *slot, used).len()).sum::<usize>()
        };
        assert_eq!(cost(&one, None), 0, "nobody asked for anything");
        one.give(KEY, slots[0], None, false);
        assert_eq!(cost(&one, None), 1);
        let restarted = challenges(false);
        assert_eq!(cost(&restarted, None), 48);
        assert_eq!(cost(&restarted, Some(500)), 96);
        for (used, is_bot) in [(0..500, false), (500..1000, true)] {
            for used in used {
                slots.iter().for_each(|slot| {
                    restarted.give(KEY, *slot, Some(used), is_bot);
                });
            }
        }
        assert!((192..=480).contains(&cost(&restarted, Some(500))), "{}", cost(&restarted, Some(500)));
        for _ in 0..1000 {
            one.give(KEY, slots[0], None, false);
        }
        assert_eq!(cost(&one, None), 32, "numbers begin anew");
    }

    #[test]
    fn after_a_restart_or_a_flood_of_other_keys_what_was_given_out_can_still_be_answered() {
        let one = challenges(true);
        let slot = one.slots(at(1))[0];
        let given = one.give(KEY, slot, Some(4), true);
        for other in 0..HINTS as u64 + 1 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&other.to_be_bytes());
            one.give(key, slot, None, false);
        }
        assert_eq!(one.lock().given.len(), HINTS, "memory is bounded");
        assert!(!one.lock().given.contains_key(&(KEY, slot)));
        for challenges in [one, challenges(false)] {
            assert!(challenges.candidates(KEY, slot, Some(4)).contains(&given));
            // What is given out next is one that was not used.
            assert_eq!(challenges.give(KEY, slot, Some(5), false).challenge.number, 6);
        }
    }

    #[test]
    fn a_clock_that_steps_back_a_little_takes_no_challenge_away() {
        let challenges = challenges(true);
        let later = challenges.slots(at(240));
        challenges.give(KEY, later[0], None, false);
        for seconds in [239, 180, 60, 0] {
            assert_eq!(challenges.slots(at(seconds)), later, "{seconds}");
        }
        // A larger step is taken: what is given out from now on can be answered.
        let early = Timestamp::from_millis(at(0).as_millis() - 3_600_000).unwrap();
        let slots = challenges.slots(early);
        assert_eq!(slots[0], Challenge::slot_at(early));
        assert_eq!(challenges.slots(at(600))[0], Challenge::slot_at(at(600)));
    }

    #[test]
    fn a_challenge_is_one_line_that_names_server_address_and_minute() {
        let mut config = Config::default();
        config.server.name = "Ada's \"place\"\n\u{202e}evil\u{1b}[2\u{200b}J".into();
        config.network.public_address = "chat.example".into();
        let challenge = Challenge { slot: Challenge::slot_at(at(119)), number: 3 };
        let text = |challenges: &Challenges, config: &Config, is_bot| {
            challenges.text(&words(config), KEY, Candidate { challenge, is_bot }).unwrap()
        };
        let one = challenges(true);
        let (person, bot) = (text(&one, &config, false), text(&one, &config, true));
        let begins = "decentcom log-in to \"Ada's  place   evil [2 J\" at chat.example, 2024-01-01T00:01Z, challenge ";
        let code = person.strip_prefix(begins).unwrap_or_else(|| panic!("{person}"));
        assert_eq!(STANDARD.decode(code).unwrap().len(), 32);
        assert!(bot.starts_with(begins) && bot.ends_with("=|bot") && !bot.contains(code));
        config.network.public_address.clear();
        assert!(text(&one, &config, false).starts_with("decentcom log-in to \"Ada's  place   evil [2 J\", 2024"));
        let other = Challenges::new(LoginKey::from_bytes([2; 32]), at(0), true);
        assert!(!text(&other, &config, false).contains(code), "another store's key makes other challenges");
    }
}
