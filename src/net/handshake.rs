//! stub
use bytes::Bytes;
#[derive(Debug)]
pub struct Accept {}
impl Accept { pub fn write(&self, _: &mut Vec<u8>) {} }
pub fn wants_websocket(_: &http::Request<Bytes>) -> bool { todo!() }
pub fn check(_: &http::Request<Bytes>) -> Result<Accept, super::http::Refusal> { todo!() }
