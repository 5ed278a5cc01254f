//! Configuration: TOML and environment variables in, one validated [`Config`] out.
//!
//! `decentcom.example.toml` shows every key with its default. An environment variable `DECENTCOM_<SECTION>__<KEY>`
//! overrides the file; `DECENTCOM_STORAGE__BACKEND=redb` is `backend = "redb"` in `[storage]`.

mod checks;
mod environment;
mod reload;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt,
    fs::File as OpenFile,
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub(crate) use self::checks::public_key;
pub use self::reload::Reloaded;
use crate::storage::{Backend, MinFree, RedbOptions, StorageOptions, check_name, limits::MAX_CONTENT_BYTES};

/// The file that is read when none is named and it exists.
const DEFAULT_PATH: &str = "decentcom.toml";
/// A file longer than this is no configuration.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Bytes of UTF-8 that a character can take; bounds `max_message_length` so that the store accepts what it allows.
const MAX_CHARACTER_BYTES: usize = 4;
/// Bytes of `public_address`: it is part of each challenge.
const MAX_ADDRESS_BYTES: usize = 100;
const MIB: u64 = 1024 * 1024;

/// What stands in the file, section by section, before it is checked. Every key is optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    server: Server,
    network: Network,
    storage: Storage,
    sessions: Sessions,
    membership: Membership,
    content: Content,
    gateway: Gateway,
    limits: Limits,
    metrics: Metrics,
    logging: Logging,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The community's name, shown to everybody.
    pub name: String,
    /// A line about the community; empty for none.
    pub description: String,
}

/// `[network]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Where to listen, an IP address and a port; port 0 picks a free one.
    pub bind_address: SocketAddr,
    /// The address that clients dial, named in what people sign to log in; empty if it is not known.
    pub public_address: String,
    /// Origins that browsers may call from; empty for all.
    pub allowed_origins: Vec<String>,
    /// Connections open at once, the gateway's among them; whoever comes then waits until one ends.
    pub max_connections: usize,
    /// How many of them one address may have (IPv6: a /64); further ones are closed at once.
    pub max_connections_per_address: usize,
    /// Reverse proxies, whose `X-Forwarded-For` says who the client is. Their connections are not bounded per address.
    #[serde(with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Memory for answers that clients have not taken yet and requests half read, over all connections, in MiB.
    pub in_flight_mib: usize,
    /// A connection on which no whole request head arrives for this long is closed.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// A client that takes nothing of its answer for this long is cut off.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// A request that takes longer is answered 503.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How long requests under way may take to finish when the server stops.
    #[serde(with = "duration")]
    pub shutdown_grace: Duration,
}

/// `[storage]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Storage {
    backend: Backend,
    #[serde(skip_serializing_if = "Option::is_none")]
    database_path: Option<PathBuf>,
    #[serde(with = "min_free")]
    min_free: MinFree,
    redb: Redb,
}

/// `[storage.redb]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Redb {
    cache_mib: u64,
    quick_repair: bool,
    inspection_socket: bool,
}

impl Default for Redb {
    fn default() -> Self {
        let RedbOptions { cache_bytes, quick_repair, .. } = RedbOptions::default();
        Self { cache_mib: cache_bytes / MIB, quick_repair, inspection_socket: true }
    }
}

/// `[sessions]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// How long a log-in lasts.
    #[serde(with = "duration")]
    pub ttl: Duration,
    /// How often expired sessions are removed.
    #[serde(with = "duration")]
    pub sweep_interval: Duration,
}

/// Who may become a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MembershipMode {
    /// Anybody: an unknown key registers by logging in.
    Open,
    /// The keys in `allowed`, and admins. Others may log in, and do nothing but ask to join.
    Allowlist,
    /// Members that there are already, and admins. Nobody else may log in.
    Closed,
}

/// `[membership]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Membership {
    /// Who may become a member.
    pub mode: MembershipMode,
    /// Public keys (base58) of those who manage channels; empty for the member who registered first.
    pub admins: BTreeSet<String>,
    /// Public keys (base58) that `mode = "allowlist"` lets in.
    pub allowed: BTreeSet<String>,
}

/// `[content]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Content {
    /// Longest message, in characters (Unicode scalar values).
    pub max_message_length: usize,
}

