//! The reference model: what the contract says, in memory, and scripts of calls that hold a store to it.
//!
//! ```text
//!  script.rs  random scripts ─> run.rs  each call over a store ─┬─> calls.rs  what the store answered, announced
//!                                                               └─> state.rs  what the contract says it had to
//!  hunt.rs    many scripts on every core; a failing one shrinks      (users.rs, messages.rs, sessions.rs, log_ins.rs …)
//!             and is printed so that it can be typed again
//! ```
//!
//! The model is written from `server/src/storage/traits.rs`, not from the code that it judges. What only the store can
//! know, the random part of an id and the token of a session, it takes from the answer, and checks the rest of it.
//!
//! Calls that run at the same time (`together.rs`) have many possible outcomes; there the model is the sequential
//! specification that `stateright` looks for an explanation with.

mod calls;
mod channels;
mod hunt;
mod log_ins;
mod messages;
mod names;
mod run;
mod script;
mod sessions;
mod state;
mod together;
mod users;

pub use calls::{Answer, At, Attempt, Call, Choice, Lasting, Refusal};
pub use hunt::{Disagreement, Hunt, cases};
pub use names::{Kind, Names, Text};
pub use run::{Observer, run};
pub use script::{Step, calls_at_once, calls_in_turn, listing};
