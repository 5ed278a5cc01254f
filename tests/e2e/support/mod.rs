//! The server as a stranger meets it: a built program, a directory, HTTP.

#![allow(dead_code, unused_imports)] // each test program uses its own part

pub(crate) mod disk;
pub(crate) mod files;
pub(crate) mod gateway;
pub(crate) mod ledger;
pub(crate) mod metrics;
pub(crate) mod posting;
pub(crate) mod power_cuts;
pub(crate) mod preload;
pub(crate) mod process;
pub(crate) mod rows;
pub(crate) mod small_disk;
pub(crate) mod town;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc::RecvTimeoutError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer, SigningKey};
use reqwest::{Client, Method, RequestBuilder, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};

#[allow(unused_macros)]
/// Runs async tests of the form `test(backend: &str)` over each backend; a new one is a line here.
macro_rules! over_each_backend {
    ($($test:ident)*) => {
        over_each_backend!(@backend sqlite $($test)*);
        over_each_backend!(@backend redb $($test)*);
    };
    (@backend $backend:ident $($test:ident)*) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(stringify!($backend)).await;
                }
            )*
        }
    };
}
/// How long a start or a stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server. Dropped, it is killed.
pub(crate) struct Server {
    process: Child,
    base: String,
    log: Arc<Mutex<String>>,
    /// What reads its log, until it ends.
    reading: Option<JoinHandle<()>>,
}

/// The built program, to run in `directory` with nothing of this process's environment that configures it.
pub(crate) fn program(directory: &Path) -> Command {
    let mut command = prepared(Command::new(PROGRAM));
    command.current_dir(directory);
    command
}

/// The built program's path.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_decentcom-server");

/// A command that runs the built program, or becomes it, with nothing of this process's environment that configures it.
pub(crate) fn prepared(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DECENTCOM_") {
            command.env_remove(name);
        }
    }
    command
}

impl Server {
    /// Starts the built program on `directory` and waits until it listens.
    pub(crate) fn start(directory: &Path, backend: &str) -> Self {
        Self::start_with(directory, backend, &[])
    }

    /// The same, with further settings by environment variables.
    pub(crate) fn start_with(directory: &Path, backend: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_command(program(directory), backend, settings)
    }

