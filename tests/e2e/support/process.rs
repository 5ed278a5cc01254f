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
