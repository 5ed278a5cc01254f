//! The redb tables of a store by number: `meta`, those declared, their indexes.

use crate::{error::Error, schema::catalogue::Catalogue};

use super::meta::META;

/// The names of all redb tables in a fixed order, so that a table is known by its position. `meta` is the first.
pub(crate) struct TableNumbers(Vec<&'static str>);

impl TableNumbers {
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

    pub(crate) fn number(&self, name: &str) -> Result<usize, Error> {
        self.0.iter().position(|known| *known == name).ok_or_else(|| Error::undeclared(name))
    }

    /// The name of a number that [`number`](Self::number) gave out.
    pub(crate) fn name(&self, number: usize) -> &'static str {
        self.0.get(number).copied().unwrap_or(META)
    }
}
