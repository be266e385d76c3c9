//! stub
#![allow(missing_docs)]
use super::actions::Actions;
use super::pusher::app::Apps;
use crate::time::Now;
pub fn is_for(_: &str, _: &crate::config::Pusher) -> bool {
    false
}
pub fn answer(
    _: &http::Request<bytes::Bytes>,
    _: &mut Apps,
    _: &crate::config::Pusher,
    _: Now,
    _: &mut Actions,
) -> http::Response<bytes::Bytes> {
    http::Response::new(bytes::Bytes::new())
}
