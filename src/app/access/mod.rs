//! stub
use crate::config::{self, Config};
use crate::joomla::acl::Acl;
use crate::store::*;
use crate::time::{Now, Time};
use super::pusher::channel::ChannelName;
pub struct Visitor<'a> { pub user: u32, pub groups: &'a [u32], pub levels: &'a [u32], pub root: bool }
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject { Open, Signed, Item { kind: usize, id: u64 }, Category { extension: String, id: u64 } }
pub fn subject(_n: ChannelName<'_>, _i: &[config::ItemType], _r: &[config::ChannelRule]) -> Subject { Subject::Open }
pub enum Verdict { Yes, No(&'static str), NotYet }
#[derive(Debug)]
pub struct Access;
impl Access {
 pub fn new(_c: &Config) -> Self { Self }
 pub fn reconfigure(&mut self, _c: &Config) {}
 pub fn decide(&mut self, _s: &Subject, _v: &Visitor<'_>, _a: &Acl, _n: Now) -> Verdict { Verdict::Yes }
 pub fn watch(&mut self, _s: &Subject) {}
 pub fn unwatch(&mut self, _s: &Subject) {}
 pub fn recheck(&mut self, _k: &str, _i: u64) {}
 pub fn recheck_all(&mut self) {}
 pub fn question(&mut self, _n: Now) -> Option<Question> { None }
 pub fn answer(&mut self, _q: &Question, _a: Result<Answer, Failure>, _n: Now) {}
 pub fn deadline(&self) -> Time { Time::NEVER }
 pub fn next_change(&self) -> Time { Time::NEVER }
 pub fn pass(&mut self, _n: Now) {}
 pub fn take_changed(&mut self) -> Vec<Subject> { Vec::new() }
}
pub fn pseudonym(_k: &[u8], _c: &str, _u: u32) -> String { String::new() }
