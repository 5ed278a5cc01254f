//! Typed records with secondary indexes on redb.
