//! A store made of records, beside its place, and read back before anybody sees it.

use decentcom_server::storage::{
    StorageError,
    inspect::{Claim, Import},
};
use ulid::Ulid;

use super::contents::{self, Rows};
use crate::{
    format::sums::{Sum, Sums},
    outcome::{Code, Failure},
    session::{Progress, Session},
};

/// Adds `rows` to the unfinished store of `claim`, closes it, reads it back and compares. `sums` has what it holds already.
/// Answers what it holds then.
pub(crate) fn build(
    claim: &Claim,
    rows: &mut dyn Rows,
    high_water: Option<Ulid>,
    mut sums: Sums,
    session: &Session,
    progress: &Progress<'_>,
) -> Result<Vec<Sum>, Failure> {
    let mut import = claim.import()?;
    append(&mut import, claim, rows, &mut sums, progress)?;
    import.close(high_water).map_err(|error| not_stored(claim, error))?;
    let meant = sums.finish();
    check(claim, &meant, session)?;
    Ok(meant)
}

fn append(
    import: &mut Import,
    claim: &Claim,
    rows: &mut dyn Rows,
    sums: &mut Sums,
    progress: &Progress<'_>,
) -> Result<(), Failure> {
    while let Some(row) = rows.next()? {
        sums.add(&row)?;
        import.push(row).map_err(|error| not_stored(claim, error))?;
        progress.step()?;
    }
    Ok(())
}

/// Says which file it was that could not be written.
fn not_stored(claim: &Claim, error: StorageError) -> Failure {
    let Failure { code, message } = error.into();
    Failure::new(code, format!("cannot write {}: {message}", claim.partial().display()))
}

/// Reads the unfinished store back.
fn check(claim: &Claim, meant: &[Sum], session: &Session) -> Result<(), Failure> {
    let rows = meant.iter().map(|sum| sum.rows).sum();
    let progress = session.progress("reading it back", Some(rows));
    let Some(mut store) = claim.unfinished()? else {
        return Err(Failure::new(Code::Io, "the store that was just made is gone"));
    };
    let found = contents::sums(store.as_mut(), &progress)?;
    for (meant, found) in meant.iter().zip(&found) {
        if meant != found {
            let (table, meant, found) = (meant.table, describe(meant), describe(found));
            return Err(Failure::new(
                Code::Corrupt,
                format!("what was stored is not what was read: {table} should have {meant} and has {found}"),
            ));
        }
    }
    Ok(())
}

fn describe(sum: &Sum) -> String {
    format!("{} rows with SHA-256 {}", sum.rows, sum.sha256)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use decentcom_server::storage::{Backend, Category, Timestamp, inspect::Row};

    use super::*;

    struct Given(Vec<Row>);

    impl Rows for Given {
        fn next(&mut self) -> Result<Option<Row>, Failure> {
            Ok(self.0.pop())
        }
    }

    fn category(id: u128) -> Row {
        let created_at = Timestamp::MIN;
        Row::Category(Arc::new(Category { id: Ulid(id).into(), name: "name".into(), position: 0, created_at }))
    }

    #[test]
    fn a_store_that_does_not_hold_what_was_meant_is_refused() {
        for backend in [Backend::Sqlite, Backend::Redb] {
            let directory = tempfile::tempdir().unwrap();
            let (claim, _) = Claim::on(backend, &directory.path().join("store")).unwrap();
            let session = Session::silent();
            let progress = session.progress("building", None);
            let high_water = Some(Ulid(2));
            let begun = Sums::new(high_water).unwrap();
            let made = build(&claim, &mut Given(vec![category(2)]), high_water, begun, &session, &progress).unwrap();
            assert_eq!(made.iter().map(|sum| sum.rows).sum::<u64>(), 2);
            claim.discard().unwrap();

            let mut begun = Sums::new(high_water).unwrap();
            begun.add(&category(1)).unwrap(); // meant to be there, and is not
            let made = build(&claim, &mut Given(vec![category(2)]), high_water, begun, &session, &progress);
            let failure = made.unwrap_err();
            assert!(failure.code == Code::Corrupt && failure.message.contains("categories"), "{failure}");
        }
    }
}