/// `[gateway]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// How often a socket is asked whether its client is still there.
    #[serde(with = "duration")]
    pub heartbeat_interval: Duration,
    /// How long the client may take to answer before the socket is closed.
    #[serde(with = "duration")]
    pub heartbeat_timeout: Duration,
    /// Sockets that one user may have open at once; further ones are answered 429.
    pub max_sockets_per_user: usize,
}

/// `[limits]`: how often somebody may ask; past it the answer is 429. Each rate is per second and has a burst, what may
/// come at once after a pause. A rate of 0 switches that limit off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Changes by one user: posts, edits, deletions, all that is not a read.
    pub changes: u32,
    /// Changes that may come at once.
    pub changes_burst: u32,
    /// Reads by one user that cost much: history, members, channels, opening the gateway.
    pub reads: u32,
    /// Such reads that may come at once.
    pub reads_burst: u32,
    /// Challenges and log-ins from one address.
    pub log_ins: u32,
    /// Challenges and log-ins that may come at once.
    pub log_ins_burst: u32,
    /// Log-ins from one address that fail; each costs the server many checks of a signature.
    pub failed_log_ins: u32,
    /// Failed log-ins that may come at once.
    pub failed_log_ins_burst: u32,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// `[logging]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logging {
    /// How log lines look.
    pub format: LogFormat,
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`) or a `tracing` filter such as
    /// `info,tower_http=debug`.
    pub level: String,
    /// The file that takes the lines; empty for stderr. Relative ones are looked for beside the configuration file.
    pub file: PathBuf,
    /// A file that would grow past so many MiB becomes `FILE.1`, in place of an older one, and a new one is begun.
    pub max_size_mib: u64,
}

/// `[metrics]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where `GET /metrics` is answered, if anywhere: an address of its own, because everybody who reaches it may read.
    #[serde(with = "optional_address")]
    pub bind_address: Option<SocketAddr>,
}

