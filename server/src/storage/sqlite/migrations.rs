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
}
