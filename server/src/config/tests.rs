//! What configurations mean and which are refused.

use std::io::Write as _;

use super::*;

const EXAMPLE: &str = include_str!("../../../decentcom.example.toml");

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    Config::load(Some(file.path()), environment)
}

#[test]
fn every_value_of_the_example_is_the_default() {
    assert_eq!(toml::from_str::<File>(EXAMPLE).unwrap().into_config(), Config::default());
}

#[test]
fn the_example_shows_every_key() {
    let example: toml::Table = toml::from_str(EXAMPLE).unwrap();
    let all = toml::Table::try_from(File::example()).unwrap();
    assert_has_keys(&example, &all, "");
}

fn assert_has_keys(example: &toml::Table, all: &toml::Table, within: &str) {
    for (key, value) in all {
        let shown = example.get(key).unwrap_or_else(|| panic!("{within} {key} is missing"));
        if let Some(inner) = value.as_table() {
            assert_has_keys(shown.as_table().unwrap(), inner, &format!("{within} {key}"));
        }
    }
}

#[test]
fn what_is_written_reads_back() {
    for min_free in [MinFree::Auto, MinFree::Bytes(0), MinFree::Bytes(7 * MIB)] {
        let file = File { storage: Storage { min_free, ..Storage::default() }, ..File::default() };
        let written = toml::to_string(&file).unwrap();
        assert_eq!(toml::from_str::<File>(&written).unwrap(), file, "{written}");
    }
}

#[test]
fn where_fewer_connections_can_be_open_each_address_gets_its_share_of_them() {
    let lowered = |max_connections, max_connections_per_address, most| {
        let mut network = Network { max_connections, max_connections_per_address, ..Network::default() };
        network.lower_connections_to(most);
        (network.max_connections, network.max_connections_per_address)
    };
    assert_eq!(lowered(1000, 300, 100), (100, 30));
    assert_eq!(lowered(1000, 300, 1000), (1000, 300));
    assert_eq!(lowered(1000, 300, 5000), (1000, 300));
    assert_eq!(lowered(1000, 5000, 100), (100, 100), "a share of more than all is all");
    assert_eq!(lowered(1000, 1, 100), (100, 1), "everybody gets one");
}

#[test]
fn an_empty_file_is_the_default() {
    let mut config = load("", &[]).unwrap();
    config.storage.path = Config::default().storage.path;
    assert_eq!(config, Config::default());
}

#[test]
fn the_path_follows_the_backend_unless_it_is_given() {
    let path = load("[storage]\nbackend = 'redb'", &[]).unwrap().storage.path;
    assert!(path.ends_with("data/decentcom.redb"), "{}", path.display());
    let given = load("[storage]\nbackend = 'redb'\ndatabase_path = '/x/y'", &[]).unwrap();
    assert_eq!(given.storage.path, Path::new("/x/y"));
}

