//! Answers of the API: JSON with status 200, or a refusal, which is another status with `{"error":"…"}`.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::protocol::event::Fault;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status, 400 to 499.
    pub status: StatusCode,
    /// A sentence for the developer of the site; libraries show it.
    pub text: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Bad(why) => Self::bad(why),
            Fault::TooLarge(why) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, why),
        }
    }
}

impl Refusal {
    /// A refusal with this status.
    pub fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            text: text.into(),
            headers: Vec::new(),
        }
    }

    /// A refusal with status 400: the request itself is wrong.
    pub fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// The same refusal for a part of the request.
    #[must_use]
    pub fn of(mut self, part: &str) -> Self {
        self.text = format!("{part}: {}", self.text).into();
        self
    }

    /// The same refusal with one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The response to send.
    pub fn into_response(self) -> Response<Bytes> {
        #[derive(Serialize)]
        struct Said<'a> {
            error: &'a str,
        }
        let mut response = json(&Said { error: &self.text });
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        if self.status == StatusCode::UNAUTHORIZED {
            // A 401 names the scheme by which one is admitted (RFC 9110 section 15.5.2). The scheme has no registered
            // name, and no client asks its user for a password because of this one.
            let challenge = HeaderValue::from_static("Pusher realm=\"jsocketd\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// A response with status 200 and a JSON value.
pub fn json(value: &impl Serialize) -> Response<Bytes> {
    let body = serde_json::to_vec(value).expect("an answer has only text keys, text and whole numbers");
    let mut response = Response::new(Bytes::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
