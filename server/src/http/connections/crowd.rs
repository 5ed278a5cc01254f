//! All open connections: what each is doing, and which of them gives way when others need its slot or its memory.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::Address;

/// How long a client may take nothing before it can be cut off in favour of those who wait.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes a second with which a client keeps its slot while others wait: a slow telephone's.
const SLOWEST: u64 = 16 * 1024;
/// How long a connection must have been without a request to give its slot to another.
const AT_REST: Duration = Duration::from_secs(1);

/// Gauge of open connections.
const OPEN: &str = "decentcom_connections";

/// Connections, by number.
#[derive(Default)]
pub(super) struct Crowd {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    /// Connections from each address, except for proxies.
    shares: Mutex<HashMap<Address, usize>>,
}

/// What is known of one connection.
pub(crate) struct Connection {
    number: u64,
    pub(super) peer: IpAddr,
    state: Mutex<State>,
    /// Bytes of the budget that it holds.
    held: AtomicUsize,
    is_cut: AtomicBool,
    cut: Notify,
    has_left: AtomicBool,
}

struct State {
    phase: Phase,
    /// Since when it is in its phase; while it waits, since it last sent anything.
    since: Instant,
    /// Bytes of the head that is coming in.
    head: usize,
    /// When a client that has to take or send something counts as stalled.
    stalls_at: Option<Instant>,
}

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No request is under way: it says nothing, or half a head.
    Waiting,
    /// A request is being read or answered.
    Serving,
    /// It is a WebSocket.
    Upgraded,
}

impl Connection {
    pub(super) fn new(number: u64, peer: IpAddr) -> Self {
        let state = State { phase: Phase::Waiting, since: Instant::now(), head: 0, stalls_at: None };
        Self {
            number,
            peer,
            state: Mutex::new(state),
            held: AtomicUsize::new(0),
            is_cut: AtomicBool::new(false),
            cut: Notify::new(),
            has_left: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A request is under way until what is answered is dropped.
    pub(super) fn serve(self: &Arc<Self>) -> Arc<Serving> {
        let mut state = self.state();
        (state.phase, state.since, state.head, state.stalls_at) = (Phase::Serving, Instant::now(), 0, None);
        Arc::new(Serving(self.clone()))
    }

    pub(super) fn upgrade(&self) {
        self.state().phase = Phase::Upgraded;
    }

    /// Whether no request is under way.
    pub(super) fn is_waiting(&self) -> bool {
        self.state().phase == Phase::Waiting
    }

    /// The client sent bytes. Answers how many the head has that is coming in, if one is.
    pub(super) fn has_sent(&self, bytes: usize) -> Option<usize> {
        let mut state = self.state();
        state.advance(bytes);
        if state.phase != Phase::Waiting {
            return None;
        }
        state.since = Instant::now();
        state.head = state.head.saturating_add(bytes);
        Some(state.head)
    }

    /// The client's side took bytes.
    pub(super) fn has_taken(&self, bytes: usize) {
        self.state().advance(bytes);
    }

    /// From now on it is the client's turn: to take an answer, or to send the rest of a body.
    pub(crate) fn is_due(&self) {
        self.state().stalls_at = Some(Instant::now() + PATIENCE);
    }

    /// It is the server's turn again.
    pub(crate) fn is_done(&self) {
        self.state().stalls_at = None;
    }

    pub(super) fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Relaxed);
    }

    pub(super) fn let_go(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
    }

    /// The client closed its side, or the connection broke.
    pub(super) fn leaves(&self) {
        self.has_left.store(true, Relaxed);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.has_left.load(Relaxed)
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.state().phase == Phase::Upgraded
    }

    /// Ends the connection now, whatever it is doing.
    pub(super) fn cut_off(&self) {
        self.is_cut.store(true, Relaxed);
        self.cut.notify_waiters();
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.is_cut.load(Relaxed)
    }

