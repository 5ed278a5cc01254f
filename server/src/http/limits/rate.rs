//! One rate, kept for each of many: governor's GCRA over a memory of bounded size.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    nanos::Nanos,
    state::StateStore,
};
use hashlink::LruCache;

/// Keys remembered, some megabytes. Past it the one that asked longest ago is forgotten, which costs its burst and no more.
const KEYS: usize = 16 * 1024;

/// A rate with its burst, for each key on its own.
pub(super) struct Rate<K: Hash + Eq + Clone>(Option<RateLimiter<K, Newest<K>, DefaultClock>>);

impl<K: Hash + Eq + Clone> Rate<K> {
    /// `rate` a second after `burst` at once; a rate of 0 is no limit.
    pub(super) fn new(rate: u32, burst: u32) -> Self {
        let quota = NonZeroU32::new(rate).zip(NonZeroU32::new(burst));
        let quota = quota.map(|(rate, burst)| Quota::per_second(rate).allow_burst(burst));
        Self(quota.map(|quota| RateLimiter::new(quota, Newest::default(), DefaultClock::default())))
    }

    /// Counts one more; when that is too many, how long until it would not be.
    pub(super) fn check(&self, key: &K) -> Result<(), Duration> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_key(key).map_err(|until| until.wait_time_from(limiter.clock().now()))
    }
}

/// The state of the keys that asked last.
struct Newest<K: Hash + Eq>(Mutex<LruCache<K, Nanos>>);

impl<K: Hash + Eq> Default for Newest<K> {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEYS)))
    }
}

impl<K: Hash + Eq + Clone> StateStore for Newest<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, state) = measure(newest.get(key).copied())?;
        newest.insert(key.clone(), state);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_burst_and_then_its_rate() {
        let rate = Rate::new(1, 3);
        for _ in 0..3 {
            rate.check(&"a").unwrap();
        }
        let wait = rate.check(&"a").unwrap_err();
        assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
        rate.check(&"b").unwrap();
    }

    #[test]
    fn a_rate_of_nothing_is_no_limit() {
        let rate = Rate::new(0, 1);
        assert!((0..100).all(|_| rate.check(&"a").is_ok()));
    }

    #[test]
    fn however_many_ask_the_memory_is_bounded_and_who_asks_often_is_not_forgotten() {
        let rate = Rate::new(1, 2);
        rate.check(&0).unwrap();
        rate.check(&0).unwrap();
        for key in 1..3 * KEYS {
            rate.check(&key).unwrap();
            if key % 1000 == 0 {
                let _ = rate.check(&0);
            }
        }
        let limiter = rate.0.as_ref().unwrap();
        let kept = limiter.check_key(&0).is_err();
        assert!(kept, "an attacker with many addresses gives nobody else a new burst");
        assert!(rate.0.unwrap().into_state_store().0.into_inner().unwrap().len() <= KEYS);
    }
}
