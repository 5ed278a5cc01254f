//! The configuration as the program meets it: its environment, and the directory it is started in.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _};

use rustix::process::Signal;

use super::outcome;
use crate::support::{Server, program};

#[test]
fn a_check_refuses_what_a_start_would_and_names_it() {
    let directory = tempfile::tempdir().unwrap();
    for (config, expected) in [
        ("[logging]\nlevel = 'warning'", "[logging] level has `warning`"),
        ("[membership]\nadmins = ['bob']", "[membership] admins has \"bob\""),
        ("[network]\nallowed_origins = ['chat.example']", "[network] allowed_origins has \"chat.example\""),
        (
            "[network]\nbind_address = '0.0.0.0:8080'\n[metrics]\nbind_address = '127.0.0.1:8080'",
            "[metrics] bind_address",
        ),
    ] {
        fs::write(directory.path().join("decentcom.toml"), config).unwrap();
        for arguments in [&["--check-config"][..], &[]] {
            let (code, said) = outcome(program(directory.path()).args(arguments));
            assert_eq!(code, Some(2), "{said}");
            assert!(said.contains(expected) && said.contains("decentcom.toml"), "{said}");
        }
    }
}

#[test]
fn a_variable_that_is_not_utf8_is_refused_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = program(directory.path());
    command.arg("--check-config").env("DECENTCOM_SERVER__NAME", OsStr::from_bytes(b"caf\xE9"));
    let (code, said) = outcome(&mut command);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("DECENTCOM_SERVER__NAME") && said.contains("UTF-8"), "{said}");
}

#[test]
fn a_service_called_like_this_program_stops_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [
        ("DECENTCOM_SERVICE_HOST", "10.0.0.1"),
        ("DECENTCOM_PORT", "tcp://10.0.0.1:80"),
        ("DECENTCOM_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("DECENTCOM_METRICS_SERVICE_PORT", "9100"),
    ];
    let server = Server::start_with(directory.path(), "redb", &variables);
    let log = server.log();
    assert!(log.contains("DECENTCOM_PORT_8080_TCP_ADDR") && log.contains("set nothing"), "{log}");
}

#[test]
fn a_relative_path_means_the_same_wherever_the_server_is_started() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = home.path().join("decentcom.toml");
    fs::write(&file, "[storage]\ndatabase_path = 'here/store'").unwrap();
    let store = home.path().join("here/store");
    for start in [elsewhere.path(), home.path()] {
        let mut command = program(start);
        command.arg("--config").arg(&file);
        let server = Server::start_command(command, "redb", &[]);
        assert!(server.log().contains(&store.display().to_string()), "{}", server.log());
        server.signal(Signal::TERM);
        server.wait();
        assert!(store.is_file());
    }
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);

    // Where earlier versions would have looked, a store is not passed over for a new one.
    fs::write(&file, "[storage]\ndatabase_path = 'other'").unwrap();
    fs::write(elsewhere.path().join("other"), "a store").unwrap();
    let (code, said) = outcome(program(elsewhere.path()).arg("--check-config").arg("--config").arg(&file));
    assert_eq!(code, Some(2), "{said}");
    for path in [home.path().join("other"), elsewhere.path().join("other")] {
        assert!(said.contains(&path.display().to_string()), "{said}");
    }
}