    /// Resolves when the connection is to end.
    pub(crate) async fn is_to_end(&self) {
        let told = self.cut.notified();
        if !self.is_cut_off() {
            told.await;
        }
    }
}

impl State {
    fn advance(&mut self, bytes: usize) {
        if let Some(stalls_at) = &mut self.stalls_at {
            let now = Instant::now();
            let earned = Duration::from_millis(bytes as u64 * 1000 / SLOWEST);
            *stalls_at = (*stalls_at).max(now).checked_add(earned).unwrap_or(now).min(now + 2 * PATIENCE);
        }
    }
}

/// A request under way.
pub(super) struct Serving(Arc<Connection>);

impl Drop for Serving {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.stalls_at = None;
        if state.phase == Phase::Serving {
            (state.phase, state.since, state.head) = (Phase::Waiting, Instant::now(), 0);
        }
    }
}

/// One of the connections that an address may have, given back when dropped.
pub(super) struct Share {
    crowd: Arc<Crowd>,
    /// `None` where the address is not counted.
    of: Option<Address>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(address) = self.of else { return };
        let mut shares = lock(&self.crowd.shares);
        if let Some(taken) = shares.get_mut(&address) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                shares.remove(&address);
            }
        }
    }
}

/// Keeps a connection in the crowd, and its address's share taken.
pub(super) struct Member {
    number: u64,
    share: Share,
}

impl Drop for Member {
    fn drop(&mut self) {
        lock(&self.share.crowd.open).remove(&self.number);
        metrics::gauge!(OPEN).decrement(1);
    }
}

impl Crowd {
    /// A share for a connection; `None` when its address has `most` already. Without `most` the address is not counted.
    pub(super) fn share(self: &Arc<Self>, peer: IpAddr, most: Option<usize>) -> Option<Share> {
        let of = most.map(|_| Address::from(peer));
        if let (Some(address), Some(most)) = (of, most) {
            let mut shares = lock(&self.shares);
            let taken = shares.entry(address).or_default();
            if *taken >= most {
                return None;
            }
            *taken += 1;
        }
        Some(Share { crowd: self.clone(), of })
    }

    /// Takes a connection in.
    pub(super) fn admit(&self, peer: IpAddr, share: Share) -> (Arc<Connection>, Member) {
        let number = self.next.fetch_add(1, Relaxed);
        let connection = Arc::new(Connection::new(number, peer));
        lock(&self.open).insert(number, connection.clone());
        metrics::gauge!(OPEN).increment(1);
        (connection, Member { number, share })
    }

    /// Ends the connection that has been at rest longest, if one has been for some time.
    pub(super) fn make_room(&self) -> bool {
        let open: Vec<_> = lock(&self.open).values().cloned().collect();
        let resting = open.into_iter().filter_map(|connection| {
            let state = connection.state();
            let rests = state.phase == Phase::Waiting && state.since.elapsed() >= AT_REST && !connection.is_cut_off();
            let since = state.since;
            drop(state);
            rests.then_some((since, connection))
        });
        let longest = resting.min_by_key(|(since, _)| *since);
        longest.is_some_and(|(_, connection)| {
            connection.cut_off();
            true
        })
    }

    /// Connections that hold memory and have taken or sent too little, those stalled longest first.
    pub(super) fn stalled(&self) -> Vec<(Arc<Connection>, usize)> {
        let now = Instant::now();
        let open: Vec<_> = lock(&self.open).values().cloned().collect();
        let mut stalled: Vec<_> = open
            .into_iter()
            .filter_map(|connection| {
                let held = connection.held.load(Relaxed);
                let stalls_at = connection.state().stalls_at?;
                (held > 0 && stalls_at <= now && !connection.is_cut_off()).then_some((stalls_at, connection, held))
            })
            .collect();
        stalled.sort_by_key(|(stalls_at, connection, _)| (*stalls_at, connection.number));
        stalled.into_iter().map(|(_, connection, held)| (connection, held)).collect()
    }
}

/// What these locks guard is whole between any two lines.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
