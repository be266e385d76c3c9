//! Serialize.
