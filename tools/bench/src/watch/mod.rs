//! What can be observed from outside of the measured code.
//!
//! ```text
//!  syncs/      fsyncs of a child process, counted exactly
//!  device.rs   the block device's counters ──┬─> mounts.rs: which file system, which device
//!  machine.rs  where a run was made, of what ┘
//!  disk.rs     what the disk does without anybody's code
//!  memory.rs   of this process
//! ```

#[cfg(test)]
mod again;
pub(crate) mod device;
pub(crate) mod disk;
pub(crate) mod machine;
pub(crate) mod memory;
mod mounts;
pub(crate) mod syncs;
