//! The format of a file: what a program supports, what it finds, and which files it leaves alone.

use std::path::Path;

use redb::{ReadTransaction, ReadableTableMetadata, TableError, TableHandle};

use crate::{
    engine::database::{Engine, definition},
    error::{CannotOpen, Error},
    schema::catalogue::{Catalogue, fingerprint},
};

use super::{
    Store,
    meta::{FINGERPRINT, FORMAT, META, OLDEST_READER},
    numbers::TableNumbers,
    rewrite::OlderShape,
};

/// A step towards a newer format. It must be idempotent: a crash may run it twice. It never runs again once it is done,
/// which `meta` remembers by its name.
pub struct Migration {
    /// Its name, for the log and for `meta`; never reused.
    pub name: &'static str,
    /// The format that the file has afterwards; several steps may lead to the same one.
    pub to_format: u32,
    /// Does it.
    pub run: fn(&Store) -> Result<(), Error>,
}

/// Which tables, in which format.
pub struct Schema {
    /// The tables.
    pub catalogue: Catalogue,
    /// The format this program writes.
    pub format: u32,
    /// The oldest format whose programs can read what this one writes.
    pub oldest_reader: u32,
    /// The steps from every older format, in order.
    pub migrations: &'static [Migration],
    /// How tables were laid out before, the oldest first.
    pub older: &'static [OlderShape],
}

impl Schema {
    /// Tables in their first format.
    pub const fn new(catalogue: Catalogue) -> Self {
        Self { catalogue, format: 1, oldest_reader: 1, migrations: &[], older: &[] }
    }

    /// How the tables of a file of this format are laid out, if it is otherwise than today.
    pub(crate) fn older_shape(&self, format: u32) -> Option<&'static OlderShape> {
        self.older.iter().find(|shape| format <= shape.newest_format)
    }

    /// The tables that a file of this format has.
    pub(crate) fn catalogue_of(&self, format: u32) -> Catalogue {
        self.older_shape(format).map_or(self.catalogue, |shape| shape.catalogue)
    }
}

/// The format of a file that this program may use; `None` where nothing was ever set up.
pub(crate) fn refuse_what_is_not_ours(
    engine: &Engine,
    schema: &Schema,
    path: &Path,
    is_new: bool,
) -> Result<Option<u32>, CannotOpen> {
    match engine.reading(format_of)? {
        None if !is_new && engine.reading(|it| has_rows_of(it, schema))? => Err(lost_table(path, META)),
        None if !is_new && engine.reading(has_tables)? => Err(CannotOpen::Foreign { path: path.into() }),
        None => Ok(None),
        Some((found, oldest_reader)) if found > schema.format && oldest_reader > schema.format => {
            Err(CannotOpen::NewerFormat { path: path.into(), found, oldest_reader, supported: schema.format })
        }
        Some((found, _)) => Ok(Some(found)),
    }
}

/// Format and oldest reader; `None` where nothing was ever set up.
fn format_of(transaction: &ReadTransaction) -> Result<Option<(u32, u32)>, Error> {
    let table = match transaction.open_table(definition(META)) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let number = |name: &str| -> Result<Option<u32>, Error> {
        let Some(value) = table.get(name.as_bytes())? else { return Ok(None) };
        let number = std::str::from_utf8(value.value()).ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| Error::corrupt(META, name.as_bytes(), "it is not a number"))
    };
    Ok(match number(FORMAT)? {
        None => None,
        Some(format) => Some((format, number(OLDEST_READER)?.unwrap_or(format))),
    })
}

/// Whether the file has tables, of whomever. A start that was cut short before anything was set up leaves empty ones of
/// ours, with an empty `meta` among them.
fn has_tables(transaction: &ReadTransaction) -> Result<bool, Error> {
    let names: Vec<String> = transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    Ok(!names.is_empty() && !names.iter().any(|name| name == META))
}

/// Whether a file that lacks a `meta` of ours has records of ours all the same. One whose set-up was cut short has none.
fn has_rows_of(transaction: &ReadTransaction, schema: &Schema) -> Result<bool, Error> {
    for table in schema.catalogue {
        match transaction.open_table(definition(table.describe().name)) {
            Ok(table) if table.len()? > 0 => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

/// A table that a file made for this very catalogue had at its first start and that is gone, or is none of ours, by now.
pub(crate) fn lost(engine: &Engine, catalogue: Catalogue) -> Result<Option<&'static str>, Error> {
    engine.reading(|transaction| {
        let made_for = transaction.open_table(definition(META))?.get(FINGERPRINT.as_bytes())?;
        if made_for.is_none_or(|it| it.value() != fingerprint(catalogue).as_bytes()) {
            return Ok(None); // it may be older than some of them
        }
        for name in TableNumbers::of(catalogue).names() {
            match transaction.open_table(definition(name)) {
                Ok(_) => {}
                Err(TableError::Storage(error)) => return Err(error.into()),
                Err(_) => return Ok(Some(*name)),
            }
        }
        Ok(None)
    })
}

pub(super) fn lost_table(path: &Path, table: &str) -> CannotOpen {
    let problem = format!("its table `{table}` is missing, or was replaced by one of another type");
    CannotOpen::Damaged { path: path.into(), problem }
}
