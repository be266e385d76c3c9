//! MySQL.

use crate::config;use super::*;use crate::joomla::site::Database;
#[derive(Debug)]
pub struct MySql(Vec<ListenAddr>);
impl MySql { pub fn new(_d: Database, _c: config::Database, _i: Vec<config::ItemType>, _m: usize) -> Self { Self(vec![]) } }
impl Store for MySql {
 fn readiness(&self, _n: Now) -> Readiness { Readiness::Ready }
 fn endpoints(&self) -> &[ListenAddr] { &self.0 }
 fn reached(&mut self, _e: Result<usize, String>, _n: Now) {}
 fn ask(&mut self, _q: &Question, _n: Now) -> Result<Answer, Failure> { Err(Failure::Locked) }
}
