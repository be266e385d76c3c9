//! Who may hear what.
