//! The names of the redb tables: those declared, their indexes, and `meta`.

use crate::catalogue::Catalogue;

/// The table of facts about the store itself, by name.
pub(crate) const META: &str = "meta";

/// The names of all redb tables in a fixed order, so that a table is known by its position.
pub(crate) struct Slots(Vec<&'static str>);

impl Slots {
    pub(crate) fn of(catalogue: Catalogue) -> Self {
        let mut names = vec![META];
        for table in catalogue {
            let info = table.describe();
            names.push(info.name);
            names.extend(info.indexes.iter().map(|index| index.name));
        }
        Self(names)
    }

    pub(crate) fn names(&self) -> &[&'static str] {
        &self.0
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| *known == name)
    }

    pub(crate) fn name(&self, slot: usize) -> &'static str {
        self.0.get(slot).copied().unwrap_or(META)
    }
}

/// The name in [`META`] of the fingerprint of the catalogue that the indexes were made for.
pub(crate) const FINGERPRINT: &str = "catalogue";
/// What stands there while indexes are being made.
pub(crate) const UNFINISHED: &[u8] = b"unfinished";
