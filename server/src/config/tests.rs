//! What configurations mean and which are refused.

use std::io::Write as _;

use super::*;

const EXAMPLE: &str = include_str!("../../../decentcom.example.toml");

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Config::load(Some(file.path()), environment)
}

#[test]
fn every_value_of_the_example_is_the_default() {
    assert_eq!(toml::from_str::<File>(EXAMPLE).unwrap().into_config(), Config::default());
}

#[test]
fn the_example_shows_every_key() {
    let example: toml::Table = toml::from_str(EXAMPLE).unwrap();
    let mut all = toml::Table::try_from(File::default()).unwrap();
    let storage = all.get_mut("storage").unwrap().as_table_mut().unwrap();
    storage.insert("database_path".into(), "".into());
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
fn an_empty_file_is_the_default() {
    assert_eq!(load("", &[]).unwrap(), Config::default());
}

#[test]
fn the_path_follows_the_backend_unless_it_is_given() {
    assert_eq!(load("[storage]\nbackend = 'redb'", &[]).unwrap().storage.path, Path::new("data/decentcom.redb"));
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
        ("[network]\nmax_connections = 0", &[], "[network] max_connections is 0; at least 1"),
        ("[network]\nidle_timeout = '1ms'", &[], "[network] idle_timeout is 1ms; allowed are 1s to 100 years"),
        ("[network]\nwrite_timeout = '0s'", &[], "[network] write_timeout is 0s"),
        ("[network]\nallowed_origins = ['http://a/b']", &[], "`http://a/b`"),
        ("[network]\nmax_connections_per_address = 0", &[], "[network] max_connections_per_address is 0; at least 1"),
        ("[network]\ntrusted_proxies = ['10.0.0.0/33']", &[], "`10.0.0.0/33` is neither an IP address nor a network"),
        ("[network]\ntrusted_proxies = ['proxy']", &[], "line 2"),
        ("[network]\nin_flight_mib = 7", &[], "[network] in_flight_mib is 7; allowed are 8 to 1048576"),
        ("[gateway]\nmax_sockets_per_user = 0", &[], "[gateway] max_sockets_per_user is 0; at least 1"),
        ("[limits]\nchanges_burst = 0", &[], "[limits] changes has a burst of 0"),
        ("[limits]\nreads = -1", &[], "line 2"),
        ("[membership]\nadmins = ['bob']", &[], "`bob`"),
        ("[metrics]\nbind_address = '9100'", &[], "not an IP address and port such as"),
        ("[server]\nname = ' '", &[], "[server] name is empty"),
        ("[storage]\ndatabase_path = ''", &[], "[storage] database_path is empty"),
        (
            "",
            &[("DECENTCOM_STORAGE__BACKEND", "mysql")],
            "environment variable DECENTCOM_STORAGE__BACKEND: unknown variant `mysql`",
        ),
        ("", &[("DECENTCOM_STORAGE__NOPE", "1")], "environment variable DECENTCOM_STORAGE__NOPE: unknown field"),
        ("", &[("DECENTCOM_BACKEND", "redb")], "DECENTCOM_<SECTION>__<KEY>"),
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
