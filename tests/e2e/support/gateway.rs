//! A client of the gateway.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async, tungstenite::Message};

use super::{Server, User};

const PATIENCE: Duration = Duration::from_secs(20);

/// A connected socket.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// What a socket says next.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A frame: operation and payload.
    Event(String, Value),
    /// The end, with its code.
    Closed(u16),
}

impl Server {
    /// Opens a socket with whatever token, without a look at what it says.
    pub(crate) async fn connect(&self, token: &str) -> Socket {
        let url = self.url(&format!("/api/v1/gateway?token={token}")).replace("http://", "ws://");
        Socket(connect_async(url).await.unwrap().0)
    }

    /// Opens a socket whose kernel takes in little that is not read, and waits for its greeting.
    pub(crate) async fn open_narrow_socket(&self, user: &User) -> Socket {
        let narrow = TcpSocket::new_v4().unwrap();
        narrow.set_recv_buffer_size(8192).unwrap();
        let address = self.url("").trim_start_matches("http://").parse().unwrap();
        let stream = MaybeTlsStream::Plain(narrow.connect(address).await.unwrap());
        let url = format!("ws://{address}/api/v1/gateway?token={}", user.token);
        let mut socket = Socket(client_async(url, stream).await.unwrap().0);
        assert_eq!(socket.event().await.0, "HELLO");
        assert_eq!(socket.event().await.0, "READY");
        socket
    }

    /// Asks for a socket as a browser would, and answers what the server says instead, or that it switches.
    pub(crate) async fn refused_socket(&self, user: &User) -> reqwest::Response {
        let url = self.url(&format!("/api/v1/gateway?token={}", user.token));
        let asks = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let request =
            asks.iter().fold(reqwest::Client::new().get(url), |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    }

    /// Opens a socket for `user` and waits for its greeting.
    pub(crate) async fn open_socket(&self, user: &User) -> Socket {
        let mut socket = self.connect(&user.token).await;
        assert_eq!(socket.event().await.0, "HELLO");
        assert_eq!(socket.event().await.0, "READY");
        socket
    }
}

impl Socket {
    pub(crate) async fn say(&mut self, op: &str, payload: Value) {
        self.0.send(Message::text(json!({ "op": op, "d": payload }).to_string())).await.unwrap();
    }

    /// Sends a message of any kind; `false` when the connection takes no more.
    pub(crate) async fn send(&mut self, message: Message) -> bool {
        self.0.send(message).await.is_ok()
    }

    pub(crate) async fn say_raw(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The same, to a server that may have hung up.
    pub(crate) async fn try_say_raw(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    /// Subscribes, and knows that it holds.
    pub(crate) async fn subscribe(&mut self, channel: &str) {
        self.say("SUBSCRIBE", json!({ "channel_id": channel, "ack": true })).await;
        loop {
            if self.event().await.0 == "SUBSCRIBED" {
                return;
            }
        }
    }

    /// What comes next; a connection that breaks is closed with code 0.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("the gateway says something");
            match next {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
                    assert!(
                        frame["t"].as_u64().is_some_and(|it| (now - 600..=now + 1).contains(&it)),
                        "{frame} at {now}"
                    );
                    assert_eq!(frame.as_object().unwrap().len(), 3, "{frame}");
                    return Heard::Event(frame["op"].as_str().unwrap().to_owned(), frame["d"].clone());
                }
                Some(Ok(Message::Close(Some(close)))) => return Heard::Closed(close.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Closed(0),
            }
        }
    }

    /// The next frame, which is an event.
    pub(crate) async fn event(&mut self) -> (String, Value) {
        match self.hear().await {
            Heard::Event(op, payload) => (op, payload),
            Heard::Closed(code) => panic!("closed with {code}"),
        }
    }

    /// The code with which the socket ends, if it does within so many seconds.
    pub(crate) async fn end_within(&mut self, seconds: u64) -> Option<u16> {
        tokio::time::timeout(Duration::from_secs(seconds), self.end()).await.ok()
    }

    /// The code with which the socket ends; what it says before is passed over.
    pub(crate) async fn end(&mut self) -> u16 {
        loop {
            if let Heard::Closed(code) = self.hear().await {
                return code;
            }
        }
    }
}
