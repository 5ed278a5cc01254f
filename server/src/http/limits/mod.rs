//! How often somebody may ask, and for which answers room is set aside before they are made.
//!
//! What a call costs, [`Cost::of`] says; calls that answer a list are those whose routes were made with [`list_of`]. Rates are `[limits]`; they are made anew when the configuration changes. Changes and
//! costly reads count against their user, log-ins against the address they come from: never against a key, which somebody else
//! could use up.

mod rate;

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::{MatchedPath, Request, State},
    http::{Extensions, Method, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hashlink::LruCache;
use utoipa_axum::router::{UtoipaMethodRouter, UtoipaMethodRouterExt as _};

use self::rate::Rate;
use super::{
    App,
    connections::{Address, AnswerSize, Client},
    error::ApiError,
};
use crate::{config, storage::UserId};

/// Counter of requests answered 429, by which limit.
const LIMITED: &str = "decentcom_rate_limited_total";
/// Addresses remembered that have failed to log in too often.
const BARRED: usize = 16 * 1024;
/// What asks for a challenge, and what answers one.
const CHALLENGE: &str = "/api/v1/auth/challenge";
const VERIFY: &str = "/api/v1/auth/verify";

/// What a call of somebody logged in costs.
#[derive(Debug)]
enum Cost<'a> {
    /// It changes something.
    Change,
    /// It answers a list.
    List(&'a List),
    /// Less than counting it would.
    Nothing,
}

impl<'a> Cost<'a> {
    fn of(method: &Method, extensions: &'a Extensions) -> Self {
        match extensions.get() {
            _ if !method.is_safe() => Self::Change,
            Some(list) => Self::List(list),
            None => Self::Nothing,
        }
    }
}

/// A call whose answers are pages or lists, and how long those have been.
#[derive(Clone, Debug, Default)]
struct List(Arc<AnswerSize>);

/// Routes of which GET answers a list: room is set aside for its answer.
pub(super) fn list_of(routes: UtoipaMethodRouter<App>) -> UtoipaMethodRouter<App> {
    routes.layer(Extension(List::default()))
}

/// All limits.
pub(crate) struct Limits {
    rates: RwLock<Arc<Rates>>,
}

/// The rates of one configuration.
struct Rates {
    made_of: config::Limits,
    changes: Rate<UserId>,
    reads: Rate<UserId>,
    log_ins: Rate<Address>,
    failed_log_ins: Rate<Address>,
    /// Until when addresses that failed too often are not heard.
    barred: Mutex<LruCache<Address, Instant>>,
}

impl Limits {
    pub(crate) fn new(limits: &config::Limits) -> Self {
        for limit in ["changes", "reads", "log_ins", "failed_log_ins"] {
            metrics::counter!(LIMITED, "limit" => limit).increment(0); // so that they can be seen before they count
        }
        Self { rates: RwLock::new(Arc::new(Rates::of(limits))) }
    }

    /// The rates that hold now.
    fn rates(&self, limits: &config::Limits) -> Arc<Rates> {
        let rates = self.rates.read().unwrap_or_else(PoisonError::into_inner).clone();
        if rates.made_of == *limits {
            return rates;
        }
        let mut rates = self.rates.write().unwrap_or_else(PoisonError::into_inner);
        if rates.made_of != *limits {
            *rates = Arc::new(Rates::of(limits));
        }
        rates.clone()
    }

    /// Takes note that a log-in from `address` failed. One that fails too often is not heard for a moment; nobody is locked
    /// out, whatever key was tried.
    pub(crate) fn failed_log_in(&self, address: Address) {
        let rates = self.rates.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Err(wait) = rates.failed_log_ins.check(&address) {
            rates.barred.lock().unwrap_or_else(PoisonError::into_inner).insert(address, Instant::now() + wait);
        }
    }
}

impl Rates {
    fn of(limits: &config::Limits) -> Self {
        Self {
            changes: Rate::new(limits.changes, limits.changes_burst),
            reads: Rate::new(limits.reads, limits.reads_burst),
            log_ins: Rate::new(limits.log_ins, limits.log_ins_burst),
            failed_log_ins: Rate::new(limits.failed_log_ins, limits.failed_log_ins_burst),
            barred: Mutex::new(LruCache::new(BARRED)),
            made_of: limits.clone(),
        }
    }

    fn is_heard(&self, address: Address) -> Result<(), Duration> {
        let mut barred = self.barred.lock().unwrap_or_else(PoisonError::into_inner);
        let left = barred.get(&address).and_then(|until| until.checked_duration_since(Instant::now()));
        left.filter(|left| !left.is_zero()).map_or(Ok(()), Err)
    }
}

fn within(limit: &'static str, checked: Result<(), Duration>) -> Result<(), ApiError> {
    checked.map_err(|wait| {
        metrics::counter!(LIMITED, "limit" => limit).increment(1);
        ApiError::too_many_requests(wait)
    })
}

impl App {
    /// Counts a call by `user` against its limits, and has room set aside for its answer; what it holds is the user's.
    pub(crate) async fn admit(&self, parts: &Parts, user: UserId) -> Result<(), ApiError> {
        let client = parts.extensions.get::<Client>();
        if let Some(client) = client {
            client.is(user);
        }
        match Cost::of(&parts.method, &parts.extensions) {
            Cost::Nothing => Ok(()),
            Cost::Change => {
                let rates = self.limits.rates(&self.config().limits);
                within("changes", rates.changes.check(&user))
            }
            Cost::List(list) => {
                self.may_read(user)?;
                match client {
                    Some(client) => client.reserve_answer(&list.0).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Counts a read that costs much.
    pub(crate) fn may_read(&self, user: UserId) -> Result<(), ApiError> {
        within("reads", self.limits.rates(&self.config().limits).reads.check(&user))
    }
}

/// Counts challenges and log-ins against their address, before anything is done for them.
pub(super) async fn of_log_ins(State(app): State<App>, address: Address, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if route != CHALLENGE && route != VERIFY {
        return next.run(request).await;
    }
    let rates = app.limits.rates(&app.config().limits);
    let checked = within("log_ins", rates.log_ins.check(&address)).and_then(|()| match route {
        VERIFY => within("failed_log_ins", rates.is_heard(address)),
        _ => Ok(()),
    });
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_lists_are_told_from_the_rest() {
        let (mut list, other) = (Extensions::new(), Extensions::new());
        list.insert(List::default());
        assert!(matches!(Cost::of(&Method::POST, &list), Cost::Change));
        assert!(matches!(Cost::of(&Method::GET, &list), Cost::List(_)));
        assert!(matches!(Cost::of(&Method::DELETE, &other), Cost::Change));
        assert!(matches!(Cost::of(&Method::GET, &other), Cost::Nothing));
    }

    #[test]
    fn an_address_that_fails_too_often_is_not_heard_for_a_moment_and_no_other_is_affected() {
        let limits = config::Limits { failed_log_ins: 1, failed_log_ins_burst: 2, ..Default::default() };
        let ours = Limits::new(&limits);
        let (bad, good) = (Address::NOWHERE, Address::from(std::net::IpAddr::from([192, 0, 2, 1])));
        for _ in 0..2 {
            ours.failed_log_in(bad);
        }
        assert!(ours.rates(&limits).is_heard(bad).is_ok(), "a few mistakes are nobody's fault");
        ours.failed_log_in(bad);
        let wait = ours.rates(&limits).is_heard(bad).unwrap_err();
        assert!(wait <= Duration::from_secs(1));
        assert!(ours.rates(&limits).is_heard(good).is_ok());
        let off = config::Limits { failed_log_ins: 0, ..limits };
        assert!(ours.rates(&off).is_heard(bad).is_ok(), "a changed configuration begins anew");
    }
}
