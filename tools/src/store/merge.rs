//! Two sequences of records in step.

use decentcom_server::storage::inspect::Row;

use super::contents::Rows;
use crate::{format::rules::position, outcome::Failure};

/// A record, and which of the two have it.
pub(crate) enum Pair {
    Left(Row),
    Right(Row),
    Both(Row, Row),
}

/// Two sequences in step, by table and key.
pub(crate) struct Merge<L, R> {
    left: Ahead<L>,
    right: Ahead<R>,
}

/// A sequence, one record of which may be read already.
struct Ahead<S> {
    rows: S,
    head: Option<Row>,
}

impl<S: Rows> Ahead<S> {
    fn fill(&mut self) -> Result<(), Failure> {
        if self.head.is_none() {
            self.head = self.rows.next()?;
        }
        Ok(())
    }
}

impl<L: Rows, R: Rows> Merge<L, R> {
    pub(crate) fn new(left: L, right: R) -> Self {
        Self { left: Ahead { rows: left, head: None }, right: Ahead { rows: right, head: None } }
    }

    /// The next record of either. What it came from has not been read any further.
    pub(crate) fn next(&mut self) -> Result<Option<Pair>, Failure> {
        self.left.fill()?;
        self.right.fill()?;
        let order = match (&self.left.head, &self.right.head) {
            (Some(left), Some(right)) => position(left).cmp(&position(right)),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, _) => std::cmp::Ordering::Greater,
        };
        let left = if order.is_le() { self.left.head.take() } else { None };
        let right = if order.is_ge() { self.right.head.take() } else { None };
        Ok(match (left, right) {
            (Some(left), Some(right)) => Some(Pair::Both(left, right)),
            (Some(left), None) => Some(Pair::Left(left)),
            (None, Some(right)) => Some(Pair::Right(right)),
            (None, None) => None,
        })
    }

    pub(crate) fn right(&mut self) -> &mut R {
        &mut self.right.rows
    }
}

impl<T: Rows> Rows for Option<T> {
    fn next(&mut self) -> Result<Option<Row>, Failure> {
        self.as_mut().map_or(Ok(None), Rows::next)
    }
}
