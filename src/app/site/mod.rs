//! The site and its visitors.
