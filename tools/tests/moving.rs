//! Moving real content between stores: nothing is lost, nothing is added, nothing is changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::fs;

use decentcom_server::storage::Backend;
use support::*;

for_each_backend! {
    a_dump_loads_into_either_backend_with_the_same_checksum
    a_store_copied_there_and_back_gives_the_same_dump
    a_diff_finds_exactly_what_was_changed
    ids_go_on_above_the_largest_ever_given_out
    naughty_strings_survive
    a_login_key_stays_with_its_store_and_is_shown_by_nothing
    info_names_the_admin_who_is_the_earliest_member_or_those_configured
}

fn info_names_the_admin_who_is_the_earliest_member_or_those_configured(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    runtime().block_on(async {
        let store = opened(backend, &place.path("store")).await;
        let left = store.create_user("who left", Some("Ann")).await.unwrap();
        store.create_user("who stayed", Some("Bo")).await.unwrap();
        store.set_membership(&left.id.text(), false).await.unwrap();
        close(&store).await;
    });
    let said = expect(0, &["info", &store]).out;
    assert!(
        said.contains("who stayed (Bo), the member who registered first, if [membership] admins is empty"),
        "{said}"
    );
    let key = "GmaDrppBC7P5ARKV8g3djiwP89vz1jLK23V2GBjuAEGB";
    let (path, name) = (place.path("store"), backend.name());
    let config = format!("[storage]\nbackend = {name:?}\ndatabase_path = {path:?}\n[membership]\nadmins = [{key:?}]\n");
    fs::write(place.path("decentcom.toml"), config).unwrap();
    let said = expect(0, &["info", "--config", &place.text("decentcom.toml")]).out;
    assert!(said.contains(&format!("{key}, by [membership] admins")), "{said}");
}

fn a_login_key_stays_with_its_store_and_is_shown_by_nothing(backend: Backend) {
    let place = Place::new();
    let key_of = |backend, name: &str| {
        runtime().block_on(async {
            let store = opened(backend, &place.path(name)).await;
            let key = store.login_key().await.unwrap();
            close(&store).await;
            *key.as_bytes()
        })
    };
    let (store, dump) = (place.store(backend, "store"), place.text("dump"));
    let key = key_of(backend, "store");
    expect(0, &["dump", &store, "-o", &dump, "--include-sessions"]);
    expect(0, &["load", &place.store(backend, "loaded"), &dump]);
    expect(0, &["copy", &store, &place.store(other(backend), "copied")]);
    assert_ne!(key_of(backend, "loaded"), key);
    assert_ne!(key_of(other(backend), "copied"), key);

    let digits: String = decentcom_kvstore::hex(&key);
    let mut shown = fs::read_to_string(&dump).unwrap();
    for arguments in [vec!["scan", &store, "meta"], vec!["scan", &store, "meta", "--raw"], vec!["info", &store]] {
        shown += &expect(0, &arguments).out;
    }
    assert!(shown.contains("login_key"), "{shown}");
    let shown = shown.to_ascii_lowercase().replace([' ', '\n'], "");
    assert!(!shown.contains(&digits) && !shown.contains(&digits[..16]), "{shown}");
}

fn a_dump_loads_into_either_backend_with_the_same_checksum(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    irc_store(backend, &place.path("store"));
    let dump = place.text("dump.ndjson.zst");
    expect(0, &["dump", &store, "-o", &dump, "--include-sessions"]);
    for target in [Backend::Sqlite, Backend::Redb] {
        let loaded = place.store(target, &format!("loaded-{}", target.name()));
        expect(0, &["load", &loaded, &dump]);
        assert_eq!(checksum(&loaded), checksum(&store));
        expect(0, &["diff", &loaded, &store]);
        assert_eq!(findings(target, &place.path(&format!("loaded-{}", target.name()))), []);
    }
}