impl Default for Server {
    fn default() -> Self {
        Self { name: "decentcom".into(), description: String::new() }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            bind_address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_address: String::new(),
            allowed_origins: Vec::new(),
            max_connections: 16_384,
            max_connections_per_address: 4096,
            trusted_proxies: Vec::new(),
            in_flight_mib: 32,
            // Above the 90 seconds for which common clients keep a connection: they must not find it closed.
            idle_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

impl Network {
    /// Allows no more than `most` connections, and each address the same share of them as before.
    pub fn lower_connections_to(&mut self, most: usize) {
        if most < self.max_connections {
            let share = self.max_connections_per_address.min(self.max_connections) as u128;
            let share = share * most as u128 / self.max_connections.max(1) as u128;
            self.max_connections_per_address = usize::try_from(share).unwrap_or(most).max(1);
            self.max_connections = most;
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { backend: Backend::Sqlite, database_path: None, min_free: MinFree::Auto, redb: Redb::default() }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(24 * 3600), sweep_interval: Duration::from_secs(300) }
    }
}

impl Default for Membership {
    fn default() -> Self {
        Self { mode: MembershipMode::Open, admins: BTreeSet::new(), allowed: BTreeSet::new() }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self { max_message_length: 4000 }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(30),
            heartbeat_timeout: Duration::from_secs(10),
            max_sockets_per_user: 100,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            changes: 5000,
            changes_burst: 20_000,
            reads: 5000,
            reads_burst: 20_000,
            log_ins: 500,
            log_ins_burst: 5000,
            failed_log_ins: 5,
            failed_log_ins_burst: 100,
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into(), file: PathBuf::new(), max_size_mib: 64 }
    }
}

/// A configuration that was read and checked; what the server runs on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[network]`
    pub network: Network,
    /// `[storage]`, with the default path of its backend filled in.
    pub storage: StorageOptions,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[membership]`
    pub membership: Membership,
    /// `[content]`
    pub content: Content,
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[limits]`
    pub limits: Limits,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[logging]`
    pub logging: Logging,
    /// Environment variables that begin like ours and set nothing.
    #[serde(skip)]
    pub passed_over: Vec<String>,
}

/// Why there is no configuration: what, where, and what is allowed instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The named file cannot be read.
    #[error("cannot read the configuration {}: {source}. Check the path given with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not TOML, or has an unknown key or a value of the wrong type.
    #[error("{}: {message}\nSee decentcom.example.toml for every key and its default", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, key and what is allowed, from the parser.
        message: String,
    },
    /// An environment variable names no key, or has a value of the wrong type.
    #[error("environment variable {variable}: {message}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong with it.
        message: String,
    },
    /// A value has the right type and makes no sense.
    #[error("{origin}: {key} {problem}")]
    Impossible {
        /// The file, or `the configuration` when there is none.
        origin: String,
        /// `[section] key`
        key: &'static str,
        /// The value and what is allowed.
        problem: String,
    },
}

impl Config {
    /// Reads the file at `path`, or `decentcom.toml` if there is one, or nothing; then applies the overrides among
    /// `environment`; then checks every value. Paths within are absolute afterwards: relative ones begin where the file
    /// lies, or in the working directory when there is none.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let default_path = Path::new(DEFAULT_PATH);
        // A link that leads nowhere is there too: whoever made it did not mean the defaults.
        let path = path.or_else(|| default_path.symlink_metadata().is_ok().then_some(default_path));
        let text = match path {
            Some(path) => read(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?,
            None => String::new(),
        };
        let origin = path.map_or("the configuration".into(), |path| path.display().to_string());
        let mut config = Self::from_text(&text, &origin, environment)?;
        config.find_files(path.and_then(Path::parent).unwrap_or(Path::new("")), &origin)?;
        Ok(config)
    }

    /// The same with a file's text at hand; `origin` is what errors call it. Relative paths stay as they are.
    pub fn from_text(
        text: &str,
        origin: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut table = parse(text, origin)?;
        let passed_over = environment::apply(&mut table, environment)?;
        let file: File = table.try_into().map_err(|error: toml::de::Error| ConfigError::Malformed {
            path: origin.into(),
            message: error.to_string(),
        })?;
        Ok(Self { passed_over, ..file.validate(origin)? })
    }

    /// Makes every path absolute, beginning in `directory`.
    fn find_files(&mut self, directory: &Path, origin: &str) -> Result<(), ConfigError> {
        let impossible = |key, problem: String| ConfigError::Impossible { origin: origin.into(), key, problem };
        let absolute = |key, path: &Path| {
            std::path::absolute(directory.join(path))
                .map_err(|error| impossible(key, format!("leads nowhere: {error}")))
        };
        let key = "[storage] database_path";
        check_name(&self.storage.path, self.storage.backend)
            .map_err(|error| impossible(key, format!("cannot be used: {error}")))?;
        let database = absolute(key, &self.storage.path)?;
        // Earlier versions began in the working directory: a store that lies there must not be passed over for a new one.
        let earlier = std::path::absolute(&self.storage.path).ok().filter(|earlier| *earlier != database);
        if let Some(earlier) = earlier.filter(|earlier| earlier.is_file() && !database.exists()) {
            return Err(impossible(
                key,
                format!(
                    "means {}, beside the configuration file, and nothing is there; but {} is. Write the full path of the \
                     one you mean",
                    database.display(),
                    earlier.display()
                ),
            ));
        }
        self.storage.path = database;
        if !self.logging.file.as_os_str().is_empty() {
            self.logging.file = absolute("[logging] file", &self.logging.file)?;
        }
        if self.logging.file == self.storage.path {
            return Err(impossible("[logging] file", "is the database; name another file".into()));
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        File::default().into_config()
    }
}

/// The text of a configuration file, without the mark that some editors put at its start.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    OpenFile::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than a mebibyte, so it is no configuration"));
    }
    Ok(text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text))
}

fn parse(text: &str, origin: &str) -> Result<toml::Table, ConfigError> {
    let malformed = |error: toml::de::Error| ConfigError::Malformed {
        path: origin.into(),
        message: error.to_string().trim().into(),
    };
    toml::from_str::<File>(text).map_err(malformed)?; // for messages with line numbers
    toml::from_str(text).map_err(malformed)
}

impl Limits {
    /// Key, rate and burst of each.
    fn rates(&self) -> [(&'static str, u32, u32); 4] {
        [
            ("[limits] changes", self.changes, self.changes_burst),
            ("[limits] reads", self.reads, self.reads_burst),
            ("[limits] log_ins", self.log_ins, self.log_ins_burst),
            ("[limits] failed_log_ins", self.failed_log_ins, self.failed_log_ins_burst),
        ]
    }
}

impl File {
    /// Every key with a value, the optional ones too.
    fn example() -> Self {
        let storage = Storage { database_path: Some(PathBuf::new()), ..Storage::default() };
        Self { storage, ..Self::default() }
    }

    fn validate(mut self, origin: &str) -> Result<Config, ConfigError> {
        let impossible = |key, problem: String| Err(ConfigError::Impossible { origin: origin.into(), key, problem });
        if self.server.name.trim().is_empty() {
            return impossible("[server] name", "is empty; give the community a name".into());
        }
        for (key, text) in [("[server] name", &self.server.name), ("[server] description", &self.server.description)] {
            if text.chars().any(char::is_control) {
                return impossible(key, format!("is {text:?}; control characters, such as line ends, are not allowed"));
            }
        }
        if self.storage.database_path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return impossible("[storage] database_path", "is empty; name a file, or leave the key out".into());
        }
        let cache = self.storage.redb.cache_mib;
        if !(1..=1024 * 1024).contains(&cache) {
            return impossible("[storage.redb] cache_mib", format!("is {cache}; allowed are 1 to 1048576"));
        }
        for (key, duration) in [
            ("[sessions] ttl", self.sessions.ttl),
            ("[sessions] sweep_interval", self.sessions.sweep_interval),
            ("[network] idle_timeout", self.network.idle_timeout),
            ("[network] write_timeout", self.network.write_timeout),
            ("[network] request_timeout", self.network.request_timeout),
            ("[gateway] heartbeat_interval", self.gateway.heartbeat_interval),
            ("[gateway] heartbeat_timeout", self.gateway.heartbeat_timeout),
        ] {
            if duration < Duration::from_secs(1) || duration > Duration::from_secs(100 * 366 * 24 * 3600) {
                let given = humantime::format_duration(duration);
                return impossible(key, format!("is {given}; allowed are 1s to 100 years"));
            }
        }
        let longest = Duration::from_secs(100 * 366 * 24 * 3600);
        if self.network.shutdown_grace > longest {
            let given = humantime::format_duration(self.network.shutdown_grace);
            return impossible("[network] shutdown_grace", format!("is {given}; allowed are 0s to 100 years"));
        }
        if let Some(metrics) = self.metrics.bind_address.filter(|it| checks::collide(self.network.bind_address, *it)) {
            let own = self.network.bind_address;
            return impossible(
                "[metrics] bind_address",
                format!("is {metrics}, which [network] bind_address {own} takes already; use another port"),
            );
        }
        match checks::log_filter(&self.logging.level) {
            Ok(filter) => self.logging.level = filter,
            Err(problem) => return impossible("[logging] level", problem),
        }
        let log_size = self.logging.max_size_mib;
        if !(1..=1024 * 1024).contains(&log_size) {
            return impossible("[logging] max_size_mib", format!("is {log_size}; allowed are 1 to 1048576"));
        }
        let address = &self.network.public_address;
        if address.len() > MAX_ADDRESS_BYTES || !address.chars().all(|character| character.is_ascii_graphic()) {
            let allowed = format!("at most {MAX_ADDRESS_BYTES} ASCII characters without spaces");
            return impossible(
                "[network] public_address",
                format!("is {address:?}; it is what clients dial, such as `https://chat.example`: {allowed}"),
            );
        }
        if self.network.max_connections == 0 {
            return impossible("[network] max_connections", "is 0; at least 1 is needed to serve anybody".into());
        }
        for (key, count) in [
            ("[network] max_connections_per_address", self.network.max_connections_per_address),
            ("[gateway] max_sockets_per_user", self.gateway.max_sockets_per_user),
        ] {
            if count == 0 {
                return impossible(key, "is 0; at least 1 is needed to serve anybody".into());
            }
        }
        let in_flight = self.network.in_flight_mib;
        if !(8..=1024 * 1024).contains(&in_flight) {
            return impossible("[network] in_flight_mib", format!("is {in_flight}; allowed are 8 to 1048576"));
        }
        for (key, rate, burst) in self.limits.rates() {
            if rate > 0 && burst == 0 {
                return impossible(key, "has a burst of 0, which lets nobody in; 0 as the rate switches it off".into());
            }
        }
        let longest = MAX_CONTENT_BYTES / MAX_CHARACTER_BYTES;
        if !(1..=longest).contains(&self.content.max_message_length) {
            let given = self.content.max_message_length;
            return impossible("[content] max_message_length", format!("is {given}; allowed are 1 to {longest}"));
        }
        for (key, keys) in
            [("[membership] admins", &self.membership.admins), ("[membership] allowed", &self.membership.allowed)]
        {
            if let Some(bad) = keys.iter().find(|key| public_key(key).is_none()) {
                return impossible(
                    key,
                    format!("has {bad:?}, which is no public key: base58 of an Ed25519 key's 32 bytes"),
                );
            }
        }
        for listed in &self.network.allowed_origins {
            if let Err(problem) = checks::origin(listed) {
                return impossible("[network] allowed_origins", format!("has {listed:?}: {problem}"));
            }
        }
        Ok(self.into_config())
    }

    fn into_config(self) -> Config {
        let Self { server, network, storage, sessions, membership, content, gateway, limits, metrics, logging } = self;
        let path = storage.database_path.unwrap_or_else(|| format!("data/decentcom.{}", storage.backend.name()).into());
        let Redb { cache_mib, quick_repair, inspection_socket } = storage.redb;
        let redb = RedbOptions { cache_bytes: cache_mib * MIB, quick_repair, inspection_socket };
        let storage = StorageOptions { backend: storage.backend, path, redb, min_free: storage.min_free };
        let passed_over = Vec::new();
        Config {
            server,
            network,
            storage,
            sessions,
            membership,
            content,
            gateway,
            limits,
            metrics,
            logging,
            passed_over,
        }
    }
}

