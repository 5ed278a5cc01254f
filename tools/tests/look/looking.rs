//! info, get, scan and stats on stores that nobody has open.

use decentcom_server::storage::Backend;

use crate::support::{BOTH, Place, dcstore, hex, place_of, without_ids};

#[test]
fn looking_changes_no_byte_of_a_store_however_it_was_left() {
    for backend in BOTH {
        for (how, place) in [("closed", Place::filled(backend).0), ("crashed", Place::crashed(backend).0)] {
            for is_read_only in [false, true] {
                for (name, _, _) in place.files() {
                    let path = place.directory.path().join(name);
                    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
                    permissions.set_readonly(is_read_only);
                    std::fs::set_permissions(&path, permissions).unwrap();
                }
                let before = place.files();
                for (command, rest) in [
                    ("info", &[][..]),
                    ("stats", &[]),
                    ("verify", &[]),
                    ("scan", &["messages"]),
                    ("verify", &["--repair"]),
                ] {
                    let said = place.run(command, rest);
                    assert_eq!(said.code, 0, "{how} {command}: {}{}", said.out, said.err);
                    let after = place.files();
                    let names = |files: &[(String, _, _)]| files.iter().map(|it| it.0.clone()).collect::<Vec<_>>();
                    assert_eq!(names(&before), names(&after), "{how} {command}");
                    for (one, other) in before.iter().zip(&after) {
                        assert!(one == other, "{backend:?} {how}: {command} changed {}", one.0);
                    }
                }
            }
        }
    }
}

#[test]
fn info_says_how_a_store_was_left_and_what_the_next_start_does() {
    for backend in BOTH {
        let (closed, content) = Place::filled(backend);
        let said = closed.run("info", &[]);
        assert_eq!(said.code, 0, "{}", said.err);
        for expected in ["that of this program", "closed in good order", "just opens it", "given out at 2024-06-0"] {
            assert!(said.out.contains(expected), "{expected}: {}", said.out);
        }
        assert!(said.out.contains("WARNING        this computer's clock is"), "{}", said.out); // ids of 2024
        let json = &closed.run("info", &["--format", "json"]).json()[0];
        assert_eq!(json["state"], "closed");
        assert_eq!(json["backend"], backend.name());
        assert!(json["high_water_id"].as_str().unwrap() > &*content.messages[3].id.text());
        assert!(json["closed_at"].is_string() && json["created_at"].is_string(), "{json}");
        let beside = |name: &str| name.ends_with(".lock") || name.ends_with(".reserve"); // hold no row
        let files = closed.files().into_iter().filter(|(name, ..)| !beside(name));
        let bytes: usize = files.map(|(_, bytes, _)| bytes.len()).sum();
        assert_eq!(json["file_bytes"].as_u64().unwrap(), bytes as u64);
        assert!(json["allocated_bytes"].as_u64().unwrap() > 0);
        assert!(json["reclaimable_bytes"].as_u64().unwrap() < 100_000, "{json}");

        let (crashed, _) = Place::crashed(backend);
        let said = crashed.run("info", &[]);
        assert!(said.out.contains("left by a crash") && said.out.contains("repairs the file"), "{}", said.out);
    }
}

#[test]
fn info_says_plainly_that_a_schema_is_not_that_of_this_program() {
    let (place, _) = Place::filled(Backend::Sqlite);
    place.sql("DROP INDEX idx_messages_id");
    let said = place.run("info", &[]);
    assert!(said.out.contains("; this program's is ") && said.out.contains("does not mend"), "{}", said.out);

    let (place, _) = Place::filled(Backend::Redb);
    place.redb("meta", |meta| {
        meta.insert(&b"catalogue"[..], &b"unfinished"[..]).unwrap();
    });
    let said = place.run("info", &[]);
    assert!(said.out.contains("unfinished; this program's is "), "{}", said.out);
    assert!(said.out.contains("makes the indexes anew"), "{}", said.out);
}

