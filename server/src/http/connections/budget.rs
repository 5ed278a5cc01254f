//! One budget for bytes in flight: answers that clients have not taken yet, requests half read. What a connection costs
//! anyway (its buffers, an answer or a head of up to [`FREE`] bytes) is bounded by how many there may be; all else is charged
//! here, before the memory is taken where its size can be known or guessed.
//!
//! When the budget is used up, whoever needs some waits, and connections that have stalled are cut off in favour of those who
//! wait. A quarter is the most that one user (or one address, before a log-in) can hold, and whoever holds least is served
//! first: a crowd that doesn't read waits for itself. Who has waited for long is refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    Address,
    crowd::{Connection, Crowd, lock},
};
use crate::storage::UserId;

/// Bytes of an answer, a head or a body that are not charged.
pub(crate) const FREE: usize = 8 * 1024;
/// How long somebody waits for room before being refused.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often those who wait look for connections that have stalled.
const LOOK_AROUND: Duration = Duration::from_millis(250);
/// When the oldest has waited for this long the newest is served first: of those who waited longest, most have given up, and
/// serving them first would have everybody wait until the end of their patience.
const HURRY: Duration = Duration::from_secs(1);

/// Gauge of bytes charged.
const IN_FLIGHT: &str = "decentcom_in_flight_bytes";
/// Counter of connections cut off because they stalled while others waited.
const STALLED: &str = "decentcom_connections_stalled_total";
/// Counter of requests refused because no room came free.
const REFUSED: &str = "decentcom_in_flight_refused_total";

/// Who holds bytes of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// Somebody logged in.
    User(UserId),
    /// Anybody else.
    Address(Address),
}

/// The budget, shared by all connections of a listener.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Shared>);

struct Shared {
    capacity: usize,
    ledger: Mutex<Ledger>,
    crowd: Arc<Crowd>,
}

#[derive(Default)]
struct Ledger {
    used: usize,
    of: HashMap<Holder, usize>,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
    next: u64,
    looked_around: Option<Instant>,
}

struct Waiting {
    number: u64,
    since: Instant,
    holder: Holder,
    bytes: usize,
    connection: Arc<Connection>,
    granted: oneshot::Sender<Charge>,
}

/// Bytes of the budget, given back when dropped.
pub(crate) struct Charge {
    budget: Budget,
    connection: Arc<Connection>,
    holder: Holder,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.change(&self.connection, self.holder, self.bytes, 0);
    }
}

impl Charge {
    /// Changes what is held to what it turned out to be. `false` when far more is in flight now than the budget allows.
    pub(crate) fn becomes(&mut self, bytes: usize) -> bool {
        let is_within = self.budget.change(&self.connection, self.holder, self.bytes, bytes);
        self.bytes = bytes;
        is_within
    }
}

impl Ledger {
    fn fits(&self, capacity: usize, holder: Holder, bytes: usize) -> bool {
        self.used == 0
            || (self.used.saturating_add(bytes) <= capacity && !self.is_beyond_share(capacity, holder, bytes))
    }

    fn is_beyond_share(&self, capacity: usize, holder: Holder, bytes: usize) -> bool {
        self.of.get(&holder).is_some_and(|held| held.saturating_add(bytes) > capacity / 4)
    }

    fn add(&mut self, holder: Holder, bytes: usize) {
        self.used += bytes;
        *self.of.entry(holder).or_default() += bytes;
    }

    fn remove(&mut self, holder: Holder, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
        if let Some(held) = self.of.get_mut(&holder) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                self.of.remove(&holder);
            }
        }
    }

    /// Who is served next: whoever holds least, of these the oldest, or the newest when they wait too long.
    fn next_to_serve(&self, capacity: usize) -> Option<usize> {
        let hurries = self.waiting.first().is_some_and(|oldest| oldest.since.elapsed() > HURRY);
        let waiting = self.waiting.iter().enumerate();
        let fitting = waiting.filter(|(_, it)| self.fits(capacity, it.holder, it.bytes) && !it.granted.is_closed());
        let held = |it: &Waiting| self.of.get(&it.holder).copied().unwrap_or(0);
        let turn = |number: u64| if hurries { u64::MAX - number } else { number };
        fitting.min_by_key(|(_, it)| (held(it), turn(it.number))).map(|(index, _)| index)
    }
}

impl Budget {
    pub(super) fn new(capacity: usize, crowd: Arc<Crowd>) -> Self {
        for counter in [STALLED, REFUSED] {
            metrics::counter!(counter).increment(0); // so that they can be seen before they count
        }
        Self(Arc::new(Shared { capacity, ledger: Mutex::default(), crowd }))
    }

