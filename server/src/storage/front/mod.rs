//! The shared front.