#[test]
fn a_store_of_a_newer_version_and_a_name_that_none_can_have_have_exit_codes_of_their_own() {
    let (place, _) = Place::filled(Backend::Sqlite);
    let columns = "(version, description, success, checksum, execution_time)";
    place.sql(&format!("INSERT INTO _sqlx_migrations {columns} VALUES (999, 'of the future', 1, x'00', 0)"));
    for command in ["info", "verify", "dump"] {
        let said = place.run(command, &[]);
        assert_eq!(said.code, 5, "{command}: {}{}", said.out, said.err);
        assert!(said.err.contains("migration 999"), "{command}: {}", said.err);
    }
    let directory = format!("sqlite:{}/", place.directory.path().display());
    let said = dcstore(&["info", &directory]);
    assert!(said.code == 2 && said.err.contains("it names a directory"), "{} {}", said.code, said.err);
    let (place, _) = Place::filled(Backend::Sqlite);
    let said = place.run("scan", &["messages_by_channel"]);
    assert!(said.code == 2 && said.err.contains("messages_by_channel"), "{} {}", said.code, said.err);
}

#[test]
fn get_shows_a_record_in_full_or_says_that_there_is_none() {
    for backend in BOTH {
        let (place, content) = Place::filled(backend);
        let id = &*content.messages[0].id.text();
        let said = place.run("get", &["messages", id]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.contains("breakfast") && said.out.contains(&*content.ann.id.text()), "{}", said.out);
        let json = &place.run("get", &["messages", &id.to_lowercase(), "--format", "json"]).json()[0];
        assert_eq!(json["id"], id);
        assert_eq!(json["content"], "breakfast");
        assert_eq!(json["created_at"], "2024-06-01T12:00:00.000Z");

        let missing = place.run("get", &["messages", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]);
        assert_eq!(missing.code, 1);
        assert!(missing.out.is_empty() && missing.err.contains("no row with the key"), "{}", missing.err);
        let unknown = place.run("get", &["mesages", id]);
        assert_eq!(unknown.code, 2);
        assert!(unknown.err.contains("users, ") && unknown.err.contains("messages"), "{}", unknown.err);
        let several = place.run("get", &["messages", "01"]);
        assert_eq!(several.code, 2);
        assert!(several.err.contains("--prefix 01"), "{}", several.err);
        // Made on a day of its own, so its time begins like no other.
        let only = place.run("get", &["messages", &id[..7]]);
        assert_eq!(only.code, 0, "{}", only.err);
        assert!(only.out.contains("breakfast") && only.err.contains("one begins so"), "{}{}", only.out, only.err);
    }
    let (place, content) = Place::filled(Backend::Redb);
    let entry = place.run("get", &["users_by_pubkey", "key of ann", "--format", "json"]);
    assert_eq!(entry.json()[0]["record"], &*content.ann.id.text());
}

#[test]
fn raw_json_has_the_bytes_as_they_lie() {
    let (place, content) = Place::filled(Backend::Redb);
    let said = place.run("scan", &["messages", "--raw", "--format", "json"]);
    let first = &said.json()[0];
    assert_eq!(first["table"], "messages");
    assert_eq!(first["key"], hex(&place_of(&content.messages[0])));
    let mut stored = String::new();
    place.redb("messages", |messages| {
        let key = place_of(&content.messages[0]);
        stored = hex(messages.remove(&key[..]).unwrap().unwrap().value());
    });
    assert_eq!(first["value"], stored);
    assert_eq!(said.json().len(), 5);

    let (place, content) = Place::filled(Backend::Sqlite);
    let said = place.run("scan", &["messages", "--raw", "--format", "json"]);
    let columns = &said.json()[0]["columns"];
    assert_eq!(columns["id"]["hex"], hex(content.messages[0].id.text().as_bytes()));
    assert_eq!(columns["id"]["type"], "TEXT");
    assert_eq!(columns["deleted"]["type"], "INTEGER");
    assert_eq!(columns["edited_at"]["type"], "NULL");
}

#[test]
fn raw_text_names_every_byte() {
    let (place, content) = Place::filled(Backend::Redb);
    let said = place.run("get", &["messages", &content.messages[0].id.text(), "--raw"]);
    for expected in ["key", "ULID, 16 bytes", "version", "CRC-32C", "right", "channel_id", "breakfast", "deleted"] {
        assert!(said.out.contains(expected), "{expected}: {}", said.out);
    }
    let mut ends = std::collections::BTreeMap::new();
    for line in said.out.lines().skip(1) {
        let mut words = line.split_whitespace();
        let (Some(part), Some(offset), Some(length)) = (words.next(), words.next(), words.next()) else { continue };
        let Some(length) = length.strip_prefix('+') else { continue };
        let end: &mut usize = ends.entry(part.to_owned()).or_default();
        assert_eq!(offset.parse(), Ok(*end), "each begins where the one before ends: {}", said.out);
        *end += length.parse::<usize>().unwrap();
    }
    let head = said.out.lines().next().unwrap();
    let bytes = format!("key {} bytes, value {} bytes", ends["key"], ends["value"]);
    assert!(ends["key"] == 33 && head.ends_with(&bytes), "{}", said.out);
}

