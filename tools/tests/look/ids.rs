//! Ids that ran ahead, and the way back; and what the program makes of clocks and configurations.

use std::{fs, path::Path, process::Command, sync::Arc};

use decentcom_server::storage::{self, ManualClock, Storage};
use tokio::runtime::Runtime;

use crate::support::{BOTH, Place, close, dcstore, time};

/// Uses the store at another time.
fn at<T>(place: &Place, when: &str, work: impl AsyncFnOnce(&dyn Storage) -> T) -> T {
    let runtime = Runtime::new().unwrap();
    let clock = Arc::new(ManualClock::at(time(when)));
    let store = runtime.block_on(async { storage::open(&place.options(), clock).await }).unwrap();
    let result = runtime.block_on(work(&*store));
    close(&runtime, &store);
    result
}

#[test]
fn ids_that_no_row_has_are_taken_back_once_the_operator_says_so() {
    for backend in BOTH {
        let (place, content) = Place::filled(backend);
        at(&place, "2031-01-01T00:00:00.000Z", async |store| {
            let category = store.create_category("gone", 0).await.unwrap();
            store.delete_category(&category.id.text()).await.unwrap();
        });
        let said = place.run("ids", &[]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.contains("of 2031-01-01") && said.out.contains("of 2024-06-"), "{}", said.out);

        let before = place.files();
        let said = place.run("ids", &["--lower"]);
        assert_eq!(said.code, 1, "{}", said.err);
        assert!(said.out.contains("--yes would") && said.out.contains("given out again"), "{}", said.out);
        assert_eq!(place.files(), before, "nothing was changed");
        assert_eq!(place.run("ids", &["--yes"]).code, 2);

        let said = place.run("ids", &["--lower", "--yes"]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.contains("Lowered: new ids follow"), "{}", said.out);
        let made = at(&place, "2024-07-01T00:00:00.000Z", async |store| {
            store.create_message(&content.hall.id.text(), &content.ann.id.text(), "in time").await.unwrap()
        });
        assert_eq!(made.created_at, time("2024-07-01T00:00:00.000Z"));
        assert_eq!(place.run("verify", &[]).code, 0);
        assert!(place.run("ids", &["--lower", "--yes"]).out.contains("Nothing to lower"));
    }
}

#[test]
fn an_id_that_a_row_has_stays_that_of_a_deleted_message_too() {
    for backend in BOTH {
        let (place, content) = Place::filled(backend);
        let message = at(&place, "9000-01-01T00:00:00.000Z", async |store| {
            let message = store.create_message(&content.hall.id.text(), &content.ann.id.text(), "ahead").await.unwrap();
            store.delete_message(&message.id.text()).await.unwrap();
            message
        });
        let said = place.run("ids", &["--lower", "--yes"]);
        assert_eq!(said.code, 0, "{}", said.err);
        let told = said.out.contains("Nothing to lower") && said.out.contains("ahead of this computer's clock");
        assert!(told && said.out.contains(&message.id.to_string()), "{}", said.out);
    }
}

#[test]
fn ids_of_a_store_in_use_are_left_alone() {
    for backend in BOTH {
        let place = Place::new(backend);
        let runtime = Runtime::new().unwrap();
        let (store, _) = runtime.block_on(place.fill());
        let said = place.run("ids", &["--lower", "--yes"]);
        assert_eq!(said.code, 3, "{}{}", said.out, said.err);
        close(&runtime, &store);
    }
}

#[test]
fn a_configuration_means_the_same_store_wherever_the_program_is_started() {
    for backend in BOTH {
        let (place, _) = Place::filled(backend);
        let file = place.path.with_file_name("decentcom.toml");
        fs::write(&file, format!("[storage]\nbackend = '{}'\ndatabase_path = 'store'", backend.name())).unwrap();
        let said = dcstore(&["info", "--config", file.to_str().unwrap()]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.contains(&place.address()), "{}", said.out);
    }
}

#[test]
fn a_clock_before_1970_is_an_error_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let (library, offset) = (directory.path().join("time.so"), directory.path().join("offset"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/preload/time.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(compiled.unwrap().success());
    fs::write(&offset, (-3_000_000_000_i64).to_ne_bytes()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dcstore"));
    let (place, _) = Place::filled(BOTH[0]);
    command.args(["info", &place.address()]).env("LD_PRELOAD", &library).env("TIME_OFFSET", &offset);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("before 1970") && !said.contains("bug"), "{said}");
}
