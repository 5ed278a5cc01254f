//! Connections: how many there may be, how slow they may be, and their end when the server stops.
//!
//! Each bound is in `[network]`. Without them, clients that say nothing, or that take nothing of their answers, would hold
//! memory and open files for as long as they like.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, serve::Listener};
use hyper::{body::Incoming, server::conn::http1, service::{Service as _, service_fn}};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_io_timeout::TimeoutWriter;

use super::under_way::UnderWay;
use crate::config::Network;

/// Bytes that a request's head may take, and that wait in a connection's buffers; a thousand connections hold 32 MiB.
const MAX_BUFFERED_BYTES: usize = 32 * 1024;

/// Serves `router` on every connection until `stop` resolves; then takes no others and ends when those that are open have
/// had their answers. Upgraded connections are their handlers' business.
pub(super) async fn serve(
    mut listener: TcpListener,
    router: Router,
    network: &Network,
    stop: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    // It also ends connections that wait for a next request: hyper starts the clock when the last answer is out.
    http.timer(TokioTimer::new()).header_read_timeout(network.idle_timeout).max_buf_size(MAX_BUFFERED_BYTES);
    let service = TowerToHyperService::new(router);
    let slots = Arc::new(Semaphore::new(network.max_connections.min(Semaphore::MAX_PERMITS)));
    let (stopping, open) = watch::channel(()); // each open connection holds a receiver
    let mut stop = pin!(stop);
    loop {
        let next = async {
            // Without a slot nothing is accepted: whoever comes waits in the kernel's queue. Never closed, so never an error.
            let slot = slots.clone().acquire_owned().await.ok();
            (slot, Listener::accept(&mut listener).await.0)
        };
        let (slot, stream) = tokio::select! {
            accepted = next => accepted,
            () = &mut stop => break,
        };
        let under_way = UnderWay::default();
        let mut stream = TimeoutWriter::new(Connection { stream, under_way: under_way.clone(), _slot: slot });
        stream.set_timeout(Some(network.write_timeout));
        let (service, answering) = (service.clone(), under_way.clone());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (answering, answer) = (answering.begin(), service.call(request));
            async { Ok::<_, Infallible>(answering.until_sent(answer.await?)) }
        });
        let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service).with_upgrades();
        let mut stopped = open.clone();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                _ = stopped.changed() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection.as_mut() => ended,
                        () = under_way.over() => Ok(()), // a head that does not come to its end
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    drop(open);
    let _ = stopping.send(()); // no connection is left: fine
    stopping.closed().await;
}

/// A connection and the slot it takes, upgraded or not, until it is closed.
struct Connection {
    stream: TcpStream,
    under_way: UnderWay,
    _slot: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.under_way.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.under_way.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
