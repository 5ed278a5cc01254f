//! The sentences, by subject.

mod atomicity;
mod categories;
mod changes;
mod channels;
mod durability;
mod ids;
mod limits;
mod log_ins;
mod messages;
mod pages;
mod sessions;
mod specification;
mod times;
mod users;

/// All sentences, module by module.
pub(crate) const ALL: &[&[crate::Sentence]] = &[
    atomicity::SENTENCES,
    categories::SENTENCES,
    changes::SENTENCES,
    channels::SENTENCES,
    durability::SENTENCES,
    ids::SENTENCES,
    limits::SENTENCES,
    log_ins::SENTENCES,
    messages::SENTENCES,
    pages::SENTENCES,
    sessions::SENTENCES,
    specification::SENTENCES,
    times::SENTENCES,
    users::SENTENCES,
];
