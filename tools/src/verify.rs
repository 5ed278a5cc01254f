//! `dcstore verify`.

use std::io::{self, Write};

use decentcom_server::storage::{
    Backend, OpenError, StorageError,
    verify::{Finding, rebuild_redb_indexes, verify_redb, verify_sqlite},
};

use crate::{Outcome, address::Address};

pub(crate) fn run(store: &Address, rebuild_indexes: bool, out: &mut impl Write) -> io::Result<Outcome> {
    if rebuild_indexes {
        if store.backend != Backend::Redb {
            let message = "--rebuild-indexes is for redb stores; SQLite has `REINDEX`".into();
            return Ok(Outcome::Failed { code: 2, message });
        }
        match rebuild_redb_indexes(&store.path) {
            Ok(rows) => writeln!(out, "made the indexes of {rows} rows anew")?,
            Err(error) => return Ok(failed(&error)),
        }
    }
    let mut problems: u64 = 0;
    let mut written = Ok(());
    let mut report = |finding: Finding| {
        problems += 1;
        if written.is_ok() {
            written = writeln!(out, "{finding}");
        }
    };
    let result = match store.backend {
        Backend::Redb => verify_redb(&store.path, &mut report),
        Backend::Sqlite => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(verify_sqlite(&store.path, &mut report))
        }
    };
    written?;
    if let Err(error) = result {
        return Ok(failed(&error));
    }
    if problems == 0 {
        writeln!(out, "{}: nothing wrong was found", store.path.display())?;
        return Ok(Outcome::Fine);
    }
    writeln!(out, "{}: {problems} problems", store.path.display())?;
    Ok(Outcome::FoundProblems)
}

fn failed(error: &OpenError) -> Outcome {
    let code = match error {
        OpenError::InUse { .. } => 3,
        OpenError::WrongFormat { .. }
        | OpenError::Damaged { .. }
        | OpenError::Storage(StorageError::Corrupt { .. }) => 4,
        OpenError::NewerFormat { .. } => 5,
        _ => 6,
    };
    Outcome::Failed { code, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use decentcom_kvstore::redb::{Database, TableDefinition};
    use decentcom_server::storage::{self, RedbOptions, Storage, StorageOptions, SystemClock};

    use super::*;

    fn outcome(address: &str, rebuild_indexes: bool) -> (u8, String) {
        let mut out = Vec::new();
        let code = match run(&address.parse().unwrap(), rebuild_indexes, &mut out).unwrap() {
            Outcome::Fine => 0,
            Outcome::FoundProblems => 1,
            Outcome::Failed { code, message } => {
                out.extend_from_slice(message.as_bytes());
                code
            }
        };
        (code, String::from_utf8(out).unwrap())
    }

    fn open(backend: Backend, path: &Path) -> Arc<dyn Storage> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let options = StorageOptions { backend, path: path.into(), redb: RedbOptions::default() };
            let store = storage::open(&options, Arc::new(SystemClock)).await.unwrap();
            let user = store.create_user("key", None).await.unwrap();
            let channel = store.create_channel("room", None, 0).await.unwrap();
            store.create_message(&channel.id, &user.id, "text").await.unwrap();
            store.close().await.unwrap();
            store
        })
    }

    #[test]
    fn a_healthy_store_of_either_backend_has_no_findings() {
        let directory = tempfile::tempdir().unwrap();
        for (backend, name) in [(Backend::Sqlite, "sqlite"), (Backend::Redb, "redb")] {
            let path = directory.path().join(name);
            drop(open(backend, &path));
            let (code, said) = outcome(&format!("{name}:{}", path.display()), false);
            assert_eq!(code, 0, "{said}");
            assert!(said.contains("nothing wrong"), "{said}");
        }
    }

    #[test]
    fn a_missing_index_entry_is_found_and_mended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        drop(open(Backend::Redb, &path));
        {
            let database = Database::open(&path).unwrap();
            let transaction = database.begin_write().unwrap();
            let users = TableDefinition::<&[u8], &[u8]>::new("users_by_pubkey");
            assert!(transaction.open_table(users).unwrap().remove(&b"key"[..]).unwrap().is_some());
            transaction.commit().unwrap();
        }
        let address = format!("redb:{}", path.display());
        let (code, said) = outcome(&address, false);
        assert_eq!(code, 1);
        assert!(said.contains("users_by_pubkey 6b6579: the record has no such index entry"), "{said}");
        assert_eq!(outcome(&address, true).0, 0);
        assert_eq!(outcome(&address, false).0, 0);
    }

    #[test]
    fn references_to_nothing_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        drop(open(Backend::Redb, &path));
        {
            let database = Database::open(&path).unwrap();
            let transaction = database.begin_write().unwrap();
            for table in ["channels", "users", "users_by_pubkey"] {
                let mut table = transaction.open_table(TableDefinition::<&[u8], &[u8]>::new(table)).unwrap();
                table.retain(|_, _| false).unwrap();
            }
            transaction.commit().unwrap();
        }
        let (code, said) = outcome(&format!("redb:{}", path.display()), false);
        assert_eq!(code, 1);
        assert!(said.contains("its channel 0") && said.contains("its author 0"), "{said}");
    }

    #[test]
    fn what_is_no_store_has_an_exit_code_of_its_own_and_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("text");
        std::fs::write(&path, "no store").unwrap();
        assert_eq!(outcome(&format!("redb:{}", path.display()), false).0, 4);
        assert_eq!(outcome(&format!("sqlite:{}", path.display()), false).0, 4);
        let nowhere = directory.path().join("nowhere");
        assert_eq!(outcome(&format!("redb:{}", nowhere.display()), false).0, 6);
        assert_eq!(outcome(&format!("sqlite:{}", nowhere.display()), false).0, 6);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(outcome(&format!("sqlite:{}", path.display()), true).0, 2);
        for bad in ["", "redb", "redb:", "mysql:x"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_store_in_use_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        drop(open(Backend::Redb, &path));
        let _held = Database::open(&path).unwrap();
        assert_eq!(outcome(&format!("redb:{}", path.display()), false).0, 3);
    }
}
