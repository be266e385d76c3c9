//! Reads what jsocketd needs from a Joomla site: its configuration.php, its session cookies and session texts, its
//! groups, view levels and rules. These are pure functions and values: nothing here runs SQL, keeps state or handles
//! connections.

pub mod acl;
pub mod configuration;
pub mod identity;
pub mod serialize;
pub mod session;
pub mod site;