    /// The same, with a command that ends up as the built program.
    pub(crate) fn start_command(mut command: Command, backend: &str, settings: &[(&str, &str)]) -> Self {
        command.envs(settings.iter().copied());
        Self::launch(command, backend).unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    /// Runs `command`, which is a [`program`], and waits until it listens; what it logged if it does not.
    pub(crate) fn launch(mut command: Command, backend: &str) -> Result<Self, String> {
        command.env("DECENTCOM_STORAGE__BACKEND", backend);
        if !command.get_envs().any(|(name, _)| name == "DECENTCOM_NETWORK__BIND_ADDRESS") {
            command.env("DECENTCOM_NETWORK__BIND_ADDRESS", "127.0.0.1:0");
        }
        let mut process = command.spawn().expect("the built program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (found, address) = std::sync::mpsc::channel();
        let lines = BufReader::new(process.stderr.take().expect("stderr is piped")).lines();
        let writing = log.clone();
        let reading = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = writing.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
                drop(log);
                if let Some((_, base)) = line.split_once("listening on http://") {
                    let is_address = |it: char| it.is_ascii_hexdigit() || matches!(it, '.' | ':' | '[' | ']');
                    let end = base.find(|it| !is_address(it)).unwrap_or(base.len()); // the line may be JSON
                    let _ = found.send(base[..end].to_owned());
                }
            }
        });
        match address.recv_timeout(PATIENCE) {
            Ok(address) => Ok(Self { process, base: format!("http://{address}"), log, reading: Some(reading) }),
            Err(RecvTimeoutError::Disconnected) => {
                let status = wait_for(&mut process);
                reading.join().unwrap();
                let log = log.lock().unwrap().clone();
                assert_eq!(status.code(), Some(1), "a start that fails says so:\n{log}");
                Err(log)
            }
            Err(RecvTimeoutError::Timeout) => {
                let _ = process.kill();
                panic!("the server neither listens nor ends:\n{}", log.lock().unwrap());
            }
        }
    }

    /// A server that somebody else started; what is at hand is where it listens.
    pub(crate) fn at(base: &str) -> Self {
        let process = Command::new("true").spawn().unwrap();
        Self { process, base: base.to_owned(), log: Arc::default(), reading: None }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until its log has this text: a line comes through a thread and a pipe, so it may be behind what it tells of.
    pub(crate) async fn says(&self, text: &str) {
        self.says_times(1, text).await;
    }

    /// The same, so often.
    pub(crate) async fn says_times(&self, times: usize, text: &str) {
        let began = Instant::now();
        while self.log().matches(text).count() < times {
            assert!(began.elapsed() < PATIENCE, "`{text}` is not {times} times in\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// SIGKILL: the process gets no chance to finish anything.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.ended();
        (status, self.log())
    }

    /// The same, of a server that is still needed for its log, which is whole then.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = wait_for(&mut self.process);
        if let Some(reading) = self.reading.take() {
            reading.join().unwrap();
        }
        status
    }

    /// A user of this server with a key made from `seed`, logged in.
    pub(crate) async fn log_in(&self, seed: u64) -> User {
        self.stranger(seed).try_log_in().await.expect("the server answers a log-in")
    }

    /// Somebody with a key made from `seed`, not logged in.
    pub(crate) fn stranger(&self, seed: u64) -> User {
        let http = Client::builder().timeout(PATIENCE).build().unwrap();
        User { http, base: self.base.clone(), key: key(seed), token: String::new(), id: String::new() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until `process` has ended by itself.
pub(crate) fn wait_for(process: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = process.kill();
            panic!("the process did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The signing key of the test user number `seed`.
pub(crate) fn key(seed: u64) -> SigningKey {
    let mut bytes = [42; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    SigningKey::from_bytes(&bytes)
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// Whether it says when to try again.
    pub(crate) retry_after: bool,
    /// Null where there is none.
    pub(crate) body: Value,
}

/// A logged-in client.
#[derive(Clone)]
pub(crate) struct User {
    http: Client,
    base: String,
    key: SigningKey,
    pub(crate) token: String,
    pub(crate) id: String,
}

impl User {
    /// Base58 of the public key.
    pub(crate) fn pubkey(&self) -> String {
        bs58::encode(self.key.verifying_key().as_bytes()).into_string()
    }

    fn sign(&self, text: &str) -> String {
        STANDARD.encode(self.key.sign(text.as_bytes()).to_bytes())
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.base));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    /// Sends a call with a JSON body and answers status and body; a body that is not JSON fails the test.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let reply = self.request(method.clone(), path).json(&body).send().await.unwrap();
        let status = reply.status();
        let text = reply.text().await.unwrap();
        let body = if status == StatusCode::NO_CONTENT {
            assert_eq!(text, "");
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path} answers {status}: {text}"))
        };
        (status, body)
    }

    /// Like [`call`](Self::call), when the server may go away meanwhile.
    pub(crate) async fn try_call(&self, method: Method, path: &str, body: Value) -> Option<(StatusCode, Value)> {
        let reply = self.request(method, path).json(&body).send().await.ok()?;
        let status = reply.status();
        Some((status, serde_json::from_str(&reply.text().await.ok()?).ok()?))
    }

    /// Any call, with all that its answer says; `None` when the server went away.
    pub(crate) async fn try_send(&self, method: Method, path: &str, body: Value) -> Option<Reply> {
        let reply = self.request(method, path).json(&body).send().await.ok()?;
        let (status, retry_after) = (reply.status(), reply.headers().contains_key(RETRY_AFTER));
        let text = reply.text().await.ok()?;
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).ok()? };
        Some(Reply { status, retry_after, body })
    }

    /// Like [`ok`](Self::ok), when the server may go away meanwhile: `None` then, and only then.
    pub(crate) async fn try_ok(&self, method: Method, path: &str, body: Value) -> Option<Value> {
        let reply = self.request(method.clone(), path).json(&body).send().await.ok()?;
        let status = reply.status();
        let text = reply.text().await.ok()?;
        assert!(status.is_success(), "{method} {path} answers {status}: {text}");
        Some(if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }

    /// Logs in, when the server may go away meanwhile.
    pub(crate) async fn try_log_in(mut self) -> Option<Self> {
        let pubkey = self.pubkey();
        let asked = self.try_ok(Method::POST, "/auth/challenge", json!({ "pubkey": pubkey })).await?;
        let signature = self.sign(asked["challenge"].as_str().unwrap());
        let body = json!({ "pubkey": pubkey, "signature": signature });
        let verified = self.try_ok(Method::POST, "/auth/verify", body).await?;
        self.token = verified["token"].as_str().unwrap().to_owned();
        self.id = verified["user_id"].as_str().unwrap().to_owned();
        Some(self)
    }

    /// Asks for a text to sign.
    pub(crate) async fn challenge(&self) -> String {
        let asked = self.ok(Method::POST, "/auth/challenge", json!({ "pubkey": self.pubkey() })).await;
        asked["challenge"].as_str().unwrap().to_owned()
    }

    /// Answers with a signature over `text`.
    pub(crate) async fn verify(&self, text: &str) -> (StatusCode, Value) {
        let body = json!({ "pubkey": self.pubkey(), "signature": self.sign(text) });
        self.call(Method::POST, "/auth/verify", body).await
    }

    /// Somebody else, not logged in, over the same connections.
    pub(crate) fn with_key(&self, seed: u64) -> Self {
        Self { key: key(seed), token: String::new(), id: String::new(), ..self.clone() }
    }

    /// The same, from another address of this machine.
    pub(crate) fn from(&self, address: [u8; 4]) -> Self {
        let http = Client::builder().timeout(PATIENCE).local_address(std::net::IpAddr::from(address)).build().unwrap();
        Self { http, ..self.clone() }
    }

    /// The holder of another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The same user and session, at another run of the server.
    pub(crate) fn at(&self, server: &Server) -> Self {
        Self { base: server.base.clone(), ..self.clone() }
    }

    /// Like [`call`](Self::call), for calls that must succeed.
    pub(crate) async fn ok(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, body) = self.call(method.clone(), path, body).await;
        assert!(status.is_success(), "{method} {path} answers {status}: {body}");
        body
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ok(Method::GET, path, json!({})).await
    }

    /// The id of the channel with this name.
    pub(crate) async fn channel(&self, name: &str) -> String {
        let channels = self.get("/channels").await;
        let channel = channels["channels"].as_array().unwrap().iter().find(|channel| channel["name"] == name);
        channel.unwrap_or_else(|| panic!("no channel {name}"))["id"].as_str().unwrap().to_owned()
    }

    /// Posts a message and answers its id.
    pub(crate) async fn post(&self, channel: &str, content: &str) -> String {
        let message =
            self.ok(Method::POST, &format!("/channels/{channel}/messages"), json!({ "content": content })).await;
        assert_eq!(message["content"], content);
        message["id"].as_str().unwrap().to_owned()
    }

    /// The channel's whole history, oldest first, read page by page from the end.
    pub(crate) async fn history(&self, channel: &str, limit: usize) -> Vec<Value> {
        let mut messages: Vec<Value> = Vec::new();
        loop {
            let before = messages.last().map(|it| format!("&before={}", it["id"].as_str().unwrap()));
            let path = format!("/channels/{channel}/messages?limit={limit}{}", before.unwrap_or_default());
            let page = self.get(&path).await;
            let found = page["messages"].as_array().unwrap();
            assert!(found.len() <= limit);
            assert!(!found.is_empty() || page["has_more"] == false, "an empty page says that it is the last");
            messages.extend_from_slice(found);
            if page["has_more"] == false {
                messages.reverse();
                return messages;
            }
        }
    }
}
