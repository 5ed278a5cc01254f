//! What each call of the contract touches, watched while it happens, against `schema-docs/calls.txt`, from which the
//! matrices of the pages are made.
//!
//! redb: the key-value store's own trace events, one per read or write of a table or index. SQLite: for writes, every
//! table and index compared before and after; for reads, the trees that SQLite's own program (`EXPLAIN`) opens for each
//! statement that was logged.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests, too

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use decentcom_server::storage::{
    self, Admission, Backend, CategoryChoice, Challenge, ChannelEdit, Clock, LogIn, ManualClock, PageAt, RedbOptions,
    Storage, StorageOptions, Timestamp,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection, ValueRef, sqlite::SqliteConnectOptions};
use tracing::field::{Field, Visit};

const ADVICE: &str = "what a call touches has changed. If that is meant, run: bash schema-docs/update.sh";

/// What was seen, by everything in the process, since it was last taken.
static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

#[derive(Clone, Debug, Default)]
struct Seen {
    table: String,
    access: String,
    /// SQL, where it is a statement.
    statement: String,
}

/// Notes the events of the key-value store and the statements of sqlx.
struct Watch;

impl tracing::Subscriber for Watch {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        ["decentcom_kvstore::touched", "sqlx::query"].contains(&metadata.target())
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        // Several statements may go to the database together.
        let statements =
            seen.statement.split(';').map(|statement| Seen { statement: statement.trim().into(), ..seen.clone() });
        SEEN.lock().unwrap().extend(statements);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "table" => self.table = value.into(),
            "access" => self.access = value.into(),
            // The statement itself is there only where its summary is not all of it.
            "summary" if self.statement.is_empty() => self.statement = value.into(),
            "db.statement" if !value.is_empty() => self.statement = value.trim().into(),
            _ => {}
        }
    }
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl Seen {
    fn commits(&self) -> bool {
        self.access == "commit" || ["COMMIT", "ROLLBACK"].contains(&self.statement.as_str())
    }
    fn begins(&self) -> bool {
        self.statement.starts_with("BEGIN")
    }
    fn ends_a_purge(&self) -> bool {
        (self.table == "purges" && self.access == "remove") || self.statement.starts_with("DELETE FROM purges")
    }
}

