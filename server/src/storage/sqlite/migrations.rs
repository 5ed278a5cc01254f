//! The schema's history, embedded in the program.
//!
//! Listed here rather than by sqlx's macro, which compiles sqlx and SQLite a second time, for the compiler's own use.

use std::sync::LazyLock;

use sqlx::{
    SqlStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// Embeds files of `server/migrations/`.
macro_rules! migrations {
    ($($version:literal: $file:literal, $description:literal;)*) => {
        vec![$(Migration::new(
            $version,
            $description.into(),
            MigrationType::Simple,
            SqlStr::from_static(include_str!(concat!("../../../migrations/", $file))),
            false,
        )),*]
    };
}

/// Every migration. Shipped ones are never edited: their hashes are checked, and so are the files' names, of which the
/// descriptions in the database are made.
pub(super) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    Migrator::with_migrations(migrations! {
        1: "001_initial.sql", "initial";
        2: "002_cursor_meta_purges.sql", "cursor meta purges";
        3: "003_membership_used_challenges.sql", "membership used challenges";
    })
});

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn every_file_is_embedded_as_it_is() {
        let all = |migrator: &Migrator| -> Vec<_> {
            migrator
                .iter()
                .map(|it| (it.version, it.description.clone(), it.migration_type, it.checksum.clone(), it.no_tx))
                .collect()
        };
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        assert_eq!(all(&MIGRATIONS), all(&Migrator::new(directory).await.unwrap()));
    }
}
