//! stub
use crate::time::Time;
#[derive(Debug, Clone, Copy)]
pub enum Kind { SlowConsumer, Full, Accept }
#[derive(Debug)]
pub struct Quiet;
impl Quiet { pub fn new() -> Self { Quiet } pub fn allow(&mut self, _: Kind, _: Time) -> Option<u64> { Some(0) } }