/// Waits for what is logged a moment after it happened: a statement is, once its last row was handed over.
async fn seen_once(is_complete: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
    for _ in 0..3000 {
        {
            let mut seen = SEEN.lock().unwrap();
            if is_complete(&seen) {
                return std::mem::take(&mut *seen);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain; seen so far: {:#?}", SEEN.lock().unwrap());
}

/// Whether these are all statements of a call that has returned: all but the last are there in any case.
fn is_whole(seen: &[Seen]) -> bool {
    match seen.iter().any(Seen::begins) {
        true => seen.last().is_some_and(Seen::commits),
        false => !seen.is_empty(),
    }
}

/// Letters (R, I, U, D) by table or index.
type Touches = BTreeMap<String, BTreeSet<char>>;

fn touches_of_events(seen: &[Seen]) -> Touches {
    let mut touches = Touches::new();
    for Seen { table, access, .. } in seen.iter().filter(|seen| !seen.table.is_empty()) {
        let letter = match access.as_str() {
            "read" => 'R',
            "insert" => 'I',
            "update" => 'U',
            "remove" => 'D',
            other => panic!("{other}"),
        };
        touches.entry(table.clone()).or_default().insert(letter);
    }
    touches
}

/// A look at an SQLite store from outside.
struct Outside {
    connection: SqliteConnection,
    /// A query that answers the key and then the rest of every row of a table or entry of an index, by name.
    contents: Vec<(String, String)>,
    /// Names by root page; the index of a primary key is part of its table.
    trees: BTreeMap<i64, String>,
}

type Contents = BTreeMap<String, BTreeMap<String, String>>;

impl Outside {
    async fn of(path: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
        let mut connection = options.connect().await.unwrap();
        let (mut contents, mut trees) = (Vec::new(), BTreeMap::new());
        let select = "SELECT type, name, tbl_name, rootpage, coalesce(sql, '') FROM sqlite_master \
                      WHERE type IN ('table', 'index') AND tbl_name NOT LIKE '\\_sqlx%' ESCAPE '\\' ORDER BY rootpage";
        let listed: Vec<(String, String, String, i64, String)> =
            sqlx::query_as(select).fetch_all(&mut connection).await.unwrap();
        for (kind, name, table, root, sql) in listed {
            if kind == "table" {
                contents.push((name.clone(), format!("SELECT * FROM {name}")));
                trees.insert(root, name);
                continue;
            }
            let origin = format!("SELECT origin FROM pragma_index_list('{table}') WHERE name = '{name}'");
            let origin: String = sqlx::query_scalar(AssertSqlSafe(origin)).fetch_one(&mut connection).await.unwrap();
            if origin == "pk" {
                trees.insert(root, table);
                continue;
            }
            let columns = format!("SELECT group_concat(name, ' || char(0) || ') FROM pragma_index_info('{name}')");
            let columns: String = sqlx::query_scalar(AssertSqlSafe(columns)).fetch_one(&mut connection).await.unwrap();
            let condition = sql.split_once(" WHERE ").map(|(_, it)| format!(" WHERE {it}")).unwrap_or_default();
            contents.push((name.clone(), format!("SELECT {columns} || char(0) || rowid FROM {table}{condition}")));
            trees.insert(root, name);
        }
        Self { connection, contents, trees }
    }

    /// Everything there is.
    async fn contents(&mut self) -> Contents {
        let mut all = Contents::new();
        for (name, query) in &self.contents {
            let rows = sqlx::query(AssertSqlSafe(query.clone())).fetch_all(&mut self.connection).await.unwrap();
            let rows = rows.iter().map(|row| {
                let mut cells = (0..row.len()).map(|at| {
                    let is_null = row.try_get_raw(at).unwrap().is_null();
                    if is_null { "NULL".into() } else { row.try_get_unchecked::<String, _>(at).unwrap() }
                });
                (cells.next().unwrap(), cells.collect::<Vec<_>>().join("\0"))
            });
            all.insert(name.clone(), rows.collect());
        }
        all
    }

    async fn touches(&mut self, before: &Contents, after: &Contents, seen: &[Seen]) -> Touches {
        let mut touches = Touches::new();
        let mut touch = |name: &str, letter| {
            touches.entry(name.to_owned()).or_default().insert(letter);
        };
        for (name, old) in before {
            let new = &after[name];
            for (key, row) in new {
                match old.get(key) {
                    None => touch(name, 'I'),
                    Some(there) if there != row => touch(name, 'U'),
                    Some(_) => {}
                }
            }
            if old.keys().any(|key| !new.contains_key(key)) {
                touch(name, 'D');
            }
        }
        for Seen { statement, .. } in seen.iter().filter(|seen| !seen.commits() && !seen.begins()) {
            let explained = sqlx::query(AssertSqlSafe(format!("EXPLAIN {statement}")));
            for step in explained.fetch_all(&mut self.connection).await.unwrap() {
                let (operation, root): (String, i64) = (step.get("opcode"), step.get("p2"));
                if operation == "OpenRead" {
                    touch(self.trees.get(&root).unwrap_or_else(|| panic!("no tree {root}: {statement}")), 'R');
                }
            }
        }
        touches
    }
}

async fn open(backend: Backend, path: &Path, clock: &Arc<ManualClock>) -> Arc<dyn Storage> {
    let options =
        StorageOptions { backend, path: path.into(), redb: RedbOptions::default(), min_free: Default::default() };
    storage::open(&options, clock.clone()).await.unwrap()
}

/// Runs every call once, with everything there that it may touch; answers what each one touched.
async fn watch(backend: Backend) -> Vec<(String, Touches)> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_704_067_200_000).unwrap()));
    open(backend, &path, &clock).await.close().await.unwrap();
    SEEN.lock().unwrap().clear();
    let store = open(backend, &path, &clock).await;
    let mut outside = match backend {
        Backend::Sqlite => Some(Outside::of(&path).await),
        Backend::Redb => None,
    };
    // The first thing that an open store does by itself is to look for unfinished purges.
    seen_once(|seen| {
        seen.iter()
            .any(|it| (it.table == "purges" && it.access == "read") || it.statement.contains("FROM purges ORDER BY"))
    })
    .await;

    let user = store.create_user("a first key", None).await.unwrap();
    let channel = store.create_channel("general", None, 0).await.unwrap();
    let category = store.create_category("music", 0).await.unwrap();
    let beneath = store.create_channel("jazz", Some(category.id.as_str()), 1).await.unwrap();
    let posted = store.create_message(&channel.id, &user.id, "one").await.unwrap();
    let doomed = store.create_message(&channel.id, &user.id, "two").await.unwrap();
    let session = store.create_session(&user.id, Duration::from_secs(3600)).await.unwrap();
    let _short = store.create_session(&user.id, Duration::from_millis(1)).await.unwrap();
    clock.advance(Duration::from_secs(1));
    assert!(clock.now() > posted.created_at);

    let mut watched = Vec::new();
    macro_rules! call {
        ($name:ident($($argument:expr),*)) => {{
            let before = match &mut outside { Some(outside) => outside.contents().await, None => Contents::new() };
            seen_once(|seen| seen.is_empty() || is_whole(seen)).await;
            let answer = store.$name($($argument),*).await.unwrap();
            let touches = match &mut outside {
                Some(outside) => {
                    let seen = seen_once(is_whole).await;
                    let after = outside.contents().await;
                    outside.touches(&before, &after, &seen).await
                }
                None => touches_of_events(&seen_once(|seen| !seen.is_empty()).await),
            };
            watched.push((stringify!($name).to_owned(), touches));
            answer
        }};
    }
    let slot = Challenge::slot_at(clock.now());
    let log_in = |number| LogIn {
        pubkey: "somebody new".into(),
        challenge: Challenge { slot, number },
        admission: Admission::Join,
        is_bot: false,
        duration: Duration::from_secs(24 * 3600),
    };
    store.log_in(LogIn { pubkey: "swept".into(), duration: Duration::from_millis(1), ..log_in(1) }).await.unwrap();
    clock.advance(Duration::from_millis(1));
    let named = |name: &str| CategoryChoice::Name(name.to_owned());
    let edit = ChannelEdit { name: Some("all".into()), category: Some(named("music")), ..ChannelEdit::default() };
    call!(create_user("a key", Some("Ada")));
    call!(get_user_by_id(&user.id));
    call!(get_user_by_pubkey("a key"));
    call!(update_user(&user.id, Some("Bob"), None));
    call!(set_membership(&user.id, false));
    call!(list_users());
    call!(list_users_page(None, 5));
    call!(list_members_page(None, 5));
    call!(create_channel("new", None, 3));
    call!(create_channel_in("newer", named("newest"), 3));
    call!(get_channel(&channel.id));
    call!(list_channels());
    call!(update_channel(&channel.id, Some("everything"), None, None));
    call!(edit_channel(&channel.id, edit));
    call!(create_category("more", 1));
    call!(get_category(&category.id));
    call!(list_categories());
    call!(update_category(&category.id, Some("sounds"), None));
    assert_eq!(
        beneath.category_id.as_deref(),
        Some(category.id.as_str()),
        "so that a category's end changes a channel"
    );
    call!(delete_category(&category.id));
    call!(create_message(&channel.id, &user.id, "three"));
    call!(get_message(&posted.id));
    assert_eq!(call!(list_messages(&channel.id, None, 50)).len(), 3);
    assert_eq!(call!(list_messages_after(&channel.id, posted.id.as_str(), 50)).len(), 2);
    assert_eq!(call!(page_messages(&channel.id, PageAt::Before(&doomed.id), 50, 9)).messages.len(), 1);
    call!(update_message(&posted.id, "edited"));
    call!(delete_message(&doomed.id));
    call!(create_session(&user.id, Duration::from_secs(3600)));
    let newcomer = call!(log_in(log_in(0))).user;
    call!(newest_used_challenges("somebody new", &[slot]));
    assert!(call!(get_session(&session.token)).is_some());
    call!(delete_session(&session.token));
    assert_eq!(call!(delete_sessions_of_user(&newcomer.id)), 1);
    clock.advance(Duration::from_secs(600));
    assert_eq!(call!(delete_expired_sessions()), 2);
    call!(ping());
    call!(probe(Duration::ZERO));

    // Last, because what it leaves behind is reclaimed afterwards.
    let before = match &mut outside {
        Some(outside) => outside.contents().await,
        None => Contents::new(),
    };
    SEEN.lock().unwrap().clear();
    store.delete_channel(&channel.id).await.unwrap();
    let seen = seen_once(|seen| {
        seen.iter().position(Seen::ends_a_purge).is_some_and(|at| seen[at..].iter().any(Seen::commits))
    })
    .await;
    let first_commit = seen.iter().position(Seen::commits).unwrap();
    let (call, reclaiming) = seen.split_at(first_commit);
    match &mut outside {
        // What lay there between the two commits cannot be seen from outside: the statements tell.
        Some(outside) => {
            assert_eq!(written(call), ["INSERT INTO purges".to_owned()].into());
            let after = outside.contents().await;
            let mut hidden = outside.touches(&Contents::new(), &Contents::new(), call).await;
            hidden.entry("purges".into()).or_default().insert('I');
            watched.push(("delete_channel".into(), hidden));
            watched.push(("(reclaiming)".into(), {
                let mut touches = outside.touches(&before, &after, reclaiming).await;
                touches.entry("purges".into()).or_default().insert('D');
                touches
            }));
        }
        None => {
            watched.push(("delete_channel".into(), touches_of_events(call)));
            watched.push(("(reclaiming)".into(), touches_of_events(reclaiming)));
        }
    }
    seen_once(|_| true).await;
    store.close().await.unwrap();
    let seen = seen_once(|seen| !seen.is_empty()).await;
    watched.push((
        "close".into(),
        match &mut outside {
            Some(_) => {
                assert_eq!(written(&seen), ["DELETE FROM meta".to_owned(), "INSERT INTO meta".to_owned()].into());
                [("meta".to_owned(), ['U', 'D'].into())].into()
            }
            None => touches_of_events(&seen),
        },
    ));
    watched
}

