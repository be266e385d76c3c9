//! `jsocketd setup` on whole machines: each test makes a root folder with nginx and Apache as Debian's packages arrange
//! them, and runs the built binary in it, beside the real `nginx -t` and `apache2ctl configtest`. What the command
//! leaves is compared file by file. The tests are for root, because only root can change its root folder.

mod apache;
mod faults;
mod instances;
mod machine;
mod nginx;
