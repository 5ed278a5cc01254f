//! Each option alone, with a filter, and with each other option; each check with one planted fault; each exit code.

use clap::Parser as _;
use dcstore::{Outcome, Session, cli::Cli, run};
use decentcom_server::storage::{Backend, MessageId};

use crate::support::{BOTH, Content, Place, dcstore, with_store};

/// Runs a command within this process, which is quicker; answers its exit code and its results.
fn quick(arguments: &[&str]) -> (i32, String) {
    let Ok(cli) = Cli::try_parse_from(["dcstore"].iter().chain(arguments)) else { return (2, String::new()) };
    let mut out = Vec::new();
    let code = match run(cli.command, &Session::silent(), &mut out) {
        Ok(Outcome::Fine) => 0,
        Ok(Outcome::Findings) => 1,
        Err(failure) => failure.code as i32,
    };
    (code, String::from_utf8(out).unwrap())
}

/// A message as the store has it, and whether an option shows it.
struct Message<'a> {
    id: MessageId,
    channel: &'a str,
    author: &'a str,
    day: u32,
    content: &'a str,
}

type Shows<'a> = Box<dyn Fn(&Message) -> bool + 'a>;

/// The options of `scan` that choose rows, and what they choose.
fn choices<'a>(content: &'a Content) -> Vec<(Vec<String>, Shows<'a>)> {
    let id = |at: usize| content.messages[at].id.to_string();
    let option = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
    vec![
        (vec![], Box::new(|_| true)),
        (option("--prefix", &id(1)), Box::new(|it| it.id == content.messages[1].id)),
        (option("--prefix", "01"), Box::new(|_| true)),
        (option("--from", &id(1)), Box::new(|it| it.id >= content.messages[1].id)),
        (option("--to", &id(3)), Box::new(|it| it.id < content.messages[3].id)),
        (option("--channel", "hall"), Box::new(|it| it.channel == "hall")),
        (option("--channel", &content.attic.id.text()), Box::new(|it| it.channel == "attic")),
        (option("--author", "key of ann"), Box::new(|it| it.author == "ann")),
        (option("--author", &content.ben.id.text()), Box::new(|it| it.author == "ben")),
        (option("--since", "2024-06-02T12:00:00Z"), Box::new(|it| it.day >= 2)),
        (option("--until", "2024-06-04"), Box::new(|it| it.day < 4)),
        // A letter that no id has.
        (option("--search", "U"), Box::new(|it| it.content.to_lowercase().contains('u'))),
    ]
}

#[test]
fn every_option_of_scan_goes_with_every_other() {
    for backend in BOTH {
        let (place, content) = Place::filled(backend);
        let address = place.address();
        let texts = ["breakfast", "an \u{1b}[2Jescape", "gone", "LUNCH"];
        let dust = quick(&["scan", &address, "messages", "--search", "dust", "--format", "json"]).1;
        let dust: serde_json::Value = serde_json::from_str(&dust).unwrap();
        let of_hall = texts.iter().enumerate().map(|(at, text)| Message {
            id: content.messages[at].id,
            channel: "hall",
            author: if at % 2 == 0 { "ann" } else { "ben" },
            day: 1 + u32::try_from(at).unwrap(),
            content: text,
        });
        let id = MessageId::parse(dust["id"].as_str().unwrap()).unwrap();
        let last = Message { id, channel: "attic", author: "ann", day: 5, content: "dust" };
        let all: Vec<_> = of_hall.chain([last]).collect();
        let choices = choices(&content);
        for (at, (one, shows_one)) in choices.iter().enumerate() {
            for (other, shows_other) in &choices[at..] {
                if one.first() == other.first() && one != other {
                    continue; // an option is given once
                }
                let options: Vec<&str> =
                    one.iter().chain(if one == other { &[][..] } else { other }).map(String::as_str).collect();
                let chosen = all.iter().filter(|it| shows_one(it) && shows_other(it));
                let mut expected: Vec<_> = chosen.map(|it| serde_json::Value::from(it.content)).collect();
                // Parts of what is chosen, for each option alone.
                let parts: &[(&[&str], usize, usize)] = &[
                    (&[], 0, 9),
                    (&["--skip", "1"], 1, 9),
                    (&["--limit", "2"], 0, 2),
                    (&["--skip", "1", "--limit", "1"], 1, 1),
                    (&["--limit", "0"], 0, 0),
                ];
                let parts = if one == other { parts } else { &parts[..1] };
                for reverse in [&[][..], &["--reverse"]] {
                    for (part, skip, limit) in parts {
                        let scan = ["scan", &address, "messages", "--format", "json"];
                        let call = [&scan, options.as_slice(), reverse, part].concat();
                        let (code, out) = quick(&call);
                        let content = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["content"].take();
                        let shown: Vec<_> = out.lines().map(content).collect();
                        let wanted: Vec<_> = expected.iter().skip(*skip).take(*limit).cloned().collect();
                        assert_eq!((code, &shown), (0, &wanted), "{call:?}");
                        if one == other {
                            let (code, out) = quick(&[call.as_slice(), &["--count"]].concat());
                            assert_eq!((code, out), (0, format!("{}\n", wanted.len())), "{call:?}");
                        }
                    }
                    expected.reverse();
                }
                if one == other {
                    let text = quick(&[&["scan", &address, "messages"], options.as_slice()].concat()).1;
                    let raw = ["scan", &address, "messages", "--raw", "--format", "json"];
                    let raw = quick(&[&raw, options.as_slice()].concat()).1;
                    assert_eq!((text.lines().count(), raw.lines().count()), (expected.len(), expected.len()));
                }
            }
        }
    }
}