#[test]
fn a_scan_shows_what_was_asked_for_and_nothing_else() {
    for backend in BOTH {
        let (place, content) = Place::filled(backend);
        let scan = |rest: &[&str]| {
            let said = place.run("scan", &[&["messages", "--format", "json"], rest].concat());
            assert_eq!(said.code, 0, "{rest:?}: {}", said.err);
            said.json().iter().map(|line| line["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let all = ["breakfast", "an \u{1b}[2Jescape", "gone", "LUNCH", "dust"];
        let of_hall = &all[..4];
        assert_eq!(scan(&[]), all);
        assert_eq!(scan(&["--reverse", "--limit", "2"]), ["dust", "LUNCH"]);
        assert_eq!(scan(&["--skip", "1", "--limit", "2"]), all[1..3]);
        assert_eq!(scan(&["--channel", "hall"]), of_hall);
        assert_eq!(scan(&["--channel", &content.hall.id.text()]), of_hall);
        assert_eq!(scan(&["--channel", "hall", "--reverse", "--limit", "2"]), ["LUNCH", "gone"]);
        assert_eq!(scan(&["--channel", "attic"]), ["dust"]);
        assert_eq!(scan(&["--author", "key of ben"]), [all[1], "LUNCH"]);
        assert_eq!(scan(&["--author", &content.ann.id.text(), "--channel", "hall"]), ["breakfast", "gone"]);
        assert_eq!(scan(&["--search", "lunch"]), ["LUNCH"]);
        assert_eq!(scan(&["--since", "2024-06-02", "--until", "2024-06-04"]), all[1..3]);
        assert_eq!(scan(&["--since", "2024-06-03T12:00:00Z", "--until", "2024-06-04T12:00:00.000Z"]), ["gone"]);
        assert_eq!(scan(&["--since", "2024-06-02T14:00+02:00", "--until", "2024-06-03T14:00:00+02:00"]), all[1..2]);
        assert_eq!(scan(&["--since", "2024-06-03T14:00", "--tz", "Europe/Berlin"]), all[2..]);
        assert_eq!(scan(&["--since", "2024-06-03T08:00", "--tz=-04:00"]), all[2..]);
        assert_eq!(scan(&["--since", "2024-06-03T08:00:01", "--tz", "-04:00"]), all[3..]);
        assert_eq!(scan(&["--since", "yesterday"]), [""; 0]);
        assert_eq!(scan(&["--until", "2h"]), all);
        assert_eq!(scan(&["--since", "2024-06-02", "--channel", "hall"]), all[1..4]);
        assert_eq!(scan(&["--until", "2024-06-03", "--channel", "hall", "--reverse"]), [all[1], all[0]]);
        assert_eq!(
            scan(&["--from", &content.messages[1].id.text(), "--to", &content.messages[3].id.text()]),
            all[1..3]
        );
        assert_eq!(scan(&["--prefix", &content.messages[2].id.text()]), ["gone"]);
        assert_eq!(scan(&["--from", &content.messages[3].id.text(), "--to", &content.messages[1].id.text()]), [""; 0]);
        let count = |rest: &[&str]| place.run("scan", &[&["messages", "--count"], rest].concat()).out;
        assert_eq!(count(&[]), "5\n");
        assert_eq!(count(&["--channel", "hall"]), "4\n");
        assert_eq!(count(&["--limit", "3"]), "3\n");
        assert_eq!(count(&["--since", "2024-06-04"]), "2\n");
    }
}

#[test]
fn a_scan_finds_what_was_written_lately() {
    for backend in BOTH {
        let (place, content) = Place::filled(backend);
        crate::support::with_store(&place, async |store| {
            store.create_message(&content.hall.id.text(), &content.ann.id.text(), "just now").await.unwrap();
        });
        for since in ["1h", "2 minutes ago", "today", "yesterday", "3d"] {
            // Unless midnight is in between.
            let count = place.run("scan", &["messages", "--count", "--since", since]).out;
            assert!(count == "1\n" || (since == "today" && count == "0\n"), "{since}: {count}");
            let count = place.run("scan", &["messages", "--count", "--until", since]).out;
            assert!(count == "5\n" || (since == "today" && count == "6\n"), "{since}: {count}");
        }
        let sessions = |rest: &[&str]| place.run("scan", &[&["sessions", "--count"], rest].concat()).out;
        assert_eq!((sessions(&["--since", "1h"]), sessions(&["--until", "1h"])), ("0\n".into(), "1\n".into()));
    }
}

#[test]
fn names_stand_beside_ids_and_times_are_of_the_zone_that_was_asked_for() {
    for backend in BOTH {
        let (place, content) = Place::filled(backend);
        let hall = format!("channel_id={} (hall)", content.hall.id);
        let said = place.run("scan", &["messages", "--limit", "2"]).out;
        let lines: Vec<_> = said.lines().collect();
        assert!(
            lines[0].contains(&hall) && lines[0].contains(&format!("author_id={} (Ann)", content.ann.id)),
            "{said}"
        );
        // Who has no name has a key.
        assert!(lines[1].contains(&format!("author_id={} (key of ben)", content.ben.id)), "{said}");
        assert!(place.run("scan", &["sessions"]).out.contains(&format!("user_id={} (Ann)", content.ann.id)));
        assert!(place.run("get", &["messages", &content.messages[0].id.text()]).out.contains(" (hall)\n"));
        let json = place.run("scan", &["messages", "--format", "json", "--limit", "1", "--tz", "Asia/Tokyo"]);
        assert_eq!(json.json()[0]["created_at"], "2024-06-01T12:00:00.000Z");
        for (zone, shown) in [
            ("Asia/Tokyo", "created_at=2024-06-01T21:00:00.000+09:00"),
            ("UTC", "created_at=2024-06-01T12:00:00.000Z"),
            ("-03:30", "created_at=2024-06-01T08:30:00.000-03:30"),
        ] {
            let said = place.run("scan", &["messages", "--limit", "1", "--tz", zone]).out;
            assert!(said.contains(shown), "{said}");
        }
        let said = place.run("scan", &["sessions", "--tz", "Asia/Tokyo"]).out;
        assert!(said.contains("+09:00"), "{said}");
        crate::support::with_store(&place, async |store| {
            let wing = store.create_category("east wing", 0).await.unwrap();
            store.create_channel("library", Some(&wing.id.text()), 0).await.unwrap();
        });
        let said = place.run("scan", &["channels"]).out;
        assert_eq!(said.matches("(east wing)").count(), 1, "{said}");
        // A name that nothing has is none; the id stands alone.
        match backend {
            Backend::Redb => place.redb("channels", |channels| channels.retain(|_, _| false).unwrap()),
            Backend::Sqlite => place.sql("DELETE FROM channels"),
        }
        let said = place.run("scan", &["messages", "--limit", "1"]);
        assert!(said.code == 0 && !said.out.contains("hall") && said.out.contains("(Ann)"), "{}{}", said.out, said.err);
    }
}

#[test]
fn what_was_looked_for_stays_in_the_line() {
    for backend in BOTH {
        let (place, content) = Place::filled(backend);
        crate::support::with_store(&place, async |store| {
            let text = format!("{} the Needle {}", "hay ".repeat(200), "straw ".repeat(200));
            store.create_message(&content.hall.id.text(), &content.ann.id.text(), &text).await.unwrap();
        });
        for rest in [&[][..], &["--raw"]] {
            let said = place.run("scan", &[&["messages", "--search", "nEEDLE"], rest].concat()).out;
            assert!(said.contains("(775 characters before) …") && said.contains("the Needle straw"), "{said}");
            assert!(said.contains("characters more)"), "{said}");
        }
        let whole = place.run("scan", &["messages", "--search", "breakfast"]).out;
        assert!(!whole.contains("characters before") && !whole.contains("characters more"), "{whole}");
        let said = place.run("scan", &["messages", "--channel", "hall", "--reverse", "--limit", "1"]).out;
        assert!(!said.contains("Needle") && said.contains("characters more)"), "{said}");
    }
}

#[test]
fn a_scan_that_makes_no_sense_is_refused_with_what_would() {
    for backend in BOTH {
        let (place, _) = Place::filled(backend);
        for (rest, said) in [
            (&["users", "--channel", "hall"][..], "--channel is for messages"),
            (&["users", "--author", "x"], "--author is for messages"),
            (&["meta", "--since", "2024-06-02"], "tables of records"),
            (&["messages", "--since", "whenever"], "2024-12-31"),
            (&["messages", "--tz", "Europe/Nowhere"], "Europe/Berlin"),
            (&["messages", "--channel", "cellar"], "no channel has"),
            (&["messages", "--channel", "hal"], "no channel has"),
            (&["messages", "--author", "nobody"], "no user has"),
            (&["nothing"], "it has users, "),
        ] {
            let refused = place.run("scan", rest);
            assert_eq!(refused.code, 2, "{rest:?}");
            assert!(refused.err.contains(said), "{rest:?}: {}", refused.err);
        }
    }
}

#[test]
fn channels_of_one_name_are_told_apart_by_their_ids() {
    let (place, content) = Place::filled(Backend::Sqlite);
    place.sql("UPDATE channels SET name = 'hall'");
    let refused = place.run("scan", &["messages", "--channel", "hall"]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.err.contains(&*content.hall.id.text()) && refused.err.contains(&*content.attic.id.text()),
        "{}",
        refused.err
    );
}

#[test]
fn a_scan_for_people_is_as_committed() {
    let (place, _) = Place::filled(Backend::Sqlite);
    insta::assert_snapshot!(without_ids(&place.run("scan", &["messages"]).out));
    let (place, _) = Place::filled(Backend::Redb);
    insta::assert_snapshot!(without_ids(&place.run("scan", &["messages_by_id"]).out));
}

#[test]
fn stats_are_as_committed() {
    for backend in BOTH {
        let (place, _) = Place::filled(backend);
        let said = place.run("stats", &["--top", "3"]);
        assert_eq!(said.code, 0, "{}", said.err);
        insta::assert_snapshot!(format!("stats_{}", backend.name()), without_ids(&said.out));
    }
}

#[test]
fn stats_count_bytes_channels_and_days() {
    for backend in BOTH {
        let (place, content) = Place::filled(backend);
        let stats = &place.run("stats", &["--format", "json", "--top", "2"]).json()[0];
        let messages = stats["tables"].as_array().unwrap().iter().find(|it| it["name"] == "messages").unwrap();
        assert_eq!(messages["rows"], 5);
        assert_eq!(messages["key_bytes"]["total"], if backend == Backend::Redb { 5 * 33 } else { 5 * 26 });
        let spread = &messages["value_bytes"];
        assert!(spread["min"].as_u64() < spread["max"].as_u64() && spread["p50"].as_u64() <= spread["p99"].as_u64());
        assert_eq!(stats["channels"][0]["name"], "hall");
        assert_eq!((&stats["channels"][0]["messages"], &stats["channels"][0]["tombstones"]), (&3.into(), &1.into()));
        assert_eq!(stats["channels"][1]["id"], &*content.attic.id.text());
        assert_eq!((&stats["days"][0]["day"], &stats["days"][0]["messages"]), (&"2024-06-05".into(), &1.into()));
        assert_eq!(stats["other_days"], 3);
        assert_eq!(stats["largest"].as_array().unwrap().len(), 2);
        assert_eq!(stats["one_moment"], true);
    }
}

#[test]
fn what_is_no_store_has_an_exit_code_of_its_own_and_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("text");
    std::fs::write(&path, "no store").unwrap();
    let nowhere = directory.path().join("nowhere");
    for command in ["info", "stats", "verify", "compact"] {
        for backend in BOTH.map(Backend::name) {
            assert_eq!(dcstore(&[command, &format!("{backend}:{}", path.display())]).code, 4, "{command}");
            assert_eq!(dcstore(&[command, &format!("{backend}:{}", nowhere.display())]).code, 6, "{command}");
        }
        assert_eq!(dcstore(&[command, "mysql:x"]).code, 2);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}