/// What the server logs at its start: everything an operator may have got wrong, and no secret.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "name {:?}, listening on {}, {} database {}, sessions last {}, membership {:?} with {} admins, messages up to {} characters",
            self.server.name,
            self.network.bind_address,
            self.storage.backend.name(),
            self.storage.path.display(),
            humantime::format_duration(self.sessions.ttl),
            self.membership.mode,
            self.membership.admins.len(),
            self.content.max_message_length,
        )
    }
}

/// An address, or nothing written as an empty text.
mod optional_address {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(address: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        let invalid = || D::Error::custom(format!("`{text}` is not an IP address and port such as `127.0.0.1:9100`"));
        text.parse().map(Some).map_err(|_| invalid())
    }
}

/// Addresses and networks, such as `10.0.0.1` or `10.0.0.0/8`.
mod networks {
    use std::net::IpAddr;

    use ipnet::IpNet;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(networks: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(networks.iter().map(IpNet::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
        let parse = |text: String| {
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            let invalid = |_| format!("`{text}` is neither an IP address nor a network such as `10.0.0.0/8`");
            network.map_err(|error| D::Error::custom(invalid(error)))
        };
        Vec::<String>::deserialize(deserializer)?.into_iter().map(parse).collect()
    }
}

/// MiB, or "auto".
mod min_free {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    use super::{MIB, MinFree};

    /// A million MiB: more than any disk has to spare.
    const MOST_MIB: u64 = 1024 * 1024;

    pub(super) fn serialize<S: Serializer>(min_free: &MinFree, serializer: S) -> Result<S::Ok, S::Error> {
        match min_free {
            MinFree::Auto => serializer.serialize_str("auto"),
            MinFree::Bytes(bytes) => serializer.serialize_u64(bytes / MIB),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MinFree, D::Error> {
        deserializer.deserialize_any(Given)
    }

    struct Given;

    impl de::Visitor<'_> for Given {
        type Value = MinFree;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number of MiB from 0 to {MOST_MIB}, or \"auto\"")
        }

        fn visit_u64<E: de::Error>(self, mib: u64) -> Result<MinFree, E> {
            match mib {
                0..=MOST_MIB => Ok(MinFree::Bytes(mib * MIB)),
                _ => Err(E::invalid_value(de::Unexpected::Unsigned(mib), &self)),
            }
        }

        fn visit_i64<E: de::Error>(self, mib: i64) -> Result<MinFree, E> {
            let invalid = || E::invalid_value(de::Unexpected::Signed(mib), &self);
            u64::try_from(mib).map_err(|_| invalid()).and_then(|mib| self.visit_u64(mib))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<MinFree, E> {
            match text {
                "auto" => Ok(MinFree::Auto),
                _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
            }
        }
    }
}

/// Durations written like `24h`, `5m` or `1h 30m`.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map_err(|error| D::Error::custom(format!("`{text}` is not a duration such as `24h` or `5m`: {error}")))
    }
}

#[cfg(test)]
mod tests;