    /// Charges `bytes`, as soon as there is room; `None` when none came free for long.
    pub(crate) async fn reserve(&self, connection: &Arc<Connection>, holder: Holder, bytes: usize) -> Option<Charge> {
        let (mut granted, _waiting) = match self.join(connection, holder, bytes) {
            Ok(charge) => return Some(charge),
            Err(queued) => queued,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.cut_off_the_stalled();
            let next = deadline.min(Instant::now() + LOOK_AROUND);
            match tokio::time::timeout_at(next.into(), &mut granted).await {
                Ok(charge) => return charge.ok(),
                Err(_) if Instant::now() < deadline => {}
                Err(_) => {
                    metrics::counter!(REFUSED).increment(1);
                    return None;
                }
            }
        }
    }

    /// Charges `bytes` at once or not at all.
    pub(crate) fn try_reserve(&self, connection: &Arc<Connection>, holder: Holder, bytes: usize) -> Option<Charge> {
        let mut ledger = lock(&self.0.ledger);
        let fits = ledger.waiting.is_empty() && ledger.fits(self.0.capacity, holder, bytes);
        fits.then(|| self.charge(&mut ledger, connection, holder, bytes))
    }

    /// Charges `bytes` that are in memory already.
    pub(crate) fn own_up_to(&self, connection: &Arc<Connection>, holder: Holder, bytes: usize) -> (Charge, bool) {
        let mut charge = self.charge(&mut lock(&self.0.ledger), connection, holder, 0);
        let is_within = charge.becomes(bytes);
        (charge, is_within)
    }

    fn charge(&self, ledger: &mut Ledger, connection: &Arc<Connection>, holder: Holder, bytes: usize) -> Charge {
        ledger.add(holder, bytes);
        connection.hold(bytes);
        metrics::gauge!(IN_FLIGHT).increment(bytes as f64);
        Charge { budget: self.clone(), connection: connection.clone(), holder, bytes }
    }

    /// A charge, or a place among those who wait.
    fn join(
        &self,
        connection: &Arc<Connection>,
        holder: Holder,
        bytes: usize,
    ) -> Result<Charge, (oneshot::Receiver<Charge>, InLine<'_>)> {
        let mut ledger = lock(&self.0.ledger);
        // Nobody is overtaken, except by those for whom there is room where the others have used up their own.
        let is_first = ledger.next_to_serve(self.0.capacity).is_none();
        if is_first && ledger.fits(self.0.capacity, holder, bytes) {
            return Ok(self.charge(&mut ledger, connection, holder, bytes));
        }
        let (granted, receiver) = oneshot::channel();
        let number = ledger.next;
        ledger.next += 1;
        let (since, connection) = (Instant::now(), connection.clone());
        ledger.waiting.push(Waiting { number, since, holder, bytes, connection, granted });
        Err((receiver, InLine { budget: self, number }))
    }

    /// Changes one holder's bytes, then serves those who wait. Answers whether no more than twice the budget is in flight.
    fn change(&self, connection: &Connection, holder: Holder, from: usize, to: usize) -> bool {
        let mut granted = Vec::new();
        let mut ledger = lock(&self.0.ledger);
        ledger.remove(holder, from);
        connection.let_go(from);
        if to > 0 {
            ledger.add(holder, to);
            connection.hold(to);
        }
        metrics::gauge!(IN_FLIGHT).increment(to as f64 - from as f64);
        let is_within = ledger.used <= 2 * self.0.capacity;
        if to < from {
            while let Some(next) = ledger.next_to_serve(self.0.capacity) {
                let waiting = ledger.waiting.remove(next);
                let charge = self.charge(&mut ledger, &waiting.connection, waiting.holder, waiting.bytes);
                granted.push((waiting.granted, charge));
            }
        }
        drop(ledger);
        for (waiting, charge) in granted {
            drop(waiting.send(charge)); // whoever gave up meanwhile gives it back here, outside the lock
        }
        is_within
    }

    /// Cuts off as many stalled connections as those who wait need, the longest stalled first.
    fn cut_off_the_stalled(&self) {
        let mut ledger = lock(&self.0.ledger);
        if ledger.looked_around.is_some_and(|last| last.elapsed() < LOOK_AROUND / 2) {
            return;
        }
        ledger.looked_around = Some(Instant::now());
        let needed = ledger.waiting.iter().map(|it| it.bytes).fold(0, usize::saturating_add);
        drop(ledger);
        let mut freed = 0_usize;
        for (connection, held) in self.0.crowd.stalled() {
            if freed >= needed {
                return;
            }
            connection.cut_off();
            metrics::counter!(STALLED).increment(1);
            freed = freed.saturating_add(held);
        }
    }
}

