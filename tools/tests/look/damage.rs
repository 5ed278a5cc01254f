//! `verify` finds what was damaged behind the store's back.

use decentcom_kvstore::redb::ReadableTable as _;
use decentcom_server::storage::Backend;

use crate::support::{BOTH, Place, Said, place_of, with_store};

/// What verify says as JSON: level, table, key and problem of each finding.
fn found(place: &Place) -> Vec<[String; 4]> {
    let said = place.run("verify", &["--format", "json"]);
    assert!(said.code == 1 || said.code == 0, "{}{}", said.out, said.err);
    let findings: Vec<_> = said
        .json()
        .iter()
        .map(|it| ["level", "table", "key", "problem"].map(|name| it[name].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(said.code, i32::from(!findings.is_empty()));
    findings
}

/// Exactly one finding, with these in it.
fn only(place: &Place, level: &str, table: &str, key: &str, problem: &str) {
    match found(place).as_slice() {
        [one] => {
            assert_eq!((one[0].as_str(), one[1].as_str(), one[2].as_str()), (level, table, key), "{one:?}");
            assert!(one[3].contains(problem), "{one:?}");
        }
        other => panic!("{other:#?}"),
    }
}

#[test]
fn a_healthy_store_of_either_backend_has_no_findings() {
    for backend in BOTH {
        let (place, _) = Place::filled(backend);
        let Said { code, out, err } = place.run("verify", &[]);
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("nothing wrong was found"), "{out}");
        assert_eq!(found(&place), Vec::<[String; 4]>::new());
    }
}

#[test]
fn a_missing_index_entry_is_found() {
    let (place, _) = Place::filled(Backend::Redb);
    place.redb("users_by_pubkey", |index| assert!(index.remove(&b"key of ann"[..]).unwrap().is_some()));
    only(&place, "indexes", "users_by_pubkey", "6b6579206f6620616e6e", "no such index entry");

    let (place, _) = Place::filled(Backend::Sqlite);
    place.sql_row_that_an_index_lacks();
    let findings = found(&place);
    assert!(findings.iter().any(|it| it[0] == "indexes" && it[3].contains("idx_sessions_user")), "{findings:?}");
}

#[test]
fn a_dangling_and_a_wrong_index_entry_are_found() {
    let (place, _) = Place::filled(Backend::Redb);
    let nobody = [7; 16];
    place.redb("users_by_pubkey", |index| drop(index.insert(&b"nobody"[..], &nobody[..]).unwrap()));
    only(&place, "indexes", "users_by_pubkey", "6e6f626f6479", "belongs to no record");

    let (place, _) = Place::filled(Backend::Redb);
    place.redb("users_by_pubkey", |index| {
        let ben = index.get(&b"key of ben"[..]).unwrap().unwrap().value().to_vec();
        index.insert(&b"key of ann"[..], ben.as_slice()).unwrap();
    });
    let findings = found(&place);
    assert!(
        findings.iter().all(|it| it[0] == "indexes" && it[3].contains("not what its record makes")),
        "{findings:?}"
    );
    assert!(!findings.is_empty());
}

#[test]
fn a_record_that_does_not_decode_is_found_and_still_shown_raw() {
    let (place, content) = Place::filled(Backend::Redb);
    let id = &content.messages[1].id;
    place.redb("messages", |messages| {
        let key = place_of(&content.messages[1]);
        let mut value = messages.get(&key[..]).unwrap().unwrap().value().to_vec();
        value[20] ^= 1;
        messages.insert(&key[..], value.as_slice()).unwrap();
    });
    only(&place, "records", "messages", &id.text(), "");
    damaged_is_shown(&place, &id.text());

    let (place, content) = Place::filled(Backend::Sqlite);
    let id = &content.messages[1].id;
    place.sql(&format!("UPDATE messages SET edited_at = 'yesterday' WHERE id = '{id}'"));
    only(&place, "records", "messages", &id.text(), "");
    damaged_is_shown(&place, &id.text());
}

fn damaged_is_shown(place: &Place, id: &str) {
    let scanned = place.run("scan", &["messages"]);
    assert_eq!(scanned.code, 1);
    assert_eq!(scanned.out.lines().count(), 5, "{}", scanned.out);
    // Nobody can say whether it is one that was asked for.
    let searched = place.run("scan", &["messages", "--search", "in no message"]);
    assert!(searched.code == 1 && searched.out.lines().count() == 1 && searched.out.contains(id), "{}", searched.out);
    assert!(scanned.out.contains(&format!("{id}  DAMAGED: ")), "{}", scanned.out);
    let json = place.run("scan", &["messages", "--format", "json"]);
    assert_eq!(json.json().iter().filter(|line| line["damaged"].is_string()).count(), 1);
    let raw = place.run("get", &["messages", id, "--raw"]);
    assert_eq!(raw.code, 1);
    assert!(raw.out.contains("channel_id") && raw.out.contains("DAMAGED"), "{}", raw.out);
    assert_eq!(place.run("stats", &["--format", "json"]).json()[0]["damaged_records"], 1);
}

#[test]
fn a_damaged_user_is_not_taken_for_a_missing_one() {
    let (place, content) = Place::filled(Backend::Redb);
    let key = content.ann.id.ulid().to_bytes();
    place.redb("users", |users| drop(users.insert(&key[..], &b"no record"[..]).unwrap()));
    only(&place, "records", "users", &content.ann.id.text(), "");
}

#[test]
fn references_to_nothing_are_found() {
    let (place, content) = Place::filled(Backend::Redb);
    for table in ["channels", "users", "users_by_pubkey", "members_by_id"] {
        place.redb(table, |table| table.retain(|_, _| false).unwrap());
    }
    let findings = found(&place);
    assert!(findings.iter().all(|it| it[0] == "references"), "{findings:?}");
    assert_eq!(findings.len(), 5 + 5 + 1, "{findings:?}");
    assert!(findings[0][3].contains(&format!("its channel {}", content.hall.id)), "{findings:?}");

    let (place, content) = Place::filled(Backend::Sqlite);
    place.sql("DELETE FROM users WHERE pubkey = 'key of ben'");
    let findings = found(&place);
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0][3].contains(&format!("its author {}", content.ben.id)), "{findings:?}");
}

