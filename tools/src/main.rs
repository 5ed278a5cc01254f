//! `dcstore`.
fn main() {}