/// A place among those who wait, given up when dropped.
struct InLine<'a> {
    budget: &'a Budget,
    number: u64,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        lock(&self.budget.0.ledger).waiting.retain(|it| it.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::http::connections::crowd::Member;

    const CAPACITY: usize = 1000;

    fn somebody(number: u8) -> Holder {
        Holder::Address(Address::from(IpAddr::from([10, 0, 0, number])))
    }

    fn budget() -> (Arc<Crowd>, Budget) {
        let crowd = Arc::new(Crowd::default());
        (crowd.clone(), Budget::new(CAPACITY, crowd))
    }

    fn somewhere(crowd: &Arc<Crowd>) -> (Arc<Connection>, Member) {
        let peer = Ipv4Addr::LOCALHOST.into();
        crowd.admit(peer, crowd.share(peer, None).unwrap())
    }

    fn used(budget: &Budget) -> usize {
        lock(&budget.0.ledger).used
    }

    #[tokio::test]
    async fn a_quarter_is_the_most_that_one_holder_gets() {
        let (crowd, budget) = budget();
        let (connection, _member) = somewhere(&crowd);
        let _first = budget.reserve(&connection, somebody(1), 200).await.unwrap();
        assert!(budget.try_reserve(&connection, somebody(1), 51).is_none());
        assert!(budget.try_reserve(&connection, somebody(1), 50).is_some());
        assert!(budget.try_reserve(&connection, somebody(2), 251).is_some(), "the first of a holder may be larger");
    }

    #[tokio::test]
    async fn what_is_dropped_is_given_to_those_who_wait_and_who_gives_up_leaves_nothing_behind() {
        let (crowd, budget) = budget();
        let (connection, _member) = somewhere(&crowd);
        let all = budget.reserve(&connection, somebody(1), CAPACITY).await.unwrap();
        let waiting = |holder, bytes| {
            let (budget, connection) = (budget.clone(), connection.clone());
            tokio::spawn(async move { budget.reserve(&connection, holder, bytes).await })
        };
        let (given_up, patient) = (waiting(somebody(2), 600), waiting(somebody(3), 600));
        while lock(&budget.0.ledger).waiting.len() < 2 {
            tokio::task::yield_now().await;
        }
        given_up.abort();
        drop(given_up.await);
        drop(all);
        let charge = patient.await.unwrap().unwrap();
        assert_eq!(used(&budget), 600);
        drop(charge);
        assert_eq!(used(&budget), 0);
        assert!(lock(&budget.0.ledger).of.is_empty());
    }

    #[tokio::test]
    async fn whoever_holds_least_is_served_first() {
        let (crowd, budget) = budget();
        let (connection, _member) = somewhere(&crowd);
        let _hers = budget.reserve(&connection, somebody(1), 200).await.unwrap();
        let others = budget.reserve(&connection, somebody(2), 800).await.unwrap();
        let waiting = |holder| {
            let (budget, connection) = (budget.clone(), connection.clone());
            tokio::spawn(async move { budget.reserve(&connection, holder, 50).await })
        };
        let first = waiting(somebody(1));
        while lock(&budget.0.ledger).waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        let second = waiting(somebody(3));
        while lock(&budget.0.ledger).waiting.len() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(lock(&budget.0.ledger).next_to_serve(2 * CAPACITY), Some(1));
        drop(others);
        assert!(second.await.unwrap().is_some() && first.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_stalled_connection_is_cut_off_only_when_somebody_waits() {
        let (crowd, budget) = budget();
        let (stalled, _member) = somewhere(&crowd);
        let (busy, _other_member) = somewhere(&crowd);
        let (empty, _third_member) = somewhere(&crowd);
        for connection in [&busy, &empty] {
            connection.is_due();
        }
        drop(budget.reserve(&empty, somebody(3), 100).await.unwrap()); // it holds nothing any more
        let all = budget.reserve(&stalled, somebody(1), 600).await.unwrap();
        let _more = budget.reserve(&busy, somebody(2), 400).await.unwrap();
        stalled.is_due();
        busy.is_done(); // its body has come, and is being answered
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert!(!stalled.is_cut_off());
        let holding = {
            let stalled = stalled.clone();
            tokio::spawn(async move {
                stalled.is_to_end().await;
                drop(all);
            })
        };
        let began = Instant::now();
        assert!(budget.reserve(&busy, somebody(3), 100).await.is_some());
        assert!(began.elapsed() < PATIENCE / 2);
        assert!(!busy.is_cut_off() && !empty.is_cut_off());
        holding.await.unwrap();
    }

    #[tokio::test]
    async fn far_beyond_the_budget_is_noticed() {
        let (crowd, budget) = budget();
        let (connection, _member) = somewhere(&crowd);
        let (_first, is_within) = budget.own_up_to(&connection, somebody(1), 2 * CAPACITY);
        assert!(is_within);
        let (_second, is_within) = budget.own_up_to(&connection, somebody(2), 1);
        assert!(!is_within);
    }
}
