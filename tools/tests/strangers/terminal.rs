//! Nothing that a terminal would act on comes out, from wherever it came in.

use std::path::Path;

use decentcom_server::storage::Backend;

use crate::support::*;

for_each_backend! {
    nothing_that_acts_comes_out_of_any_command_in_any_format
}

/// Clears the screen, turns red, goes back in the line, turns the direction round, in all the ways there are.
const NASTY: &str = "\u{1b}[2J\u{9b}31m\u{8}\r\u{7f}\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}\u{206a}\ttail";

fn acts(character: char) -> bool {
    (character.is_control() && character != '\n')
        || "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}".contains(character)
        || ('\u{202a}'..='\u{202e}').contains(&character)
        || ('\u{2066}'..='\u{206f}').contains(&character)
}

fn assert_harmless(text: &str, what: &str) {
    assert!(!text.contains(acts), "{what}: {text:?}");
}

/// A store with something nasty in every text; labels of that kind were taken before there were rules for them.
fn nasty_store(backend: Backend, path: &Path) {
    write_as_older_versions_did(backend, path, [&NASTY.to_owned()].into_iter());
    runtime().block_on(async {
        let store = opened(backend, path).await;
        let user = store.get_user_by_pubkey(NASTY).await.unwrap().unwrap();
        store.update_user(&user.id.text(), None, Some(NASTY)).await.unwrap();
        let channel = store.list_channels().await.unwrap().remove(0);
        store.create_message(&channel.id.text(), &user.id.text(), &format!("phrase {NASTY}")).await.unwrap();
        store.create_session(&user.id.text(), std::time::Duration::from_secs(60)).await.unwrap();
        close(&store).await;
    });
}

fn nothing_that_acts_comes_out_of_any_command_in_any_format(backend: Backend) {
    let place = Place::new();
    let name = format!("store {}\nok", NASTY.replace('/', ""));
    nasty_store(backend, &place.path(&name));
    let (store, other) = (place.store(backend, &name), place.store(backend, "other"));
    secret_store(backend, &place.path("other"));
    let damaged = place.store(backend, "damaged");
    std::fs::copy(place.path(&name), place.path("damaged")).unwrap();
    let message = ids(&expect(0, &["dump", &store]).out, "messages").remove(0);
    tamper(backend, &place.path("damaged"), Some(&message), None);
    if backend == Backend::Sqlite {
        use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
        runtime().block_on(async {
            let mut connection = SqliteConnectOptions::new().filename(place.path("damaged")).connect().await.unwrap();
            let trigger = format!("CREATE TRIGGER \"{NASTY}\" AFTER INSERT ON users BEGIN SELECT 1; END");
            sqlx::raw_sql(AssertSqlSafe(trigger)).execute(&mut connection).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(format!("UPDATE users SET created_at = '{NASTY}'")))
                .execute(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
        });
        nobody_is_starting();
    }

    let mut calls: Vec<Vec<&str>> = Vec::new();
    for store in [&store, &damaged] {
        for rest in [
            &["info"][..],
            &["stats"],
            &["verify"],
            &["verify", "--repair"],
            &["scan", "users"],
            &["scan", "channels"],
            &["scan", "messages"],
            &["scan", "messages", "--search", "PHRASE"],
            &["scan", "messages", "--raw"],
            &["scan", "categories"],
            &["get", "messages", &message],
            &["get", "messages", &message, "--raw"],
        ] {
            for format in ["text", "json"] {
                calls.push([&[rest[0], store], &rest[1..], &["--format", format]].concat());
            }
        }
        for format in ["ndjson", "json", "table"] {
            calls.push(vec!["dump", store, "--include-sessions", "--skip-damaged", "--format", format]);
        }
        for table in ["users", "channels", "categories", "messages"] {
            calls.push(vec!["dump", store, "--skip-damaged", "--format", "csv", "--only", table]);
            calls.push(vec!["dump", store, "--skip-damaged", "--format", "csv", "--raw-formulas", "--only", table]);
        }
    }
    for format in ["text", "json"] {
        calls.push(vec!["checksum", &store, "--format", format]);
        calls.push(vec!["diff", &store, &other, "--format", format]);
        calls.push(vec!["diff", &other, &store, "--format", format]);
    }
    let copy = place.store(backend, &format!("copy {NASTY}"));
    calls.push(vec!["copy", &store, &copy]);
    calls.push(vec!["copy", &store, &copy]);
    calls.push(vec!["compact", &copy]);
    // What is refused.
    let nowhere = place.store(backend, &format!("nowhere {NASTY}\ndcstore: all is well"));
    let dump = place.text(&format!("dump {NASTY}"));
    calls.extend([
        vec!["info", &nowhere],
        vec!["info", NASTY],
        vec![NASTY],
        vec!["scan", &store, NASTY],
        vec!["scan", &store, "messages", "--channel", "\u{202e}no such"],
        vec!["scan", &store, "messages", "--author", NASTY],
        vec!["scan", &store, "messages", "--since", NASTY],
        vec!["scan", &store, "messages", "--tz", NASTY],
        vec!["scan", &store, "messages", "--prefix", NASTY],
        vec!["get", &store, "messages", NASTY],
        vec!["dump", &store, "--only", NASTY],
        vec!["dump", &store, "-o", &dump],
        vec!["dump", &store, "-o", &dump],
        vec!["load", &store, &dump],
        vec!["load", &store, &nowhere],
        vec!["copy", &other, &store],
    ]);
    for call in calls {
        let said = dcstore(&call);
        assert_ne!(said.code, 101, "{call:?} {}", said.err);
        assert_harmless(&said.out, &format!("{call:?}"));
        assert_harmless(&said.err, &format!("{call:?}"));
        assert!(!said.err.contains("\ndcstore: all is well"), "{}", said.err);
    }
    // It is all still there for whoever reads the JSON, in a file too.
    let written = std::fs::read_to_string(place.path(&format!("dump {NASTY}"))).unwrap();
    assert_harmless(&written, "the dump");
    let lines: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["content"] == format!("phrase {NASTY}")));
    assert!(lines.iter().any(|line| line["topic"] == NASTY));
}

#[test]
fn a_spreadsheet_runs_nothing_of_a_dump_unless_told_to() {
    let place = Place::new();
    let formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =HYPERLINK(\"x\")", "\n=1"];
    let harmless = ["a=b", "1+1", "two\nlines", "'=1"];
    runtime().block_on(async {
        let store = opened(Backend::Sqlite, &place.path("store")).await;
        let user = store.create_user("key", None).await.unwrap();
        let channel = store.create_channel("room", None, -3).await.unwrap();
        for text in formulas.iter().chain(&harmless) {
            store.create_message(&channel.id.text(), &user.id.text(), text).await.unwrap();
        }
        close(&store).await;
    });
    let store = place.store(Backend::Sqlite, "store");
    let column = |table: &str, at: usize, rest: &[&str]| -> Vec<String> {
        let csv = expect(0, &[&["dump", &store, "--format", "csv", "--only", table], rest].concat()).out;
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        reader.records().map(|row| row.unwrap()[at].to_owned()).collect()
    };
    let cells = column("messages", 3, &[]);
    assert_eq!(cells[0], "'=1+1");
    assert!(cells[..formulas.len()].iter().all(|cell| cell.starts_with('\'')), "{cells:?}");
    assert_eq!(cells[formulas.len()..], harmless);
    let raw = column("messages", 3, &["--raw-formulas"]);
    assert_eq!((raw[0].as_str(), raw[7].as_str()), ("=1+1", "\n=1"));
    assert_eq!(column("channels", 4, &[]), ["-3"]); // a number
}