#[test]
fn of_very_many_findings_text_shows_the_first_and_says_how_many_more_there_are() {
    let (place, _) = Place::filled(Backend::Sqlite);
    place.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1003)
         INSERT INTO categories SELECT 'x' || i, 'c', 0, '2024-01-01T00:00:00.000Z' FROM n",
    );
    assert_eq!(found(&place).len(), 1003);
    let said = place.run("verify", &[]).out;
    assert!(said.contains("records (1003)") && said.contains("… and 3 more; --format json"), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("  categories x")).count(), 1000, "{said}");
}

/// A channel is gone at once; its messages follow, and may still be there when the server was killed.
#[test]
fn what_is_still_to_be_reclaimed_refers_to_nothing_that_is_missing() {
    let (place, _) = Place::filled(Backend::Sqlite);
    place.sql("INSERT INTO purges (channel_id) SELECT id FROM channels WHERE name = 'hall'");
    place.sql("DELETE FROM channels WHERE name = 'hall'");
    assert_eq!(found(&place), Vec::<[String; 4]>::new());
    place.sql("DELETE FROM purges");
    assert_eq!(found(&place).len(), 4, "one for each of its messages");
}

#[test]
fn a_creation_time_that_is_not_the_ids_is_found() {
    let (place, content) = Place::filled(Backend::Sqlite);
    let id = &content.messages[0].id;
    place.sql(&format!("UPDATE messages SET created_at = '2024-06-01T12:00:00.001Z' WHERE id = '{id}'"));
    only(&place, "times", "messages", &id.text(), "not the time within its id");
}

#[test]
fn an_id_in_lower_case_is_found() {
    let (place, content) = Place::filled(Backend::Sqlite);
    let id = content.messages[0].id.text().to_lowercase();
    place.sql(&format!("UPDATE messages SET id = lower(id) WHERE id = '{}'", content.messages[0].id));
    only(&place, "records", "messages", &id, "should be written");
}

#[test]
fn a_key_that_is_no_text_is_found_and_no_reading_gets_stuck_on_it() {
    let (place, content) = Place::filled(Backend::Sqlite);
    place.sql(&format!("UPDATE messages SET id = CAST(id AS BLOB) WHERE id = '{}'", content.messages[0].id));
    only(&place, "records", "messages", "", "is a blob");
    assert_eq!(place.run("scan", &["messages"]).out.lines().count(), 4);
}

#[test]
fn a_text_that_is_too_long_is_found() {
    let (place, content) = Place::filled(Backend::Sqlite);
    place.sql("UPDATE channels SET topic = printf('%.*c', 1025, 'x') WHERE name = 'hall'");
    only(&place, "records", "channels", &content.hall.id.text(), "1025 bytes");
    place.sql("UPDATE channels SET topic = NULL; UPDATE messages SET content = printf('%.*c', 1048577, 'x') WHERE content = 'LUNCH'");
    only(&place, "records", "messages", &content.messages[3].id.text(), "1048577 bytes");
}

#[test]
fn a_high_water_id_below_the_largest_id_is_found() {
    let (place, content) = Place::filled(Backend::Redb);
    let low = content.ann.id.ulid().to_bytes();
    place.redb("meta", |meta| drop(meta.insert(&b"high_water_id"[..], &low[..]).unwrap()));
    only(&place, "times", "meta", "high_water_id", "largest id");

    let (place, content) = Place::filled(Backend::Sqlite);
    place.sql(&format!("UPDATE meta SET value = '{}' WHERE name = 'high_water_id'", content.ann.id));
    only(&place, "times", "meta", "high_water_id", "largest id");
    place.sql("UPDATE meta SET value = 'x' WHERE name = 'high_water_id'");
    only(&place, "times", "meta", "high_water_id", "what is recorded is no id");
    place.sql("DELETE FROM meta WHERE name = 'high_water_id'");
    only(&place, "times", "meta", "high_water_id", "largest id");
}

