//! Connections: how many there may be, how slow they may be, what memory they may take, and their end when the server stops.
//!
//! ```text
//!  accept ── crowd: a share of its address, a slot ── Stream: bytes in and out ── hyper ── request: head, body, answer
//!              │                                          │                                     │
//!              └── who gives way when all slots are taken  └── who has stalled ── budget ────────┘ what is in flight
//! ```
//!
//! Each bound is in `[network]`. Without them, clients that say nothing, or that take nothing of their answers, would hold
//! memory and open files for as long as they like.

mod address;
mod budget;
mod crowd;
mod request;
mod size;
mod stream;

use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_io_timeout::TimeoutWriter;

pub(crate) use self::{address::Address, budget::Charge, crowd::Connection, request::Client, size::AnswerSize};
use self::{address::Proxies, budget::Budget, crowd::Crowd, request::Requests, stream::Stream};
use crate::config::Network;

/// Bytes of a head that hyper takes in. Above it, and above 100 headers, it answers 431 without a body; between [`request`]'s
/// bound and this one, the answer says in words what is wrong.
const MAX_BUFFERED_BYTES: usize = 64 * 1024;
/// How long a connection without a request may hold up a stop.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// How long somebody waits for a slot before a connection at rest gives way.
const ELBOWROOM: Duration = Duration::from_millis(50);
const MIB: usize = 1024 * 1024;

/// Counter of connections closed at once, because their address had its share.
const REFUSED: &str = "decentcom_connections_refused_total";
/// Counter of connections at rest that gave way to others.
const GAVE_WAY: &str = "decentcom_connections_gave_way_total";

/// Serves `router` on every connection until `stop` resolves; then takes no others and ends when those that are open have
/// had their answers. Upgraded connections are their handlers' business.
pub(super) async fn serve(
    mut listener: TcpListener,
    router: Router,
    network: &Network,
    stop: impl Future<Output = ()>,
) {
    let door = Door::new(router, network);
    let (stopping, open) = watch::channel(()); // each open connection holds a receiver
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let (stream, peer) = Listener::accept(&mut listener).await;
            door.enter(stream, peer).await
        };
        let entered = tokio::select! {
            entered = next => entered,
            () = &mut stop => break,
        };
        if let Some((stream, connection)) = entered {
            tokio::spawn(door.serve(stream, connection, open.clone()));
        }
    }
    drop(listener);
    drop(open);
    let _ = stopping.send(()); // no connection is left: fine
    stopping.closed().await;
}

/// What all connections of a listener share.
struct Door {
    http: http1::Builder,
    router: TowerToHyperService<Router>,
    slots: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    budget: Budget,
    proxies: Arc<Proxies>,
    most_per_address: usize,
    write_timeout: Duration,
}

impl Door {
    fn new(router: Router, network: &Network) -> Self {
        let mut http = http1::Builder::new();
        // It also ends connections that wait for a next request: hyper starts the clock when the last answer is out.
        http.timer(TokioTimer::new()).header_read_timeout(network.idle_timeout);
        http.max_buf_size(MAX_BUFFERED_BYTES);
        let crowd = Arc::new(Crowd::default());
        for counter in [REFUSED, GAVE_WAY] {
            metrics::counter!(counter).increment(0); // so that they can be seen before they count
        }
        Self {
            http,
            router: TowerToHyperService::new(router),
            slots: Arc::new(Semaphore::new(network.max_connections.min(Semaphore::MAX_PERMITS))),
            budget: Budget::new(network.in_flight_mib.saturating_mul(MIB), crowd.clone()),
            crowd,
            proxies: Arc::new(Proxies::new(network.trusted_proxies.clone())),
            most_per_address: network.max_connections_per_address,
            write_timeout: network.write_timeout,
        }
    }

    /// Lets a connection in, or hangs up where its address has its share already: an answer would cost what the bound is
    /// there to save. Where all slots are taken, whoever comes next waits in the kernel's queue.
    async fn enter(&self, stream: TcpStream, peer: SocketAddr) -> Option<(Stream, Arc<Connection>)> {
        let peer = peer.ip();
        let most = (!self.proxies.are(peer)).then_some(self.most_per_address);
        let Some(share) = self.crowd.share(peer, most) else {
            metrics::counter!(REFUSED).increment(1);
            tracing::debug!("a connection from {peer} is closed: its address has max_connections_per_address");
            return None;
        };
        let slot = self.slot().await;
        let (connection, member) = self.crowd.admit(peer, share);
        Some((Stream::new(stream, connection.clone(), self.budget.clone(), member, slot), connection))
    }

    /// A slot. When none is free, connections that have been at rest for a second give way, the longest at rest first: most
    /// are kept by pools of clients that have nothing to say, and clients open another without a word when one is closed.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(slot) = tokio::time::timeout(ELBOWROOM, self.slots.clone().acquire_owned()).await {
                return slot.ok(); // never closed, so never an error
            }
            if self.crowd.make_room() {
                metrics::counter!(GAVE_WAY).increment(1);
            }
        }
    }

    /// Serves one connection to its end.
    fn serve(
        &self,
        stream: Stream,
        connection: Arc<Connection>,
        mut stopped: watch::Receiver<()>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(self.write_timeout));
        let requests = Requests {
            router: self.router.clone(),
            connection: connection.clone(),
            budget: self.budget.clone(),
            proxies: self.proxies.clone(),
        };
        let service = service_fn(move |request| requests.answer(request));
        let http = self.http.serve_connection(TokioIo::new(Box::pin(stream)), service).with_upgrades();
        async move {
            let mut http = pin!(http);
            let served = async {
                tokio::select! {
                    ended = http.as_mut() => return ended,
                    _ = stopped.changed() => http.as_mut().graceful_shutdown(),
                }
                let nothing_comes = async {
                    tokio::time::sleep(LAST_MOMENT).await;
                    while !connection.is_waiting() {
                        tokio::time::sleep(LAST_MOMENT).await;
                    }
                };
                tokio::select! {
                    ended = http.as_mut() => ended,
                    () = nothing_comes => Ok(()),
                }
            };
            let ended = tokio::select! {
                ended = served => ended,
                () = connection.is_to_end() => Ok(()),
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        }
    }
}
