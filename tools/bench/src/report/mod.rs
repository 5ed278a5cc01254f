//! What is made of results: text for a terminal, a page for a browser, the comparison of two runs.
//!
//! ```text
//!  results.rs ─> measure.rs (the figure that counts) ─> compare.rs
//!                groups.rs (columns of a workload) ──> table.rs, page.rs <─ answer.rs (a paragraph)
//!                sizes.rs (curves over sizes), figures.rs (other charts) ──> charts.rs (SVG) ──> page.rs
//!                words.rs: figures for people
//! ```

mod answer;
mod charts;
pub(crate) mod compare;
mod figures;
mod groups;
mod measure;
pub(crate) mod page;
mod sizes;
pub(crate) mod table;
mod words;

#[cfg(test)]
mod sample;