#[test]
fn the_environment_overrides_the_file() {
    let config = load(
        "[content]\nmax_message_length = 1",
        &[
            ("DECENTCOM_CONTENT__MAX_MESSAGE_LENGTH", "2"),
            ("DECENTCOM_SERVER__NAME", "123"),
            ("DECENTCOM_STORAGE__BACKEND", "redb"),
            ("DECENTCOM_SESSIONS__TTL", "90m"),
            ("DECENTCOM_STORAGE__REDB__CACHE_MIB", "7"),
            ("DECENTCOM_NETWORK__ALLOWED_ORIGINS", "[\"http://a\", \"http://b:1\"]"),
            ("HOME", "/"),
        ],
    )
    .unwrap();
    assert_eq!(config.content.max_message_length, 2);
    assert_eq!(config.server.name, "123");
    assert_eq!(config.storage.backend, Backend::Redb);
    assert_eq!(config.storage.redb.cache_bytes, 7 * MIB);
    assert_eq!(config.sessions.ttl, Duration::from_secs(5400));
    assert_eq!(config.network.allowed_origins, ["http://a", "http://b:1"]);
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_what_is_allowed() {
    for (text, environment, expected) in [
        ("[server", &[][..], "line 1"),
        ("[storage]\nbackend = 'postgres'", &[], "`sqlite`"),
        ("[storage]\nbackend = 'postgres'", &[], "line 2"),
        ("[storage]\nbackened = 'redb'", &[], "unknown field `backened`"),
        ("[stroage]", &[], "unknown field `stroage`"),
        ("[content]\nmax_message_length = '4000'", &[], "invalid type"),
        ("[content]\nmax_message_length = -1", &[], "line 2"),
        ("[content]\nmax_message_length = 0", &[], "[content] max_message_length is 0; allowed are 1 to 262144"),
        ("[storage.redb]\ncache_mib = 0", &[], "[storage.redb] cache_mib is 0; allowed are 1 to 1048576"),
        ("[storage.redb]\ncache_size = 1", &[], "unknown field `cache_size`"),
        ("[sessions]\nttl = '0s'", &[], "[sessions] ttl"),
        ("[sessions]\nttl = '24'", &[], "not a duration such as"),
        ("[network]\nbind_address = 'localhost'", &[], "line 2"),
        ("[network]\npublic_address = 'https://chat example'", &[], "[network] public_address is"),
        ("[network]\npublic_address = 'https://chaté'", &[], "at most 100 ASCII characters"),
        ("[network]\nmax_connections = 0", &[], "[network] max_connections is 0; at least 1"),
        ("[network]\nidle_timeout = '1ms'", &[], "[network] idle_timeout is 1ms; allowed are 1s to 100 years"),
        ("[network]\nwrite_timeout = '0s'", &[], "[network] write_timeout is 0s"),
        ("[network]\nallowed_origins = ['http://a/b']", &[], "\"http://a/b\""),
        ("[membership]\nadmins = ['bob']", &[], "\"bob\""),
        ("[network]\nmax_connections_per_address = 0", &[], "[network] max_connections_per_address is 0; at least 1"),
        ("[network]\ntrusted_proxies = ['10.0.0.0/33']", &[], "`10.0.0.0/33` is neither an IP address nor a network"),
        ("[network]\ntrusted_proxies = ['proxy']", &[], "line 2"),
        ("[network]\nin_flight_mib = 7", &[], "[network] in_flight_mib is 7; allowed are 8 to 1048576"),
        ("[gateway]\nmax_sockets_per_user = 0", &[], "[gateway] max_sockets_per_user is 0; at least 1"),
        ("[limits]\nchanges_burst = 0", &[], "[limits] changes has a burst of 0"),
        ("[limits]\nreads = -1", &[], "line 2"),
        ("[metrics]\nbind_address = '9100'", &[], "not an IP address and port such as"),
        ("[server]\nname = ' '", &[], "[server] name is empty"),
        ("[storage]\ndatabase_path = ''", &[], "[storage] database_path is empty"),
        (
            "",
            &[("DECENTCOM_STORAGE__BACKEND", "mysql")],
            "environment variable DECENTCOM_STORAGE__BACKEND: unknown variant `mysql`",
        ),
        ("", &[("DECENTCOM_STORAGE__NOPE", "1")], "environment variable DECENTCOM_STORAGE__NOPE: unknown field"),
        ("", &[("DECENTCOM_STORAGE_BACKEND", "redb")], "DECENTCOM_STORAGE__BACKEND"),
        ("", &[("DECENTCOM_NETWORK_BIND_ADDRESS", "[::]:1")], "DECENTCOM_NETWORK__BIND_ADDRESS"),
        ("", &[("DECENTCOM_STORAGE__BACKEND", "redb"), ("DECENTCOM_Storage__Backend", "redb")], "sets the same key"),
        ("", &[("DECENTCOM_CHAT__PORT", "1")], "DECENTCOM_CHAT__PORT: unknown field `chat`"),
        ("[server]\nname = 'a\u{7}b'", &[], "line 2"),
        ("[server]\nname = \"a\\nb\"", &[], "[server] name is \"a\\nb\"; control characters"),
        ("[network]\nshutdown_grace = '200 years'", &[], "[network] shutdown_grace"),
        ("[network]\nshutdown_grace = '99999999999999999999 years'", &[], "is not a duration"),
        ("[network]\nidle_timeout = '-1s'", &[], "is not a duration"),
        ("[logging]\nmax_size_mib = 0", &[], "[logging] max_size_mib is 0; allowed are 1 to 1048576"),
        ("[logging]\nmax_size_mib = 99999999999999999999", &[], "line 2"),
        ("[server]\nname = 'a'\nname = 'b'", &[], "line 3"),
    ] {
        let error = load(text, environment).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?} gives: {error}");
    }
}

#[test]
fn trusted_proxies_are_addresses_or_networks() {
    let config = load("[network]\ntrusted_proxies = ['10.1.2.3', '::1', '10.0.0.0/8', 'fd00::/8']", &[]).unwrap();
    let written: Vec<_> = config.network.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(written, ["10.1.2.3/32", "::1/128", "10.0.0.0/8", "fd00::/8"]);
}

#[test]
fn a_rate_of_zero_needs_no_burst() {
    assert_eq!(load("[limits]\nchanges = 0\nchanges_burst = 0", &[]).unwrap().limits.changes, 0);
}

#[test]
fn a_named_file_must_exist() {
    let error = Config::load(Some(Path::new("/nowhere/x.toml")), []).unwrap_err().to_string();
    assert!(error.contains("/nowhere/x.toml") && error.contains("--config"), "{error}");
}

fn bytes_in_base58(bytes: &[u8]) -> String {
    bs58::encode(bytes).into_string()
}

