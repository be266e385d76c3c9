//! What a Joomla site is: its configuration.php, its session cookies and session texts, its groups, view levels and
//! rules, as far as jsocketd must know them. Facts in, facts out: nothing here runs SQL, keeps state or knows of
//! connections.

pub mod acl;
pub mod configuration;
pub mod identity;
pub mod serialize;
pub mod session;
pub mod site;
