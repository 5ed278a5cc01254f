//! Starting and stopping the built program: the good order of it, and every bad input an operator may give.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

mod support;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::json;
use support::{Server, program};

/// Runs the program to its end with `config` as its configuration; answers the exit code and what it said.
fn refused(directory: &Path, config: &str) -> (i32, String) {
    fs::write(directory.join("decentcom.toml"), config).unwrap();
    outcome(&mut program(directory))
}

fn outcome(command: &mut Command) -> (i32, String) {
    let mut child = command.spawn().unwrap();
    let status = support::wait_for(&mut child);
    let mut said = String::new();
    use std::io::Read;
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    (status.code().unwrap(), said)
}

/// Everything below `directory`, to show that nothing was created or changed.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            found.extend(contents(&path));
        } else if path.file_name().unwrap() != "decentcom.toml" {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

const ANY_PORT: &str = "[network]\nbind_address = '127.0.0.1:0'\n";

#[test]
fn configurations_that_cannot_work_are_refused_with_file_key_and_remedy() {
    for (config, expected) in [
        ("[server", &["decentcom.toml", "line 1"][..]),
        ("[storage]\nbackned = 'redb'", &["decentcom.toml", "line 2", "backned", "backend"]),
        ("[storage]\nbackend = 'oracle'", &["decentcom.toml", "oracle", "sqlite", "redb"]),
        ("[content]\nmax_message_length = 0", &["decentcom.toml", "[content] max_message_length", "1 to 262144"]),
        ("[logging]\nlevel = 'much=too=much'", &["[logging] level", "much=too=much"]),
        ("[network]\nbind_address = '127.0.0.1:99999'", &["decentcom.toml", "line 2"]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (code, said) = refused(directory.path(), config);
        assert_eq!(code, 2, "{said}");
        for word in expected {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        assert_eq!(contents(directory.path()), []);
    }
}

#[test]
fn a_configuration_that_is_named_but_missing_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (code, said) = outcome(program(directory.path()).args(["--config", "nowhere.toml"]));
    assert_eq!(code, 2);
    assert!(said.contains("nowhere.toml") && said.contains("--config"), "{said}");
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_created() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = refused(directory.path(), &format!("[network]\nbind_address = '{address}'"));
    assert_eq!(code, 1);
    assert!(said.contains(&address) && said.contains("bind_address"), "{said}");
    assert_eq!(contents(directory.path()), []);
}

#[test]
fn a_path_that_is_no_database_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    fs::create_dir(place.join("folder")).unwrap();
    fs::write(place.join("text"), "This is a letter, not a database.").unwrap();
    fs::write(place.join("redb"), b"redb\x1A\x0A\xA9\x0D\x0A and so on").unwrap();
    fs::write(place.join("in-the-way"), "a file").unwrap();
    fs::write(place.join("damaged"), [&b"SQLite format 3\0"[..], &[0xAB; 5000]].concat()).unwrap();
    let before = contents(place);
    for (path, expected) in [
        ("folder", &["folder", "is a directory", "database_path"][..]),
        ("text", &["text", "not an SQLite database", "database_path"]),
        ("redb", &["redb", "not an SQLite database", "backend = \"redb\""]),
        ("in-the-way/below/db", &["in-the-way", "database_path"]),
    ] {
        let (code, said) = refused(place, &format!("{ANY_PORT}[storage]\ndatabase_path = '{path}'"));
        assert_eq!(code, 1, "{said}");
        for word in expected {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        assert!(!contents(place).iter().any(|(path, _)| path.ends_with("below")));
    }
    assert_eq!(contents(place), before);

    let (code, said) = refused(place, &format!("{ANY_PORT}[storage]\ndatabase_path = 'damaged'"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("damaged") && said.contains("backup"), "{said}");
}

#[test]
fn a_database_of_another_program_or_a_newer_version_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let sql = |file: &str, statements: &str| {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(place.join(file)).create_if_missing(true);
        let statements = sqlx::AssertSqlSafe(statements.to_owned());
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            use sqlx::{ConnectOptions, Connection};
            let mut connection = options.connect().await.unwrap();
            sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    };
    sql("foreign", "CREATE TABLE accounts (id INTEGER)");
    let server = Server::start_with(place, "sqlite", &[("DECENTCOM_STORAGE__DATABASE_PATH", "newer")]);
    server.signal(Signal::TERM);
    server.wait();
    sql("newer", "INSERT INTO _sqlx_migrations VALUES (999, 'from the future', '2030-01-01', 1, x'00', 1)");

    for (path, expected) in [
        ("foreign", &["foreign", "accounts", "database_path"][..]),
        ("newer", &["newer", "migration 999", "newer version"]),
    ] {
        let before = fs::read(place.join(path)).unwrap();
        let (code, said) = refused(place, &format!("{ANY_PORT}[storage]\ndatabase_path = '{path}'"));
        assert_eq!(code, 1, "{said}");
        for word in expected {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        assert_eq!(fs::read(place.join(path)).unwrap(), before);
    }
}

/// As root every file can be written, so the rights are taken away by another user.
#[test]
fn a_directory_without_write_access_is_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("data")).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(directory.path().join("data"), fs::Permissions::from_mode(0o555)).unwrap();
    let binary = directory.path().join("program");
    fs::copy(env!("CARGO_BIN_EXE_decentcom-server"), &binary).unwrap();
    let mut command = Command::new(&binary);
    command.current_dir(directory.path()).env_clear().env("DECENTCOM_NETWORK__BIND_ADDRESS", "127.0.0.1:0");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(65534).gid(65534);
    }
    let (code, said) = outcome(&mut command);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("data") && said.contains("ermission"), "{said}");
    assert_eq!(contents(&directory.path().join("data")), []);
}

