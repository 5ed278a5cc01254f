//! Beyond what one answer, one page, one copy takes.

use std::process::Command;

use decentcom_server::storage::Backend;
use tokio::runtime::Runtime;

use crate::support::{BOTH, Place, close, ran, with_store};

/// Rows of which a page of the live socket, and one of `scan`'s own, take no more than a few: they are cut by bytes.
#[test]
fn a_running_store_shows_every_row_however_large_they_are() {
    const MESSAGES: usize = 40;
    for backend in BOTH {
        let place = Place::new(backend);
        let runtime = Runtime::new().unwrap();
        let (store, content) = runtime.block_on(place.fill());
        runtime.block_on(async {
            for number in 0..MESSAGES {
                let text = format!("{number} {}", "x".repeat(500_000));
                store.create_message(&content.attic.id.text(), &content.ann.id.text(), &text).await.unwrap();
            }
        });
        let all = MESSAGES + 5;
        for rest in [&[][..], &["--reverse"], &["--limit", "1000"]] {
            let said = place.run("scan", &[&["messages"], rest].concat());
            assert_eq!((said.code, said.out.lines().count()), (0, all), "{backend:?} {rest:?} {}", said.err);
        }
        assert_eq!(place.run("scan", &["messages", "--count"]).out, format!("{all}\n"));
        let found = place.run("scan", &["messages", "--search", "39 xxx", "--count"]);
        assert_eq!(found.out, "1\n", "{}", found.err);
        let stats = place.run("stats", &["--format", "json"]).json();
        let tables = stats[0]["tables"].as_array().unwrap();
        let messages = tables.iter().find(|table| table["name"] == "messages").unwrap();
        assert_eq!(messages["rows"], all);
        let dumped = place.run("dump", &[]);
        let lines = dumped.out.lines().filter(|line| line.contains(r#""table":"messages""#)).count();
        assert_eq!((dumped.code, lines), (0, all), "{backend:?} {}", dumped.err);
        close(&runtime, &store);
    }
}

/// A file that may not grow beyond a limit stands for a disk without room. Whoever asks for more is told so, or, where the
/// signal is not ignored, killed in the middle: like by a crash.
#[test]
fn a_copy_before_a_repair_is_whole_or_not_there() {
    for backend in BOTH {
        for is_killed in [false, true] {
            let (place, content) = Place::filled(backend);
            with_store(&place, async |store| {
                for _ in 0..8 {
                    store
                        .create_message(&content.hall.id.text(), &content.ann.id.text(), &"x".repeat(300_000))
                        .await
                        .unwrap();
                }
            });
            match backend {
                Backend::Redb => place.redb("users_by_pubkey", |it| drop(it.remove(&b"key of ann"[..]).unwrap())),
                Backend::Sqlite => place.sql_row_that_an_index_lacks(),
            }
            let before = std::fs::read(&place.path).unwrap();
            let trap = if is_killed { "" } else { "trap '' XFSZ; " };
            let script = format!("{trap}ulimit -c 0; ulimit -f 1024; exec \"$0\" \"$@\""); // in KiB
            let mut command = Command::new("bash");
            let program = env!("CARGO_BIN_EXE_dcstore");
            command.args(["-c", &script, program, "verify", &place.address(), "--repair", "--yes"]);
            let said = ran(command);
            assert_eq!(said.code, if is_killed { -1 } else { 6 }, "{backend:?} {}", said.err);
            let copies: Vec<_> =
                place.files().into_iter().filter(|(name, ..)| name.contains("before-repair")).collect();
            let names: Vec<_> = copies.iter().map(|(name, ..)| name.as_str()).collect();
            assert!(names.iter().all(|name| is_killed && name.contains(".partial")), "{backend:?} {names:?}");
            assert!(std::fs::read(&place.path).unwrap() == before, "nothing is repaired without a copy");
            // With room again the copy is what it should be, and what a killed one left is gone.
            let said = place.run("verify", &["--repair", "--yes"]);
            assert_eq!(said.code, 0, "{}{}", said.out, said.err);
            let files = place.files();
            let name = "store.before-repair";
            assert!(files.iter().find(|(it, ..)| it == name).is_some_and(|(_, bytes, _)| *bytes == before));
            assert!(!files.iter().any(|(name, ..)| name.contains(".partial")));
        }
    }
}

/// Each repair keeps what it found, beside what the one before it kept.
#[test]
fn a_second_repair_keeps_a_second_copy() {
    for backend in BOTH {
        let (place, _) = Place::filled(backend);
        let mut kept = Vec::new();
        for number in 1..=3 {
            match backend {
                Backend::Redb => place.redb("users_by_pubkey", |index| {
                    drop(index.insert(format!("nobody {number}").as_bytes(), &[7; 16][..]).unwrap());
                }),
                Backend::Sqlite => place.sql("DELETE FROM meta WHERE name = 'high_water_id'"),
            }
            kept.push(std::fs::read(&place.path).unwrap());
            assert_eq!(place.run("verify", &["--repair", "--yes"]).code, 0, "{backend:?} {number}");
        }
        for (bytes, name) in kept.iter().zip(["store.before-repair", "store.before-repair-2", "store.before-repair-3"])
        {
            assert!(std::fs::read(place.path.with_file_name(name)).unwrap() == *bytes, "{backend:?} {name}");
        }
    }
}