#[test]
fn keys_that_nobody_can_have_are_refused_where_they_are_listed() {
    let sound = bytes_in_base58(ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes());
    let no_point = (0..).map(|first| [first; 32]).find(|bytes| ed25519_dalek::VerifyingKey::from_bytes(bytes).is_err());
    let small_order = [[1].as_slice(), &[0; 31]].concat();
    for list in ["admins", "allowed"] {
        let with = |key: &str| load(&format!("[membership]\n{list} = ['{sound}', '{key}']"), &[]);
        assert!(with(&sound).is_ok());
        for bad in [
            "",
            "bob",
            &sound[..30],
            &format!("{sound} "),
            &format!("1{sound}"),
            &bytes_in_base58(&[9; 31]),
            &bytes_in_base58(&[9; 33]),
            &"1".repeat(32),
            &"z".repeat(44),
            &bytes_in_base58(&no_point.unwrap()),
            &bytes_in_base58(&small_order),
        ] {
            let error = with(bad).expect_err(bad).to_string();
            assert!(error.contains(&format!("[membership] {list} has {bad:?}")) && error.contains("base58"), "{error}");
        }
    }
}

#[test]
fn origins_are_written_as_browsers_send_them() {
    let with = |origin: &str| load(&format!("[network]\nallowed_origins = ['{origin}']"), &[]);
    for sound in [
        "https://chat.example",
        "http://localhost:3000",
        "http://127.0.0.1:1",
        "http://[::1]:8080",
        "https://xn--bcher-kva.example",
        "tauri://localhost",
    ] {
        assert!(with(sound).is_ok(), "{:?}", with(sound));
    }
    for bad in [
        "",
        "*",
        "null",
        "chat.example",
        "//chat.example",
        "https://",
        "https:chat.example",
        "https://*.example",
        "https://chat.example/",
        "https://chat.example/path",
        "https://chat.example?x",
        "https://chat.example#x",
        "https://user@chat.example",
        "https://chat.example:443",
        "https://chat.example:0",
        "https://chat.example:65536",
        "https://chat.example:port",
        "https://Chat.example",
        "HTTPS://chat.example",
        "https://bücher.example",
        "https://chat .example",
        " https://chat.example",
        "https://chat.example, https://b.example",
        "ftp://chat.example",
        "file:///x",
        "data:x",
    ] {
        let error = with(bad).expect_err(bad).to_string();
        assert!(error.contains(&format!("[network] allowed_origins has {bad:?}")), "{error}");
    }
}

#[test]
fn a_level_that_is_none_is_refused_and_not_taken_for_a_target() {
    let with = |level: &str| load(&format!("[logging]\nlevel = '{level}'"), &[]);
    for (given, understood) in [
        ("warn", "warn"),
        ("DEBUG", "DEBUG"),
        ("off", "off"),
        ("info,tower_http=debug", "info,tower_http=debug"),
        (" info , sqlx::query = debug", "info,sqlx::query = debug"),
        ("error,[request]=trace", "error,[request]=trace"),
        ("error,decentcom_server[request{id=1}]=trace", "error,decentcom_server[request{id=1}]=trace"),
    ] {
        match with(given) {
            Ok(config) => assert_eq!(config.logging.level, understood),
            Err(error) => assert!(given.contains(" = "), "{given}: {error}"),
        }
    }
    for bad in [
        "",
        "warning",
        "information",
        "verbose",
        "0",
        "3",
        "info,",
        ",info",
        "info,warning",
        "tower_http",
        "info,tower_http",
        "tower_http=",
        "tower_http=loud",
        "tower_http=warning",
        "much=too=much",
        "[request]",
        "info debug",
        "info;debug",
    ] {
        let error = with(bad).expect_err(bad).to_string();
        assert!(error.contains("[logging] level has `"), "{bad}: {error}");
    }
}

