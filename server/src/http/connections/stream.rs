//! The bytes of a connection on their way in and out: who is slow is noticed here, and nobody is hung up on rudely.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    runtime::Handle,
    sync::OwnedSemaphorePermit,
};

use super::{
    Address,
    budget::{Budget, Charge, FREE, Holder},
    crowd::{Connection, Member},
};

/// How long, and for how many bytes, a client is listened to that has been told goodbye. Closing at once would reset the
/// connection where it still sends, and a reset takes away answers that it has not read yet (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// A connection, upgraded or not, until it is closed.
pub(super) struct Stream {
    /// Always there until it is dropped.
    socket: Option<Socket>,
    connection: Arc<Connection>,
    budget: Budget,
    /// For a head that is larger than most.
    head: Option<Charge>,
    /// Nothing more will be sent; the client may not have noticed yet.
    says_goodbye: bool,
}

/// A socket with the slot and the share it takes.
struct Socket {
    stream: TcpStream,
    _member: Member,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Stream {
    pub(super) fn new(
        stream: TcpStream,
        connection: Arc<Connection>,
        budget: Budget,
        member: Member,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let socket = Some(Socket { stream, _member: member, _slot: slot });
        Self { socket, connection, budget, head: None, says_goodbye: false }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.socket.as_mut().map(|it| Pin::new(&mut it.stream)).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Notes what came in; fails when a large head finds no room.
    fn has_read(&mut self, bytes: usize) -> io::Result<()> {
        let Some(head) = self.connection.has_sent(bytes) else { return Ok(()) };
        if head <= FREE {
            self.head = None;
            return Ok(());
        }
        let holder = Holder::Address(Address::from(self.connection.peer));
        match &mut self.head {
            Some(charge) => drop(charge.becomes(head)),
            None => {
                self.head = self.budget.try_reserve(&self.connection, holder, head);
                self.connection.is_due();
            }
        }
        if self.head.is_some() { Ok(()) } else { Err(io::Error::other("no room for a large request head")) }
    }

    fn has_written(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.connection.has_taken(*bytes);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let may_be_heard = self.says_goodbye || self.connection.is_upgraded();
        let is_over = self.connection.has_left() || self.connection.is_cut_off();
        if may_be_heard
            && !is_over
            && let (Some(socket), Ok(runtime)) = (self.socket.take(), Handle::try_current())
        {
            runtime.spawn(linger(socket));
        }
    }
}

/// Passes over what a client still sends, until it has gone too or has had its time.
async fn linger(mut socket: Socket) {
    let passing_over = async {
        let _ = socket.stream.shutdown().await;
        let (mut passed_over, mut scratch) = (0, [0; 4096]);
        while passed_over < LINGER_BYTES {
            match socket.stream.read(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(read) => passed_over += read,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, passing_over).await;
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(self.stream()?.poll_read(cx, buffer));
        let read = buffer.filled().len().saturating_sub(before);
        if read > 0 {
            return Poll::Ready(self.has_read(read));
        }
        if result.is_err() || buffer.remaining() > 0 {
            self.connection.leaves();
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write(cx, bytes);
        self.has_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write_vectored(cx, buffers);
        self.has_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.says_goodbye = true;
        self.stream()?.poll_shutdown(cx)
    }
}
