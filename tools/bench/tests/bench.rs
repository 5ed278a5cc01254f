//! `dcbench`, as people call it: everything is measured for a moment, nothing is asked of the figures.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test program

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dcbench")).args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_workload_is_measured_and_the_results_can_be_shown_and_compared_again() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out");
    let shortly = ["--quick", "--stored", "1000", "--messages", "10000", "--seconds", "0.15"];
    let ran = bench(&[&shortly[..], &["-d", text(directory.path()), "-o", text(&output)]].concat());
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");

    let results = std::fs::read_to_string(output.join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let lines = results["lines"].as_array().unwrap();
    for line in lines {
        assert!(line["failure"].is_null(), "{line}");
        let latency = &line["rounds"][0]["latency"];
        assert!(latency["p50"].as_f64().unwrap() <= latency["max"].as_f64().unwrap(), "{line}");
    }
    let workloads = "disk post read scroll mixed beside login join sweep reclaim http load open memory";
    for workload in workloads.split(' ') {
        // Not every line: on a machine that has other things to do, a moment may be too short for the slowest.
        let did_something = |line: &&Value| line["rounds"][0]["operations"].as_u64().unwrap() > 0;
        assert!(lines.iter().filter(did_something).any(|line| line["workload"] == workload), "{workload}");
    }
    for line in lines.iter().filter(|line| line["workload"] == "post") {
        assert!(line["rounds"][0]["disk_rate"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["rounds"][0]["messages"].as_u64() > line["stored"].as_u64(), "{line}");
    }
    for count in results["durability"].as_array().unwrap() {
        // Null where this system forbids to look.
        assert!(count["syncs"].is_null() || count["syncs"].as_u64() >= count["changes"].as_u64(), "{count}");
    }

    assert_eq!(bench(&["--from", text(&output)]).stdout, ran.stdout, "the table of the same results");
    let compared = bench(&["--compare", text(&output), text(&output)]);
    assert_eq!(compared.status.code(), Some(0), "{}", String::from_utf8_lossy(&compared.stdout));
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["out"], "the stores are removed");
}

#[test]
fn results_that_are_none_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("results.json");
    assert_eq!(bench(&["--from", text(&file)]).status.code(), Some(6));
    std::fs::write(&file, "{}").unwrap();
    let refused = bench(&["--from", text(&file)]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("holds no results"));
    assert_eq!(bench(&["--only", "nothing"]).status.code(), Some(2));
    assert_eq!(bench(&["--seconds", "-1"]).status.code(), Some(2));
}

#[test]
fn stores_are_kept_and_made_anew_only_where_they_do_not_fit() {
    let directory = tempfile::tempdir().unwrap();
    let stores = directory.path().join("stores");
    let run = |stored: &str| {
        let options = ["--quick", "--only", "load,read", "--seconds", "0.05", "--stored", stored, "-d"];
        let ran = bench(&[&options[..], &[text(directory.path()), "--keep", text(&stores)]].concat());
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success() && !String::from_utf8_lossy(&ran.stdout).contains("FAILED"), "{said}");
        let rows = String::from_utf8_lossy(&ran.stdout).matches("2,000").count();
        // Four who read, and those who made what was not there.
        assert_eq!(rows, if stored.contains("2000") { 5 } else { 0 });
        said
    };
    assert!(run("1000").contains("to make stores"));
    let made = || std::fs::metadata(stores.join("history-1000.redb")).unwrap().modified().unwrap();
    let first = made();
    assert!(!run("1000").contains("to make stores"));
    assert!(run("1000,2000").contains("to make stores"));
    assert_eq!(made(), first);

    let note = stores.join("history-1000.redb.json");
    let other = std::fs::read_to_string(&note).unwrap().replace("1,000 channels", "7 channels");
    std::fs::write(&note, other).unwrap();
    assert!(run("1000").contains("to make stores"));
    assert_ne!(made(), first);
}