#[test]
fn two_listeners_cannot_have_one_address() {
    let with = |own: &str, metrics: &str| {
        load(&format!("[network]\nbind_address = '{own}'\n[metrics]\nbind_address = '{metrics}'"), &[])
    };
    for (own, metrics) in [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("127.0.0.1:8080", "0.0.0.0:8080"),
        ("[::]:8080", "[::1]:8080"),
        ("[::]:8080", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "[::]:8080"),
        ("127.0.0.1:8080", "[::ffff:127.0.0.1]:8080"),
    ] {
        let error = with(own, metrics).unwrap_err().to_string();
        assert!(error.contains("[metrics] bind_address") && error.contains(own) && error.contains(metrics), "{error}");
    }
    for (own, metrics) in [
        ("127.0.0.1:8080", "127.0.0.1:9100"),
        ("127.0.0.1:8080", "127.0.0.2:8080"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("0.0.0.0:8080", "[::1]:8080"),
        ("127.0.0.1:8080", ""),
    ] {
        assert!(with(own, metrics).is_ok(), "{own} {metrics}");
    }
}

#[test]
fn variables_of_services_called_like_this_program_stop_nothing_and_are_named() {
    let variables = [
        ("DECENTCOM_SERVICE_HOST", "10.0.0.1"),
        ("DECENTCOM_SERVICE_PORT", "80"),
        ("DECENTCOM_SERVICE_PORT_HTTP", "80"),
        ("DECENTCOM_PORT", "tcp://10.0.0.1:80"),
        ("DECENTCOM_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("DECENTCOM_PORT_80_TCP_PROTO", "tcp"),
        ("DECENTCOM_PORT_80_TCP_PORT", "80"),
        ("DECENTCOM_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("DECENTCOM_METRICS_SERVICE_HOST", "10.0.0.1"),
        ("DECENTCOM_METRICS_PORT", "tcp://10.0.0.1:80"),
        ("DECENTCOM_METRICS_PORT_9100_TCP_ADDR", "10.0.0.1"),
        ("DECENTCOM_A__B_SERVICE_HOST", "10.0.0.1"), // of the service decentcom-a--b
        ("DECENTCOM_A__B_PORT_80_UDP", "udp://10.0.0.1:80"),
        ("DECENTCOM_VERSION", "1.2"),
        ("DECENTCOM_", ""),
    ];
    let config = load("", &variables).unwrap();
    assert_eq!(config.passed_over.len(), variables.len());
    assert_eq!(Config { passed_over: Vec::new(), ..config }, load("", &[]).unwrap());
}

#[test]
fn a_value_that_is_not_utf8_is_named_if_the_variable_is_ours() {
    use std::os::unix::ffi::OsStringExt as _;
    let with = |name: &[u8]| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("decentcom.toml");
        put(&file, b"");
        Config::load(Some(&file), [(OsString::from_vec(name.into()), OsString::from_vec(vec![b'a', 0xFF]))])
    };
    for name in [&b"DECENTCOM_SERVER__NAME"[..], b"DECENTCOM_SERVER__N\xFF"] {
        let error = with(name).unwrap_err().to_string();
        assert!(error.contains("DECENTCOM_SERVER__N") && error.contains("not UTF-8"), "{error}");
    }
    assert!(with(b"HOME").is_ok() && with(b"DECENTCOM_PORT").is_ok() && with(b"DECENTCOM\xFF").is_ok());
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn relative_paths_begin_where_the_file_lies() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("decentcom.toml");
    put(&file, b"\xEF\xBB\xBF[storage]\ndatabase_path = 'here/store'\n[logging]\nfile = 'log'\n");
    let config = Config::load(Some(&file), []).unwrap();
    assert_eq!(config.storage.path, directory.path().join("here/store"));
    assert_eq!(config.logging.file, directory.path().join("log"));
    put(&file, b"[storage]\ndatabase_path = 'x'\n[logging]\nfile = './x'\n");
    assert!(Config::load(Some(&file), []).unwrap_err().to_string().contains("[logging] file is the database"));
    put(&file, &vec![b'#'; 2 << 20]);
    assert!(Config::load(Some(&file), []).unwrap_err().to_string().contains("larger than a mebibyte"));
    for unreadable in [directory.path(), Path::new("/nowhere/x.toml"), Path::new("")] {
        let error = Config::load(Some(unreadable), []).unwrap_err().to_string();
        assert!(error.contains("cannot read the configuration") && error.contains("--config"), "{error}");
    }
}

#[test]
fn a_reload_takes_over_what_it_can_and_names_what_waits() {
    let mut old = Config::default();
    old.logging.file = "/var/log/x".into();
    assert_eq!(old.reloaded(&old), (old.clone(), Reloaded::default()));
    let mut found = old.clone();
    found.server.name = "new".into();
    found.content.max_message_length = 5;
    found.membership.admins.insert("key".into());
    found.logging.level = "debug".into();
    found.logging.format = LogFormat::Json;
    found.network.bind_address.set_port(1);
    found.network.allowed_origins = vec!["http://a".into()];
    found.storage.path = "elsewhere".into();
    found.storage.redb.cache_bytes = 1;
    let (running, reloaded) = old.reloaded(&found);
    assert_eq!(
        reloaded.applied,
        [
            "[content] max_message_length",
            "[logging] level",
            "[membership] admins",
            "[network] allowed_origins",
            "[server] name"
        ]
    );
    assert_eq!(
        reloaded.waiting,
        ["[logging] format", "[network] bind_address", "[storage] database_path", "[storage.redb] cache_mib"]
    );
    assert_eq!((running.server.name.as_str(), running.content.max_message_length), ("new", 5));
    assert_eq!((running.network.bind_address, &running.storage), (old.network.bind_address, &old.storage));
}