/// A file with enough pages for one to be flipped that is not the first.
fn large(backend: Backend) -> Place {
    let (place, content) = Place::filled(backend);
    with_store(&place, async |store| {
        for number in 0..300 {
            let text = format!("{number} ").repeat(100);
            store.create_message(&content.hall.id.text(), &content.ann.id.text(), &text).await.unwrap();
        }
    });
    place
}

#[test]
fn a_flipped_page_is_found() {
    for backend in BOTH {
        let place = large(backend);
        let bytes = std::fs::read(&place.path).unwrap();
        let mut noticed = 0;
        // Every page in turn; the first one makes the file something else, or unreadable.
        let pages: Vec<_> =
            (1..bytes.len() / 4096).filter(|at| bytes[at * 4096..][..4096].iter().any(|it| *it != 0)).collect();
        for at in pages.iter().step_by(pages.len() / 8 + 1) {
            let mut damaged = bytes.clone();
            damaged[at * 4096..][..4096].iter_mut().for_each(|byte| *byte = !*byte);
            std::fs::write(&place.path, &damaged).unwrap();
            let said = place.run("verify", &[]);
            assert!(matches!(said.code, 0 | 1 | 4), "{at}: {} {}{}", said.code, said.out, said.err);
            assert!(!said.err.contains("panicked"), "{}", said.err);
            noticed += u32::from(said.code != 0);
            if said.code == 1 && said.out.contains("pages (") {
                let refused = place.run("verify", &["--repair", "--yes"]);
                assert!(refused.code == 1 && refused.out.contains("no repair: pages are damaged"), "{}", refused.out);
            }
        }
        // Some pages are free, or of an older state: nothing is in them.
        assert!(noticed >= 3, "{backend:?} {noticed}");
    }
}

#[test]
fn a_truncated_file_is_found_with_what_to_do() {
    for backend in BOTH {
        let place = large(backend);
        let length = std::fs::metadata(&place.path).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&place.path).unwrap();
        file.set_len(length / 2 / 4096 * 4096).unwrap();
        let said = place.run("verify", &[]);
        assert!(matches!(said.code, 1 | 4), "{}{}", said.out, said.err);
        assert!(said.err.contains("backup") || said.out.contains("pages ("), "{}{}", said.out, said.err);
    }
}

#[test]
fn rows_out_of_order_end_a_reading_that_would_go_round_for_ever() {
    let (place, _) = Place::filled(Backend::Redb);
    let mut bytes = std::fs::read(&place.path).unwrap();
    let name = b"catalogue";
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(name)).collect();
    // The first of the names becomes the largest, where the tree has it still in the first place.
    places.iter().for_each(|at| bytes[*at] = b'z');
    std::fs::write(&place.path, bytes).unwrap();
    let said = place.run("scan", &["meta"]);
    assert_eq!(said.code, 4, "{}{}", said.out, said.err);
    assert!(said.err.contains("not in the order of their keys"), "{}", said.err);
}

/// Some bytes of a closed file: all over its header, and at the beginning of each page.
fn bytes_to_damage(file: &[u8]) -> Vec<usize> {
    let pages = file.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    (0..320).step_by(9).chain(pages.step_by(3).map(|(number, _)| number * 4096 + 4 + number % 8)).collect()
}

#[test]
fn a_closed_redb_file_with_a_wrong_byte_is_told_by_a_finding_or_an_error_with_a_remedy() {
    let (place, _) = Place::filled(Backend::Redb);
    let sound = std::fs::read(&place.path).unwrap();
    let mut told = 0;
    for (number, at) in bytes_to_damage(&sound).into_iter().enumerate() {
        let mut damaged = sound.clone();
        damaged[at] ^= [0xFF, 0x01, 0x80][number % 3];
        std::fs::write(&place.path, &damaged).unwrap();
        let command = ["verify", "dump", "info"][number / 3 % 3];
        let Said { code, out: _, err } = place.run(command, &[]);
        assert!([0, 1, 4, 5].contains(&code), "byte {at}, {command}: {code}, {err}");
        assert!(!err.contains("panicked") && !err.contains("RUST_BACKTRACE"), "byte {at}, {command}: {err}");
        let has_remedy = ["backup", "Name another", "verify", "newer"].iter().any(|remedy| err.contains(remedy));
        assert!(code != 4 || has_remedy, "byte {at}, {command}: {err}");
        assert_eq!(std::fs::read(&place.path).unwrap(), damaged, "byte {at}, {command}: it changed the file");
        told += usize::from(code != 0);
    }
    assert!(told > 10, "only {told} damages were noticed: do they hit anything?");
}