/// The statements that write, as far as the name of their table.
fn written(seen: &[Seen]) -> BTreeSet<String> {
    let statements = seen.iter().map(|seen| seen.statement.as_str());
    statements
        .filter(|it| ["INSERT", "UPDATE", "DELETE"].iter().any(|verb| it.starts_with(verb)))
        .map(|it| it.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
        .collect()
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema-docs/calls.txt")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_the_contract_touches_what_the_matrix_says() {
    tracing::subscriber::set_global_default(Watch).unwrap();
    let mut text = String::from(
        "# What each call touches: R reads, I inserts, U updates, D removes. Watched while it happens by\n\
         # tests/schema_docs/touches.rs, which fails when this differs. The matrices of the pages are made from it.\n",
    );
    for backend in [Backend::Redb, Backend::Sqlite] {
        for (call, touches) in watch(backend).await {
            let _ = write!(text, "{:<6} {call:<23}", backend.name());
            for (table, letters) in touches {
                let letters: String = "RIUD".chars().filter(|letter| letters.contains(letter)).collect();
                let _ = write!(text, " {table}:{letters}");
            }
            text.push('\n');
        }
    }
    assert_all_are_watched(&text);
    if std::env::var_os("UPDATE_SCHEMA_DOCS").is_some() {
        std::fs::write(page(), &text).unwrap();
    }
    let committed = std::fs::read_to_string(page()).unwrap_or_default();
    let differing: Vec<_> = text.lines().filter(|line| !committed.lines().any(|it| it == *line)).collect();
    assert!(committed == text, "{ADVICE}\nnow:\n{}", differing.join("\n"));
}

/// No call of the contract may be missing; `MediaStore` has no backend yet.
fn assert_all_are_watched(watched: &str) {
    let traits = include_str!("../../server/src/storage/traits.rs");
    let (traits, media) = (traits.split("trait MediaStore").next().unwrap(), traits.split("pub trait Storage").nth(1));
    let declared = |text: &str| -> Vec<String> {
        let names = text.split("async fn ").skip(1);
        names.map(|rest| rest.split(['(', '<']).next().unwrap().to_owned()).collect()
    };
    let calls = [declared(traits), declared(media.unwrap())].concat();
    assert!(calls.len() > 25, "{calls:?}");
    let calls = calls.iter().filter(|call| *call != "login_key"); // read when the store is opened, and held
    for (backend, call) in calls.flat_map(|call| [("redb", call), ("sqlite", call)]) {
        let is_watched = watched.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(backend) && words.next() == Some(call)
        });
        assert!(is_watched, "{backend} {call}: call it in `watch` above, then run: bash schema-docs/update.sh");
    }
}
