//! ACL.
