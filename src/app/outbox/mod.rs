//! The outbox table as the service reads it.
