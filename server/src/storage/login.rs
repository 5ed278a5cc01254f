//! What a log-in is made of: the challenge that was answered, what is to become of whoever answered it, the secret that
//! challenges are made with.
//!
//! A challenge belongs to a key and a *slot*, a minute, and is one of several there: its *number*. It can be answered
//! once, until five minutes after its slot. That it was is a row of its own, stored by the log-in's commit and removed by
//! the sweep: the only thing that is stored of a challenge.

use std::{fmt, time::Duration};

use sha2::{Digest as _, Sha256};

use super::{
    Session, StorageError, Timestamp, User,
    token::{bytes_of_hex, hex},
};

/// How long a slot is.
pub const SLOT: Duration = Duration::from_secs(60);
/// In how many slots a challenge can be answered: its own, and those of the five minutes after it.
pub const ANSWERABLE_SLOTS: u64 = 6;
/// The most slots that [`newest_used_challenges`](super::SessionStore::newest_used_challenges) looks at.
pub const MAX_SLOTS: usize = 16;

/// The secret that this store's challenges are made with: 32 random bytes, drawn when the store is first opened. It is in
/// no dump, and a store made by loading or copying draws its own.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginKey([u8; 32]);

impl LoginKey {
    /// A new one, from the operating system.
    pub(super) fn draw() -> Result<Self, StorageError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| StorageError::internal("draw the login key", error))?;
        Ok(Self(bytes))
    }

    /// The one with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, as stored by the key-value backend.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its bytes in hexadecimal, as stored by SQL backends.
    pub(super) fn to_hex(&self) -> String {
        hex(&self.0)
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        bytes_of_hex(text).map(Self)
    }
}

/// Leaves the bytes out, so that no log can hold them.
impl fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginKey(secret)")
    }
}

/// Which of a key's challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Challenge {
    /// The minute it was made for, counted from 1970.
    pub slot: u64,
    /// Which one of that minute.
    pub number: u32,
}

impl Challenge {
    /// The slot that `time` is in: its minute, counted from 1970.
    pub fn slot_at(time: Timestamp) -> u64 {
        time.as_millis() / slot_millis()
    }

    /// When a slot begins; `None` past the year 9999.
    pub fn slot_begins(slot: u64) -> Option<Timestamp> {
        slot.checked_mul(slot_millis()).and_then(Timestamp::from_millis)
    }

    /// The first instant at which it can no longer be answered; `None` past the year 9999.
    pub fn expires_at(&self) -> Option<Timestamp> {
        Self::slot_begins(self.slot.checked_add(ANSWERABLE_SLOTS)?)
    }

    /// The last slot whose challenges have all expired at `now`.
    pub(super) fn last_expired_slot(now: Timestamp) -> Option<u64> {
        Self::slot_at(now).checked_sub(ANSWERABLE_SLOTS)
    }
}

fn slot_millis() -> u64 {
    SLOT.as_secs() * 1000
}

/// The key of the row that says that a challenge was answered: it sorts by slot, then by key, then by number, so that a
/// sweep begins at the first row, and the newest number of a key in a slot is one seek.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsedChallenge {
    /// The challenge's slot.
    pub slot: u64,
    /// SHA-256 of the public key.
    pub key_digest: [u8; 32],
    /// The challenge's number.
    pub number: u32,
}

impl UsedChallenge {
    /// Bytes that its parts take together.
    pub const BYTES: usize = 8 + 32 + 4;

    /// That of a public key's challenge.
    pub fn of(pubkey: &str, challenge: Challenge) -> Self {
        Self { slot: challenge.slot, key_digest: Self::digest_of(pubkey), number: challenge.number }
    }

    /// The SHA-256 of a public key.
    pub fn digest_of(pubkey: &str) -> [u8; 32] {
        Sha256::digest(pubkey.as_bytes()).into()
    }

    /// When it is of no more use.
    pub fn expires_at(&self) -> Timestamp {
        Challenge { slot: self.slot, number: self.number }.expires_at().unwrap_or(Timestamp::MAX)
    }

    /// Its parts one after the other, numbers big-endian: they sort as the parts do.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let parts = self.slot.to_be_bytes().into_iter().chain(self.key_digest).chain(self.number.to_be_bytes());
        bytes.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
        bytes
    }

    /// The one that these bytes are.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let (mut slot, mut key_digest, mut number) = ([0; 8], [0; 32], [0; 4]);
        let parts = slot.iter_mut().chain(&mut key_digest).chain(&mut number);
        parts.zip(bytes).for_each(|(part, byte)| *part = byte);
        Self { slot: u64::from_be_bytes(slot), key_digest, number: u32::from_be_bytes(number) }
    }

    /// Its bytes in hexadecimal, as stored by SQL backends.
    pub fn to_hex(&self) -> String {
        hex(&self.to_bytes())
    }

    /// What every number of a key and slot begins with: the first 80 digits.
    pub(super) fn prefix(slot: u64, key_digest: &[u8; 32]) -> String {
        format!("{slot:016x}{}", hex(key_digest))
    }

    /// The one that [`to_hex`](Self::to_hex) writes so.
    pub fn from_hex(text: &str) -> Option<Self> {
        bytes_of_hex(text).map(Self::from_bytes)
    }
}

impl fmt::Debug for UsedChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UsedChallenge({})", self.to_hex())
    }
}

/// Whom a log-in lets in, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Anybody, as a member: whoever is unknown is created, whoever is no member becomes one.
    Join,
    /// Anybody: whoever is unknown is created without being a member; whoever is known stays what they are.
    Visit,
    /// Only who is a member already.
    MembersOnly,
}

/// A log-in to be made: whoever holds `pubkey` has answered `challenge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIn {
    /// The public key.
    pub pubkey: String,
    /// The challenge that was answered.
    pub challenge: Challenge,
    /// Whom to let in.
    pub admission: Admission,
    /// Whether a program logs in; it is noted of a user who is created.
    pub is_bot: bool,
    /// How long the session is to last.
    pub duration: Duration,
}

/// Who is logged in now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// The user, as they are now.
    pub user: User,
    /// The session with its token, which is told only here.
    pub session: Session,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_challenge_expires_five_minutes_after_its_slot_and_is_swept_then() {
        let now = Timestamp::from_millis(1_704_067_200_000).unwrap();
        let challenge = Challenge { slot: Challenge::slot_at(now), number: 7 };
        let expires_at = challenge.expires_at().unwrap();
        assert_eq!(expires_at.since(now), Duration::from_secs(360));
        assert_eq!(Challenge::last_expired_slot(expires_at), Some(challenge.slot));
        let before = Timestamp::from_millis(expires_at.as_millis() - 1).unwrap();
        assert_eq!(Challenge::last_expired_slot(before), Some(challenge.slot - 1));
        assert_eq!(Challenge { slot: u64::MAX, number: 0 }.expires_at(), None);
    }

    proptest! {
        #[test]
        fn texts_of_rows_read_back_and_sort_as_their_parts(
            one in any::<(u64, [u8; 32], u32)>(), other in any::<(u64, [u8; 32], u32)>(),
        ) {
            let of = |(slot, key_digest, number)| UsedChallenge { slot, key_digest, number };
            let (one, other) = (of(one), of(other));
            prop_assert_eq!(UsedChallenge::from_hex(&one.to_hex()), Some(one));
            prop_assert_eq!(one.cmp(&other), one.to_hex().cmp(&other.to_hex()));
            prop_assert!(one.to_hex().starts_with(&UsedChallenge::prefix(one.slot, &one.key_digest)));
        }
    }
}
