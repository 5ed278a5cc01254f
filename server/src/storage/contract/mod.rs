//! The words in which the contract describes its records. It names nothing else.

pub mod field;
pub mod model;
