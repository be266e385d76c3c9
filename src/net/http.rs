//! stub
use bytes::Bytes;
pub struct HttpLimits { pub head: usize, pub headers: usize, pub body: usize }
#[derive(Debug)]
pub struct Parser {}
pub enum Progress { More, Continue, Request(Incoming), Refused(Refusal) }
pub struct Incoming { pub request: http::Request<Bytes>, pub keep_alive: bool, pub head_only: bool, pub upgrade: bool }
pub struct Refusal {}
impl Refusal { pub fn into_response(self) -> http::Response<Bytes> { todo!() } }
impl Parser { pub fn new() -> Self { todo!() } pub fn in_request(&self) -> bool { todo!() }
 pub fn read(&mut self, _: &mut &[u8], _: &HttpLimits) -> Progress { todo!() } }
pub fn write_response(_: &mut Vec<u8>, _: &http::Response<Bytes>, _: http::Version, _: bool, _: bool) {}
pub fn timeout() -> Refusal { todo!() }