#[test]
fn every_table_and_index_can_be_scanned_counted_and_turned_round() {
    for backend in BOTH {
        let (place, _) = Place::filled(backend);
        let address = place.address();
        let stats: serde_json::Value =
            serde_json::from_str(&quick(&["stats", &address, "--format", "json"]).1).unwrap();
        for table in stats["tables"].as_array().unwrap() {
            let (name, rows) = (table["name"].as_str().unwrap(), table["rows"].as_u64().unwrap());
            let scan = |rest: &[&str]| {
                let (code, out) = quick(&[&["scan", &address, name], rest].concat());
                assert_eq!(code, 0, "{name} {rest:?}");
                out.lines().map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(scan(&["--count"]), [rows.to_string()], "{name}");
            for format in [&[][..], &["--format", "json"], &["--raw", "--format", "json"]] {
                let mut lines = scan(format);
                assert_eq!(lines.len() as u64, rows, "{name} {format:?}");
                lines.reverse();
                assert_eq!(scan(&[format, &["--reverse"]].concat()), lines, "{name} {format:?}");
            }
        }
    }
}

/// What differs between two stores, how it is made, and in which table.
const DIFFERENCES: [(&str, &str); 13] = [
    ("users", "UPDATE users SET display_name = 'Anne' WHERE display_name = 'Ann'"),
    ("users", "UPDATE users SET display_name = NULL"),
    ("users", "UPDATE users SET updated_at = '2030-01-01T00:00:00.000Z' WHERE pubkey = 'key of ben'"),
    ("channels", "UPDATE channels SET position = 7 WHERE name = 'hall'"),
    ("channels", "UPDATE channels SET topic = 'x' WHERE name = 'hall'"),
    ("categories", "INSERT INTO categories VALUES ('01HK153X000000000000000000', 'c', 0, '2024-01-01T00:00:00.000Z')"),
    ("messages", "UPDATE messages SET content = 'supper' WHERE content = 'LUNCH'"),
    ("messages", "UPDATE messages SET deleted = 1 WHERE content = 'LUNCH'"),
    ("messages", "UPDATE messages SET edited_at = '2030-01-01T00:00:00.000Z' WHERE content = 'LUNCH'"),
    ("messages", "DELETE FROM messages WHERE content = 'dust'"),
    ("sessions", "UPDATE sessions SET expires_at = '2030-01-01T00:00:00.000Z'"),
    ("sessions", "DELETE FROM sessions"),
    ("meta", "UPDATE meta SET value = '01ZZZZZZZZZZZZZZZZZZZZZZZZ' WHERE name = 'high_water_id'"),
];

#[test]
fn two_stores_are_equal_only_if_no_value_differs_that_was_not_left_out() {
    let (place, _) = Place::filled(Backend::Sqlite);
    let whole = std::fs::read(&place.path).unwrap();
    let copy = format!("redb:{}", place.directory.path().join("copy").display());
    let address = place.address();
    assert_eq!(dcstore(&["copy", &address, &copy]).code, 0);
    for (table, change) in DIFFERENCES {
        std::fs::write(&place.path, &whole).unwrap();
        assert_eq!(quick(&["diff", &address, &copy]).0, 0);
        place.sql(change);
        for (one, other) in [(&address, &copy), (&copy, &address)] {
            for format in ["text", "json"] {
                let diff = |rest: &[&str]| quick(&[&["diff", one, other, "--format", format], rest].concat());
                let (code, out) = diff(&[]);
                assert!(code == 1 && out.contains(table), "{change}: {code} {out}");
                let (code, out) = diff(&["--exclude", table]);
                assert_eq!(code, 0, "{change}: {out}");
                assert_eq!(out.is_empty(), format == "json", "{out}");
                assert_eq!(
                    diff(&["--exclude", "users,channels,categories", "--exclude", "messages,sessions,meta"]).0,
                    0
                );
                for another in ["users", "channels", "categories", "messages", "sessions", "meta"] {
                    if another != table {
                        assert_eq!(diff(&["--exclude", another]).0, 1, "{change} without {another}");
                    }
                }
            }
        }
    }
    let nothing = Place::new(Backend::Sqlite);
    with_store(&nothing, async |_| {});
    for (one, other) in [(&nothing.address(), &copy), (&copy, &nothing.address())] {
        let (code, out) = quick(&["diff", one, other]);
        let found = format!("meta high_water_id is only in {copy}");
        assert!(code == 1 && out.contains(&found) && out.contains("11 only in"), "{out}");
    }
    let refused = dcstore(&["diff", &address, &copy, "--exclude", "rooms"]);
    assert!(refused.code == 2 && refused.err.contains("users, channels"), "{}", refused.err);
}

/// One fault for each thing that is checked in records: how it is planted, and what is found where.
const FAULTS: [(&str, &str, &str, &str); 21] = [
    ("UPDATE users SET pubkey = '' WHERE display_name = 'Ann'", "records", "users", "pubkey has 0 bytes"),
    (
        "UPDATE users SET pubkey = printf('%.*c', 257, 'x') WHERE display_name = 'Ann'",
        "records",
        "users",
        "pubkey has 257 bytes",
    ),
    ("UPDATE users SET display_name = '' WHERE display_name = 'Ann'", "records", "users", "display_name has 0 bytes"),
    (
        "UPDATE users SET avatar_hash = printf('%.*c', 1025, 'x') WHERE display_name = 'Ann'",
        "records",
        "users",
        "avatar_hash has 1025 bytes",
    ),
    (
        "UPDATE users SET updated_at = '2001-01-01T00:00:00.000Z' WHERE display_name = 'Ann'",
        "times",
        "users",
        "updated_at",
    ),
    (
        "UPDATE users SET created_at = '2024-06-01T11:59:59.999Z' WHERE display_name = 'Ann'",
        "times",
        "users",
        "not the time within its id",
    ),
    ("UPDATE channels SET name = '' WHERE name = 'hall'", "records", "channels", "name has 0 bytes"),
    ("UPDATE channels SET topic = ''  WHERE name = 'hall'", "records", "channels", "topic has 0 bytes"),
    (
        "UPDATE channels SET category_id = printf('%.*c', 1025, 'x') WHERE name = 'hall'",
        "records",
        "channels",
        "category_id",
    ),
    ("UPDATE channels SET position = 4294967296 WHERE name = 'hall'", "records", "channels", "position"),
    (
        "UPDATE channels SET updated_at = '2001-01-01T00:00:00.000Z' WHERE name = 'hall'",
        "times",
        "channels",
        "updated_at",
    ),
    (
        "INSERT INTO categories VALUES ('01HK153X000000000000000000', '', 0, '2024-01-01T00:00:00.000Z')",
        "records",
        "categories",
        "name has 0",
    ),
    (
        "INSERT INTO categories VALUES ('01HK153X000000000000000000', 'c', 0, '2024-01-01T00:00:00.001Z')",
        "times",
        "categories",
        "within its id",
    ),
    (
        "UPDATE messages SET edited_at = '2001-01-01T00:00:00.000Z' WHERE content = 'LUNCH'",
        "times",
        "messages",
        "edited_at",
    ),
    (
        "UPDATE messages SET channel_id = '01HK153X000000000000000000' WHERE content = 'LUNCH'",
        "references",
        "messages",
        "channel",
    ),
    (
        "UPDATE messages SET author_id = '01HK153X000000000000000000' WHERE content = 'LUNCH'",
        "references",
        "messages",
        "author",
    ),
    ("UPDATE sessions SET user_id = '01HK153X000000000000000000'", "references", "sessions", "user"),
    ("UPDATE sessions SET expires_at = created_at", "times", "sessions", "not after it was created"),
    ("UPDATE sessions SET token = 'x' || substr(token, 2)", "records", "sessions", ""),
    (
        "UPDATE meta SET value = '7ZZZZZZZZZZZZZZZZZZZZZZZZZ' WHERE name = 'high_water_id'",
        "file",
        "meta",
        "nothing can ever be written",
    ),
    ("DROP INDEX idx_messages_id", "file", "file", "idx_messages_id is missing"),
];

#[test]
fn each_fault_is_the_only_finding_and_has_its_exit_code() {
    let (place, _) = Place::filled(Backend::Sqlite);
    let whole = std::fs::read(&place.path).unwrap();
    let address = place.address();
    let copy = format!("redb:{}", place.directory.path().join("copy").display());
    for (plant, level, table, problem) in FAULTS {
        std::fs::write(&place.path, &whole).unwrap();
        assert_eq!(quick(&["verify", &address]).0, 0);
        place.sql(plant);
        let (code, out) = quick(&["verify", &address, "--format", "json"]);
        let findings: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(code == 1 && findings.len() == 1, "{plant}: {code} {out}");
        assert_eq!((&findings[0]["level"], &findings[0]["table"]), (&level.into(), &table.into()), "{plant}: {out}");
        assert!(findings[0]["problem"].as_str().unwrap().contains(problem), "{plant}: {out}");
        let (code, text) = quick(&["verify", &address]);
        assert!(code == 1 && text.contains(&format!("{level} (1)")) && text.contains("1 problem;"), "{plant}: {text}");
        assert!(!text.contains("more; --format json"), "{plant}: {text}");
        for rest in [&["--repair"][..], &["--repair", "--format", "json"]] {
            let (code, out) = quick(&[&["verify", &address], rest].concat());
            assert!(
                code == 1 && out.contains(if rest.len() == 1 { "no repair can mend" } else { "\"cannot_mend\":1" }),
                "{out}"
            );
        }
        // What a check finds no other store may have; with it left out, the rest goes on.
        if table != "file" {
            let dumped = dcstore(&["dump", &address, "--include-sessions"]);
            assert_eq!(dumped.code, 4, "{plant}: {}", dumped.err);
            let copied = dcstore(&["copy", &address, &copy]);
            assert_eq!(copied.code, 4, "{plant}: {}", copied.err);
            let dumped = dcstore(&["dump", &address, "--include-sessions", "--skip-damaged"]);
            assert!(dumped.code == 1 && dumped.err.contains("left out: the "), "{plant}: {}", dumped.err);
            let path = place.directory.path().join("dump");
            std::fs::write(&path, dumped.out).unwrap();
            let loaded = format!("redb:{}", place.directory.path().join("loaded").display());
            let said = dcstore(&["load", &loaded, path.to_str().unwrap()]);
            assert_eq!(said.code, 0, "{plant}: {}", said.err);
            assert_eq!(quick(&["verify", &loaded]).0, 0);
            std::fs::remove_file(place.directory.path().join("loaded")).unwrap();
        }
    }
}

#[test]
fn every_option_of_dump_goes_with_every_other() {
    for backend in BOTH {
        let (place, _) = Place::filled(backend);
        let address = place.address();
        let tables = ["meta", "users", "channels", "categories", "messages", "sessions"];
        let secrets = ["key of ann", "Ann", "hall", "breakfast"];
        let chosen = [
            &[][..],
            &["--only", "users"],
            &["--only", "users,messages"],
            &["--only", "sessions"],
            &["--exclude", "users"],
            &["--exclude", "sessions,meta"],
            &["--exclude", "meta,users,channels,categories,messages"],
        ];
        for choice in chosen {
            for sessions in [false, true] {
                for redacted in [false, true] {
                    for format in ["ndjson", "json", "csv", "table"] {
                        let named: Vec<&str> = choice.get(1).map(|it| it.split(',').collect()).unwrap_or_default();
                        let is_in = |table: &&&str| match choice.first() {
                            Some(&"--only") => named.contains(*table),
                            Some(_) => !named.contains(*table),
                            None => true,
                        };
                        let in_it: Vec<&str> =
                            tables.iter().filter(is_in).filter(|it| sessions || **it != "sessions").copied().collect();
                        let mut call =
                            [&["dump", &address, "--format", format, "--skip-damaged", "--raw-formulas"], choice]
                                .concat();
                        call.extend(sessions.then_some("--include-sessions"));
                        call.extend(redacted.then_some("--redact-content"));
                        let (code, out) = quick(&call);
                        let is_wrong =
                            (format == "csv" && in_it.len() != 1) || (choice.contains(&"sessions") && !sessions);
                        assert_eq!(code, if is_wrong { 2 } else { 0 }, "{call:?}");
                        if is_wrong {
                            continue;
                        }
                        if format == "table" {
                            let heads = out.matches("author_id").count();
                            assert_eq!(heads, usize::from(in_it.contains(&"messages")), "one head for all rows: {out}");
                        }
                        if format == "ndjson" {
                            let header: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
                            assert_eq!(header["dcstore"]["tables"], serde_json::json!(in_it), "{call:?}");
                            assert_eq!(header["dcstore"]["redacted"], redacted);
                        }
                        for table in tables.iter().filter(|it| **it != "categories" && format.ends_with("json")) {
                            let has = out.contains(&format!("\"table\":\"{table}\""));
                            assert_eq!(has, in_it.contains(table), "{call:?} {table}");
                        }
                        for (secret, table) in secrets.iter().zip(["users", "users", "channels", "messages"]) {
                            assert_eq!(out.contains(secret), !redacted && in_it.contains(&table), "{call:?} {secret}");
                        }
                    }
                }
            }
        }
        assert_eq!(quick(&["dump", &address, "--only", "users", "--exclude", "meta"]).0, 2);
    }
}
