//! One socket's bytes: listening and speaking at once, within bounds. A client that does not take what it is told never keeps
//! the server from noticing what else happens.

use std::{
    collections::VecDeque,
    future::poll_fn,
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures::{Sink, Stream};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::{End, close::FELL_BEHIND};
use crate::http::connections::{Charge, Client, Connection};

/// A frame that is not taken for this long belongs to a dead or hopeless connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to hear why its socket is closed. What it still sends meanwhile is passed over: with unread
/// bytes, closing would be a reset, and the reason would be lost.
const GOODBYE: Duration = Duration::from_secs(10);
/// Frames passed over at a time, and the pause after them: a flood is not worth a processor.
const PASSED_OVER: u32 = 256;
const PAUSE: Duration = Duration::from_millis(10);
/// Pings that are answered while nothing is taken; the answers wait in memory.
const UNTAKEN_PONGS: usize = 64;
/// Answers of our own that may wait. With so many the client is not listened to until it has taken some.
const UNTAKEN_ANSWERS: usize = 16;
/// Frames a second from one client, and how many at once: subscribing to every channel there is.
const FRAMES: NonZeroU32 = NonZeroU32::new(500).unwrap();
const FRAMES_AT_ONCE: NonZeroU32 = NonZeroU32::new(5000).unwrap();

/// A socket and what is on its way to the client.
pub(super) struct Link {
    socket: WebSocket,
    client: Option<Client>,
    frames: DefaultDirectRateLimiter,
    /// What we say ourselves, before events.
    answers: VecDeque<Utf8Bytes>,
    /// Since when something has been on its way that the kernel has not taken.
    busy_since: Option<Instant>,
    /// Bytes of what is on its way.
    bytes: usize,
    charge: Option<Charge>,
    pongs: usize,
}

/// What happened on a socket.
pub(super) enum Happened {
    /// The client said something.
    Heard(Message),
    /// What was on its way has been taken.
    Taken,
    /// The client left, or cannot be reached.
    Gone,
}

impl Link {
    pub(super) fn new(socket: WebSocket, client: Option<Client>) -> Self {
        let frames = RateLimiter::direct(Quota::per_second(FRAMES).allow_burst(FRAMES_AT_ONCE));
        let answers = VecDeque::new();
        Self { socket, client, frames, answers, busy_since: None, bytes: 0, charge: None, pongs: 0 }
    }

    /// Whether the next event can be sent.
    pub(super) fn is_free(&self) -> bool {
        self.busy_since.is_none() && self.answers.is_empty()
    }

    /// When the client has taken nothing for too long.
    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        self.busy_since.map(|since| since + SEND_TIMEOUT)
    }

    /// Says something, as soon as what is on its way has been taken.
    pub(super) fn answer(&mut self, frame: Utf8Bytes) -> Result<(), End> {
        self.answers.push_back(frame);
        self.begin_answer()
    }

    /// Sends an event. Only when the link is free.
    pub(super) fn pass_on(&mut self, frame: Utf8Bytes) -> Result<(), End> {
        self.begin(Message::Text(frame))
    }

    /// Waits for whatever happens next. Dropped early, it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Happened, End> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The connection under it.
    pub(super) fn connection(&self) -> Option<Arc<Connection>> {
        self.client.as_ref().map(|client| client.connection().clone())
    }

    fn begin_answer(&mut self) -> Result<(), End> {
        match self.answers.pop_front() {
            Some(frame) if self.busy_since.is_none() => self.begin(Message::Text(frame)),
            Some(frame) => {
                self.answers.push_front(frame);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn begin(&mut self, message: Message) -> Result<(), End> {
        self.bytes = match &message {
            Message::Text(text) => text.len(),
            _ => 0,
        };
        self.busy_since.get_or_insert_with(Instant::now);
        Pin::new(&mut self.socket).start_send(message).map_err(|_| End::Gone)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Happened, End>> {
        if self.busy_since.is_some() {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.has_taken();
                    return Poll::Ready(self.begin_answer().map(|()| Happened::Taken));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(Happened::Gone)),
                Poll::Pending => self.waits(),
            }
        }
        if self.answers.len() >= UNTAKEN_ANSWERS {
            return Poll::Pending; // the flush above wakes us
        }
        match Pin::new(&mut self.socket).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => Poll::Ready(self.hear(message).map(Happened::Heard)),
            Poll::Ready(Some(Err(_))) if !self.has_left() => {
                Poll::Ready(Err(End::Close(FELL_BEHIND, "a frame is too large or malformed")))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Ok(Happened::Gone)),
            Poll::Ready(None) => Poll::Ready(Ok(Happened::Gone)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn has_left(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.connection().has_left())
    }

    fn has_taken(&mut self) {
        (self.busy_since, self.bytes, self.pongs) = (None, 0, 0);
        if self.charge.take().is_some()
            && let Some(client) = &self.client
        {
            client.connection().is_done();
        }
    }

    /// What the kernel does not take at once is charged, and makes the connection one that others may push aside.
    fn waits(&mut self) {
        if self.charge.is_none()
            && let Some(client) = &self.client
        {
            self.charge = client.own_up_to(self.bytes);
            if self.charge.is_some() {
                client.connection().is_due();
            }
        }
    }

    fn hear(&mut self, message: Message) -> Result<Message, End> {
        if self.frames.check().is_err() {
            return Err(End::Close(FELL_BEHIND, "too many frames"));
        }
        if let Message::Ping(_) = message {
            // Its pong, made below us, is on its way now.
            self.busy_since.get_or_insert_with(Instant::now);
            self.pongs += 1;
            if self.pongs > UNTAKEN_PONGS {
                return Err(End::Close(FELL_BEHIND, "fell behind"));
            }
        }
        Ok(message)
    }

    /// Closes the socket, and waits a while for the client to hear it.
    pub(super) async fn close(mut self, code: u16, reason: &'static str) {
        let frame = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }));
        self.answers.clear();
        if self.begin(frame).is_ok() {
            self.finish().await;
        }
    }

    /// Lets what is on its way go out, until the client has gone or taken too long.
    pub(super) async fn finish(mut self) {
        let farewell = async {
            let mut passed_over = 0;
            loop {
                let happened = poll_fn(|cx| self.poll_farewell(cx)).await;
                if let Happened::Gone = happened {
                    return;
                }
                passed_over += 1;
                if passed_over % PASSED_OVER == 0 {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let _ = tokio::time::timeout(GOODBYE, farewell).await;
    }

    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        if let Poll::Ready(Err(_)) = flushed {
            return Poll::Ready(Happened::Gone);
        }
        match Pin::new(&mut self.socket).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => Poll::Ready(Happened::Heard(message)),
            Poll::Ready(Some(Err(_)) | None) if flushed.is_pending() => Poll::Pending, // it cannot be heard; it may still listen
            Poll::Ready(_) => Poll::Ready(Happened::Gone),
            Poll::Pending => Poll::Pending,
        }
    }
}
