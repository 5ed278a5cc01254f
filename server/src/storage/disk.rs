//! The disk below a store, as whoever minds its room sees it.

/// The disk below a store.
pub trait Disk: Send + Sync + 'static {
    /// What it has; `None` where nobody can tell.
    fn look(&self) -> Option<Look>;
    /// Whether the reserve is there.
    fn has_reserve(&self) -> bool;
    /// Gives the reserve back; answers whether there was one.
    fn release_reserve(&self) -> bool;
    /// Takes the reserve; answers whether there was room for it.
    fn take_reserve(&self) -> bool;
}

/// What a disk has at one moment, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// What can still be written.
    pub free: u64,
    /// What is to stay free.
    pub min_free: u64,
    /// What the reserve takes.
    pub reserve: u64,
}

impl Look {
    /// Whether there is less than is to stay free.
    pub fn is_short(&self) -> bool {
        self.free < self.min_free
    }
}

/// What is to be free before changes are taken again; somewhat more than what ends that, so that the two do not alternate.
pub fn wanted(look: &Look, has_reserve: bool) -> u64 {
    let reserve = if has_reserve { 0 } else { look.reserve + look.reserve / 2 };
    look.min_free.saturating_add(look.min_free / 8).saturating_add(reserve)
}
