//! The database behind the server: its accounts, its statements, its failures, an update of its tables. In one binary,
//! so that all of it shares one database server; a test that changes a global setting or stops the server starts one of
//! its own.

#[path = "../common/mod.rs"]
mod common;

mod culprits_of_sql;
mod database_accounts;
mod database_chaos;
mod database_names;
mod every_database;
mod leaving;
mod mariadb;
mod store_mysql;
mod table_update;
