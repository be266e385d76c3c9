//! stub
use crate::config::Database;
use crate::store::*;
use crate::time::{Now, Time};
use super::pusher::{SocketId, history::Position};
#[derive(Debug)]
pub enum Control { RecheckUser(u32), TerminateUser(u32), RecheckItem { kind: String, id: u64 }, RecheckAccess }
#[derive(Debug)]
pub struct Event { pub position: Position, pub behind: Option<Position>, pub channel: String, pub event: String, pub data: String, pub except: Option<SocketId> }
#[derive(Debug)]
pub enum Seen { Event(Event), Control(Control) }
pub enum Reach { Yes, No, Ask }
#[derive(Debug)]
pub struct Outbox;
impl Outbox {
 pub fn new(_d: &Database, _p: u32, _m: usize) -> Self { Self }
 pub fn question(&mut self, _n: Now) -> Option<Question> { None }
 pub fn answer(&mut self, _q: &Question, _a: Result<Answer, Failure>, _n: Now) {}
 pub fn deadline(&self) -> Time { Time::NEVER }
 pub fn nudge(&mut self, _n: Now) {}
 pub fn take_seen(&mut self) -> Vec<Seen> { Vec::new() }
 pub fn position(&self) -> Option<Position> { None }
 pub fn position_at(&self, _ms: u64) -> Option<Position> { None }
 pub fn reaches(&mut self, _c: &str, _p: Position) -> Reach { Reach::No }
 pub fn holds(&self, _c: &str, _n: u64) -> bool { false }
 pub fn next(&self, _c: &str, _n: u64) -> Option<(u64, &tungstenite::Utf8Bytes, Option<SocketId>)> { None }
 pub fn counts(&self, _n: Now) -> serde_json::Value { serde_json::Value::Null }
}
pub fn check(_r: &NewRow, _m: usize) -> Result<(), String> { Ok(()) }
