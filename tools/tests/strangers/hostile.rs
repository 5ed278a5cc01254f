//! Dumps made to do harm: each is refused in a sentence, in little memory, and nothing is left.

use std::{fs, process::Stdio, time::Duration};

use decentcom_server::storage::Backend;

use crate::support::*;

for_each_backend! {
    a_hostile_dump_is_refused_in_a_sentence_and_in_little_memory
}

/// Where the dumps of honest stores stay below: a line of 8 MiB, its texts, the window of the decompressor.
const BOUND_KIB: u64 = 100 * 1024;
const LONGEST_SENTENCE: usize = 700;

const TIME: &str = "2024-01-01T00:00:00.000Z";
const ID: &str = "01HK153X000000000000000000";

fn header() -> String {
    format!(
        r#"{{"dcstore":{{"format":1,"tool":"harm","backend":"redb","schema":"format 1","time":"{TIME}","tables":["meta","users","channels","categories","messages","sessions"],"redacted":false}}}}"#
    )
}

fn user(more: &str) -> String {
    format!(
        r#"{{"table":"users","id":"{ID}","pubkey":"key","display_name":null,"avatar_hash":null,"created_at":"{TIME}","updated_at":"{TIME}"{more}}}"#
    )
}

fn category(id: &str, name: &str) -> String {
    format!(r#"{{"table":"categories","id":"{id}","name":{name},"position":0,"created_at":"{TIME}"}}"#)
}

fn message(channel: &str) -> String {
    format!(
        r#"{{"table":"messages","id":"{ID}","channel_id":"{channel}","author_id":"{ID}","content":"","edited_at":null,"deleted":false,"created_at":"{TIME}"}}"#
    )
}

/// With the trailer that goes with them.
fn whole(records: &[String]) -> Vec<u8> {
    use sha2::Digest as _;
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    let count = |table: &str| records.iter().filter(|it| it.contains(&format!(r#""table":"{table}""#))).count();
    let tables = ["categories", "channels", "messages", "meta", "sessions", "users"];
    let counts: Vec<_> = tables.iter().map(|table| format!(r#""{table}":{}"#, count(table))).collect();
    let hash = decentcom_kvstore::hex(&sha2::Sha256::digest(&lines));
    let trailer = format!(r#"{{"trailer":{{"records":{{{}}},"sha256":"{hash}"}}}}"#, counts.join(","));
    format!("{}\n{lines}{trailer}\n", header()).into()
}

fn in_zstd(bytes: &[u8], window_log: u32) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.long_distance_matching(false).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Each with a word that its refusal has to have.
fn hostile() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    const MEBI: usize = 1024 * 1024;
    let line = |text: String| format!("{}\n{text}\n", header()).into_bytes();
    let good = String::from_utf8(whole(&[user("")])).unwrap();
    vec![
        ("empty", "empty", Vec::new()),
        ("a line end", "no dump", b"\n".to_vec()),
        ("a header of many values", "longer than", format!("[{}0]\n", "0,".repeat(3 * MEBI)).into()),
        ("a header that is deep", "longer than", format!("{}\n", "[".repeat(7 * MEBI)).into()),
        ("a header that is just deep", "recursion", format!("{}\n", "[".repeat(10_000)).into()),
        (
            "a header of many tables",
            "longer than",
            format!("{}\n", header().replace("\"meta\"", &vec!["\"meta\""; MEBI].join(","))).into(),
        ),
        (
            "a header of strange tables",
            "unknown or out of order",
            format!("{}\n", header().replace("\"users\",\"channels\"", "\"channels\",\"users\"")).into(),
        ),
        ("a header without an end", "longer than", vec![b' '; 20 * MEBI]),
        ("a line without an end", "longer than", [header().as_bytes(), b"\n", &vec![b'x'; 20 * MEBI]].concat()),
        ("an unknown table with a long name", "no table", line(format!(r#"{{"table":"{}"}}"#, "x".repeat(7 * MEBI)))),
        (
            "an unknown field with a long name",
            "unknown field",
            line(user(&format!(r#","{}":1"#, "x".repeat(7 * MEBI)))),
        ),
        ("a long id", "line 2", line(user("").replace(ID, &"0".repeat(7 * MEBI)))),
        ("a long name", "are allowed", whole(&[category(ID, &format!("\"{}\"", "x".repeat(2000)))])),
        ("a record that is deep", "line 2", line(category(ID, &"[".repeat(7 * MEBI)))),
        (
            "a record with a deep field",
            "line 2",
            line(user(&format!(",\"a\":{}{}", "[".repeat(MEBI), "]".repeat(MEBI)))),
        ),
        ("a field twice", "duplicate field", line(user(r#","pubkey":"other""#))),
        ("half a character", "line 2", line(category(ID, r#""\ud800""#))),
        (
            "no UTF-8",
            "not UTF-8",
            [line(String::new()).as_slice().strip_suffix(b"\n").unwrap(), b"{\"table\":\"\xff\"}\n"].concat(),
        ),
        ("a byte order mark", "line 1", ["\u{feff}".as_bytes(), good.as_bytes()].concat()),
        ("two dumps", "after the trailer", [good.as_bytes(), good.as_bytes()].concat()),
        ("a header in the midst", "line 2", line(header())),
        (
            "a trailer of many counts",
            "longer than",
            line(format!(r#"{{"trailer":{{"records":{{{}"a":0}}"#, r#""a":1,"#.repeat(MEBI))),
        ),
        ("wrong counts", "counts", good.replace(r#""users":1"#, r#""users":2"#).into()),
        ("a huge count", "line 3", good.replace(r#""users":1"#, r#""users":99999999999999999999999"#).into()),
        ("a wrong hash", "SHA-256", good.replace("\"key\"", "\"kex\"").into()),
        ("an id twice", "same key", whole(&[category(ID, "\"a\""), category(ID, "\"b\"")])),
        (
            "an id twice, in either case",
            "same key",
            whole(&[category(ID, "\"a\""), category(&ID.to_lowercase(), "\"b\"")]),
        ),
        (
            "ids out of order",
            "out of order",
            whole(&[category(ID, "\"a\""), category(&ID.replace("01HK", "01HJ"), "\"b\"")]),
        ),
        ("no channel", "does not exist", whole(&[user(""), message(ID)])),
        ("a year that no clock has", "line 2", whole(&[category(&ID.replace("01HK", "7ZZZ"), "\"a\"")])),
        (
            "the last id of all",
            "no larger id",
            whole(&[format!(
                r#"{{"table":"meta","name":"high_water_id","value":"{}"}}"#,
                "7".to_owned() + &"Z".repeat(25)
            )]),
        ),
        (
            "a low high water",
            "largest id",
            whole(&[
                format!(r#"{{"table":"meta","name":"high_water_id","value":"{}"}}"#, "0".repeat(26)),
                category(ID, "\"a\""),
            ]),
        ),
        (
            "a bomb of one line",
            "longer than",
            in_zstd(&[header().as_bytes(), b"\n", &vec![b'x'; 300 * MEBI]].concat(), 20),
        ),
        ("a bomb of lines", "line 2", in_zstd(&[header().as_bytes(), &vec![b'\n'; 300 * MEBI]].concat(), 20)),
        (
            "a window of 128 MiB",
            "cannot be decompressed",
            in_zstd(&[header().as_bytes(), b"\n", &vec![b'x'; 200 * MEBI]].concat(), 27),
        ),
        ("a frame that is none", "cannot be decompressed", [&[0x28, 0xB5, 0x2F, 0xFD][..], &[0xFF; 1000]].concat()),
        (
            "something after the frame",
            "after the trailer",
            [in_zstd(good.as_bytes(), 20), in_zstd(b"more\n", 20)].concat(),
        ),
        ("rubbish after the frame", "decompressed", [in_zstd(good.as_bytes(), 20), vec![7; 1000]].concat()),
    ]
}

/// Loads a dump; answers what came of it and the most memory it took, in KiB.
fn loaded(store: &str, dump: &str) -> (Called, u64) {
    let arguments = ["load", store, dump];
    let mut child = spawn(command(&arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = peak.max(line.and_then(|it| it.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    (called(child.wait_with_output().unwrap()), peak)
}

fn a_hostile_dump_is_refused_in_a_sentence_and_in_little_memory(backend: Backend) {
    let place = Place::new();
    fs::write(place.path("dump"), whole(&[user("")])).unwrap();
    expect(0, &["load", &place.store(backend, "good"), &place.text("dump")]);
    let names = place.names();
    for (what, word, bytes) in hostile() {
        fs::write(place.path("dump"), bytes).unwrap();
        let (said, peak) = loaded(&place.store(backend, "loaded"), &place.text("dump"));
        let err = said.err.trim_end();
        assert_eq!((said.code, said.out.as_str()), (4, ""), "{what}: {err:.2000}");
        assert!(err.len() < LONGEST_SENTENCE && err.lines().count() == 1, "{what}: {err:.2000}");
        assert!(err.contains(word), "{what}: {err}");
        assert!(peak < BOUND_KIB, "{what}: {peak} KiB");
        assert_eq!(place.names(), names, "{what}");
    }
}