#[test]
fn checking_the_configuration_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (code, said) = outcome(program(directory.path()).arg("--check-config"));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("127.0.0.1:8080") && said.contains("data/decentcom.sqlite"), "{said}");
    assert_eq!(contents(directory.path()), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_starts_initialises_storage_and_health_answers() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), "sqlite");
    let health = reqwest::get(server.url("/health")).await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    assert_eq!(health.text().await.unwrap(), r#"{"status":"ok"}"#);
    let data = directory.path().join("data");
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let mut files: Vec<_> = contents(&data).into_iter().map(|(path, _)| path).collect();
    files.sort();
    assert_eq!(files.len(), 5, "database, log, its index, lock, reserve: {files:?}");
    for file in files {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_is_under_way_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), "sqlite");
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let posting: Vec<_> = (0..8)
        .map(|writer| {
            let (user, path) = (user.clone(), format!("/channels/{channel}/messages"));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let content = json!({ "content": format!("{writer} {number}") });
                    let sent = user.try_call(Method::POST, &path, content).await;
                    let Some((StatusCode::OK, message)) = sent else { break };
                    acknowledged.push(message["id"].as_str().unwrap().to_owned());
                }
                acknowledged
            })
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    server.signal(Signal::TERM);
    let (status, log) = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped: everything acknowledged is stored"), "{log}");

    let mut acknowledged = Vec::new();
    for writer in posting {
        acknowledged.extend(writer.await.unwrap());
    }
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    let server = Server::start(directory.path(), "sqlite");
    let history = server.log_in(1).await.history(&channel, 100).await;
    let stored: std::collections::HashSet<_> = history.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert!(acknowledged.iter().all(|id| stored.contains(id.as_str())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_stops_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), "sqlite");
    // A request that never finishes holds the first signal's good order up.
    let address = server.url("").trim_start_matches("http://").to_owned();
    let mut half = std::net::TcpStream::connect(address).unwrap();
    use std::io::Write;
    half.write_all(
        b"POST /api/v1/auth/verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    )
    .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    server.signal(Signal::INT);
    while !server.log().contains("stopping: no new connections") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    server.signal(Signal::INT);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(130), "{log}");
}

/// A damaged byte anywhere costs what it hit: the server says so, at the start or when asked, and ends in good order.
#[tokio::test]
async fn a_closed_redb_file_with_a_wrong_byte_is_an_error_with_a_remedy_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), "redb");
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    for _ in 0..20 {
        user.post(&channel, &"a long text ".repeat(100)).await;
    }
    server.signal(Signal::TERM);
    assert!(server.wait().0.success());
    let file = directory.path().join("data/decentcom.redb");
    let sound = fs::read(&file).unwrap();
    let pages = sound.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    let places: Vec<_> = [9, 12, 14, 20, 32, 64, 72, 96, 130, 192, 200, 256].into_iter().collect();
    let places: Vec<_> = places.into_iter().chain(pages.step_by(5).map(|(page, _)| page * 4096 + 4)).collect();
    for at in places {
        let mut damaged = sound.clone();
        damaged[at] ^= 0xFF;
        fs::write(&file, damaged).unwrap();
        let log = match Server::launch(program(directory.path()), "redb") {
            Err(log) => {
                assert!(log.contains("backup") || log.contains("Name another"), "byte {at}: no remedy:\n{log}");
                log
            }
            Ok(server) => {
                let user = user.at(&server);
                for path in ["/channels", "/members", &format!("/channels/{channel}/messages?limit=50")] {
                    user.try_call(Method::GET, path, json!({})).await.expect("an answer");
                }
                server.signal(Signal::TERM);
                let (status, log) = server.wait();
                assert!(matches!(status.code(), Some(0 | 1)), "byte {at}: {status}\n{log}");
                log
            }
        };
        assert!(!log.contains("panicked"), "byte {at}:\n{log}");
    }
}
