//! The program around the library: what it logs, which signals it takes, and how it is asked whether it is well.

mod health;
mod lines;
mod logging;
mod reload;
mod signals;

pub(crate) use self::{
    health::ask,
    logging::{Logs, check_filter},
    reload::follow,
    signals::Signals,
};