fn a_store_copied_there_and_back_gives_the_same_dump(backend: Backend) {
    let place = Place::new();
    irc_store(backend, &place.path("one"));
    let stores = [place.store(backend, "one"), place.store(other(backend), "two"), place.store(backend, "three")];
    expect(0, &["copy", &stores[0], &stores[1]]);
    expect(0, &["copy", &stores[1], &stores[2]]);
    let dumps = stores.each_ref().map(|store| expect(0, &["dump", store, "--include-sessions"]).out);
    let bodies = dumps.each_ref().map(|dump| dump.split_once('\n').unwrap().1);
    assert!(bodies[0].lines().count() > 2500, "{}", bodies[0].lines().count());
    assert!(bodies[0] == bodies[1] && bodies[1] == bodies[2]);
    assert_eq!(bodies[0].lines().filter(|line| line.starts_with(r#"{"table":"sessions""#)).count(), 20);
    let again = expect(0, &["copy", &stores[0], &stores[1]]);
    assert!(again.out.contains("already"), "{}", again.out);
}

fn a_diff_finds_exactly_what_was_changed(backend: Backend) {
    let place = Place::new();
    let (one, two) = (place.store(backend, "one"), place.store(other(backend), "two"));
    irc_store(backend, &place.path("one"));
    expect(0, &["copy", &one, &two]);
    assert_eq!(expect(0, &["diff", &one, &two, "--format", "json"]).out, "");
    let (edited, removed, added) = runtime().block_on(async {
        let store = opened(backend, &place.path("one")).await;
        let channel = store.list_channels().await.unwrap().last().unwrap().id;
        let messages = store.list_messages(&channel.text(), None, 2).await.unwrap();
        store.update_message(&messages[0].id.text(), "planted").await.unwrap();
        store.delete_message(&messages[1].id.text()).await.unwrap();
        let added = store.create_user("planted", None).await.unwrap();
        close(&store).await;
        (messages[0].id.to_string(), messages[1].id.to_string(), added.id.to_string())
    });
    let found = expect(1, &["diff", &one, &two, "--format", "json"]).out;
    let found: Vec<serde_json::Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys: Vec<_> = found.iter().map(|line| line["key"].as_str().unwrap()).collect();
    let mut messages = [edited.as_str(), removed.as_str()];
    messages.sort_unstable();
    assert_eq!(keys, ["high_water_id", &added, messages[0], messages[1]]);
    assert_eq!((&found[1]["only_in"], &found[1]["record"]["pubkey"]), (&"one".into(), &"planted".into()));
    let of = |key: &str| found.iter().find(|line| line["key"] == key).unwrap()["fields"].as_object().unwrap().clone();
    assert_eq!(
        of(&removed).into_iter().collect::<Vec<_>>(),
        [("deleted".to_owned(), serde_json::json!({ "one": true, "other": false }))]
    );
    assert_eq!(of(&edited)["content"]["one"], "planted");
    let text = expect(1, &["diff", &two, &one]).out;
    assert!(text.contains(&format!("users {added} is only in {one}")), "{text}");
    assert!(text.ends_with(&format!("0 only in {two}, 1 only in {one}, 3 with other values\n")), "{text}");
}

fn ids_go_on_above_the_largest_ever_given_out(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    // The largest id belongs to a category that is gone, and it lies in the future.
    let ahead = std::sync::Arc::new(decentcom_server::storage::ManualClock::at(
        decentcom_server::storage::Timestamp::from_millis(4_000_000_000_000).unwrap(),
    ));
    let last = runtime().block_on(async {
        let options = decentcom_server::storage::StorageOptions {
            backend,
            path: place.path("store"),
            redb: Default::default(),
            min_free: Default::default(),
        };
        let store = decentcom_server::storage::open(&options, ahead).await.unwrap();
        let last = store.create_category("removed", 0).await.unwrap();
        store.delete_category(&last.id.text()).await.unwrap();
        close(&store).await;
        last.id.to_string()
    });
    let (dump, loaded, copied) =
        (place.text("dump"), place.store(other(backend), "loaded"), place.store(other(backend), "copied"));
    expect(0, &["dump", &store, "-o", &dump]);
    expect(0, &["load", &loaded, &dump]);
    expect(0, &["copy", &store, &copied]);
    for path in ["loaded", "copied"] {
        let next = runtime().block_on(async {
            let store = opened(other(backend), &place.path(path)).await;
            let next = store.create_category("next", 0).await.unwrap();
            close(&store).await;
            next.id.to_string()
        });
        assert!(next > last, "{path}: {next} after {last}");
    }
}

fn naughty_strings_survive(backend: Backend) {
    let place = Place::new();
    let strings: Vec<_> = naughty_strings().into_iter().filter(|text| text.len() <= 256).collect();
    let mut keys = std::collections::BTreeSet::new();
    let texts = strings.iter().filter(|text| !text.is_empty() && keys.insert((*text).clone()));
    write_as_older_versions_did(backend, &place.path("store"), texts);
    let (store, loaded) = (place.store(backend, "store"), place.store(other(backend), "loaded"));
    expect(0, &["dump", &store, "-o", &place.text("dump")]);
    expect(0, &["load", &loaded, &place.text("dump")]);
    assert_eq!(checksum(&loaded), checksum(&store));
    for store in [&store, &loaded] {
        expect(0, &["verify", store]);
    }
    runtime().block_on(async {
        let store = opened(other(backend), &place.path("loaded")).await;
        let names: Vec<_> = store.list_channels().await.unwrap().into_iter().map(|it| it.topic.unwrap()).collect();
        for text in strings.iter().filter(|text| !text.is_empty()) {
            assert!(names.contains(text), "{text:?}");
            let user = store.get_user_by_pubkey(text).await.unwrap().unwrap();
            assert_eq!(user.display_name.as_ref(), Some(text));
        }
        close(&store).await;
    });
    for format in ["json", "table"] {
        expect(0, &["dump", &store, "--format", format, "-o", &place.text(format)]);
    }
    expect(0, &["dump", &store, "--format", "csv", "--only", "channels", "-o", &place.text("csv")]);
    let document: serde_json::Value = serde_json::from_slice(&fs::read(place.path("json")).unwrap()).unwrap();
    let records = document["records"].as_array().unwrap();
    assert!(records.iter().any(|record| record["topic"] == strings.last().unwrap().as_str()));
    assert!(!fs::read_to_string(place.path("table")).unwrap().chars().any(|it| it.is_control() && it != '\n'));
}
