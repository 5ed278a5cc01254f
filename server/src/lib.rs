//! decentcom: a community server and its storage.
