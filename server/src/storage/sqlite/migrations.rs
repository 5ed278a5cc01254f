//! The schema's history: the files of `server/migrations/`, embedded in the program by its `build.rs`.

use std::sync::LazyLock;

use sqlx::{
    SqlStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// Names and texts, in order.
const FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// Every migration. Shipped ones are never edited: their hashes are checked, and so are the files' names, of which the
/// descriptions in the database are made.
pub(super) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    Migrator::with_migrations(FILES.iter().filter_map(|(name, text)| migration(name, text)).collect())
});

/// The migration in a file named `<version>_<description>.sql`.
fn migration(name: &str, text: &'static str) -> Option<Migration> {
    let (version, description) = name.strip_suffix(".sql")?.split_once('_')?;
    let description = description.replace('_', " ").into();
    let text = SqlStr::from_static(text);
    Some(Migration::new(version.parse().ok()?, description, MigrationType::Simple, text, false))
}

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

    /// A line for each migration that was shipped: its version, the first bytes of its SHA-384. Files in the field have the
    /// hashes, and a program whose migration has another refuses such a file. `cargo xtask docs` appends what is new.
    const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/storage/sqlite/shipped.txt");

    #[test]
    fn migrations_that_were_shipped_are_never_edited() {
        let shipped = std::fs::read_to_string(SHIPPED).unwrap();
        let line = |it: &Migration| format!("{} {}\n", it.version, crate::storage::token::hex(&it.checksum[..8]));
        let found: String = MIGRATIONS.iter().map(line).collect();
        assert!(found.starts_with(&shipped), "one that was shipped stays as it is, to the last space:\n{found}");
        if std::env::var_os("UPDATE_SCHEMA_DOCS").is_some() {
            std::fs::write(SHIPPED, found).unwrap();
        } else {
            assert_eq!(found, shipped, "a migration is new. Once it is as it should be, run: cargo xtask docs");
        }
    }
}
