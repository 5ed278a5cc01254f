//! The server's process from outside: memory, open files, raw connections.

use std::{fs, path::Path, process::Command, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{PROGRAM, Server, prepared};

const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const MIB: u64 = 1024 * 1024;

/// Lets this process, and what it starts, hold this many files open.
pub(crate) fn allow_open_files(files: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let enough = maximum.is_none_or(|maximum| maximum >= files);
    let maximum = if enough { maximum } else { Some(files) };
    setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum })
        .unwrap_or_else(|error| panic!("this test needs {files} open files (ulimit -Hn): {error}"));
}

/// The built program under a soft limit on open files like that of a login shell.
pub(crate) fn program_of_a_shell(directory: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -S -n 1024 && exec \"$0\"", PROGRAM]);
    let mut command = prepared(shell);
    command.current_dir(directory);
    command
}

impl Server {
    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.process.id())
    }

    /// Bytes of memory that the process holds.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Waits until the process holds at most this many files.
    pub(crate) async fn comes_down_to_open_files(&self, most: usize) {
        let patience = tokio::time::timeout(PATIENCE, async {
            while self.open_files() > most {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        patience.await.unwrap_or_else(|_| panic!("{} files stay open", self.open_files()));
    }

    /// A connection that has said nothing yet.
    pub(crate) async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// A connection whose kernel takes in little that is not read.
    pub(crate) async fn dial_narrow(&self) -> TcpStream {
        let narrow = TcpSocket::new_v4().unwrap();
        narrow.set_recv_buffer_size(8192).unwrap();
        narrow.connect(self.address()).await.unwrap()
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.base.trim_start_matches("http://").parse().unwrap()
    }
}

/// A whole request for `path`.
pub(crate) fn request(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// Sends `bytes` and answers the first line of what comes back.
pub(crate) async fn exchange(stream: &mut TcpStream, bytes: &str) -> String {
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut reply = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut reply)).await.expect("an answer").unwrap();
    String::from_utf8_lossy(&reply[..read]).lines().next().unwrap_or_default().to_owned()
}

/// Waits until the server has closed the connection; answers what it said before.
pub(crate) async fn end(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    // A reset is an end too: the server does not wait for what it will not read.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("the server ends it");
    String::from_utf8_lossy(&said).into_owned()
}

/// One answer off the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(crate) fn says_close(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// A connection whose answers are read one by one, as they come.
pub(crate) struct Answers {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Answers {
    pub(crate) fn of(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server listens");
        self.stream.flush().await.unwrap();
    }

    /// Waits until an answer begins to come in, but no longer than this.
    pub(crate) async fn has_begun(&mut self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.stream.readable()).await;
    }

    /// The next answer; `None` when the server has closed the connection in good order. A reset fails the test.
    pub(crate) async fn next(&mut self) -> Option<Answer> {
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let mut answer =
                    Answer { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: String::new() };
                let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
                if self.read.len() >= head.len() + 4 + length {
                    let rest = self.read.split_off(head.len() + 4 + length);
                    answer.body = String::from_utf8(self.read[head.len() + 4..].to_vec()).unwrap();
                    self.read = rest;
                    return Some(answer);
                }
            }
            let read = self.stream.read_buf(&mut self.read);
            match tokio::time::timeout(PATIENCE, read).await.expect("an answer or the end").expect("no reset") {
                0 if self.read.is_empty() => return None,
                0 => panic!("it ends in the middle of {text:?}"),
                _ => {}
            }
        }
    }
}
