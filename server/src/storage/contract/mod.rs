//! The words in which the contract describes its records and its calls. It names nothing else.

pub mod around;
pub mod field;
pub mod model;
