//! stub
use std::time::Duration;
use crate::config::ListenAddr;
use crate::time::Time;
use super::io::Io;
#[derive(Debug)]
pub struct Probe<S>(Option<S>);
impl<S> Probe<S> {
 pub fn new() -> Self { Self(None) }
 pub fn is_busy(&self) -> bool { false }
 pub fn start<I: Io<Socket = S>>(&mut self, _e: &[ListenAddr], _t: Duration, _io: &mut I, _n: Time) {}
 pub fn turn<I: Io<Socket = S>>(&mut self, _e: &[ListenAddr], _io: &mut I, _n: Time) -> Option<Result<usize, String>> { None }
 pub fn ready(&mut self, _n: usize, _r: bool, _w: bool, _c: bool) -> bool { false }
 pub fn deadline(&self) -> Time { Time::NEVER }
}
