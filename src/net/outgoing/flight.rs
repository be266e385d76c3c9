//! A post under way: its bytes, how many of them were sent, and the part of its answer that has come.

use bytes::Bytes;

use super::Request;
use super::answer::Answer;
use crate::config::HttpUrl;

/// A post under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) ticket: u64,
    /// Where it goes: the configured URL, or that of a redirect.
    pub(super) url: HttpUrl,
    /// It followed a redirect.
    pub(super) redirected: bool,
    /// The lines of the head that do not depend on the URL.
    lines: Bytes,
    pub(super) head: Bytes,
    pub(super) body: Bytes,
    pub(super) sent: usize,
    pub(super) answer: Answer,
    /// Addresses that were tried for it.
    pub(super) tried: usize,
    /// It was sent over a kept connection. The target may have closed it before the post arrived.
    pub(super) on_kept: bool,
}

impl Flight {
    pub(super) fn new(request: &Request, url: &HttpUrl) -> Self {
        let (version, length) = (env!("CARGO_PKG_VERSION"), request.body.len());
        let mut lines = format!("User-Agent: jsocketd/{version}\r\nContent-Length: {length}\r\n");
        for (name, value) in &request.headers {
            debug_assert!(
                !format!("{name}{value}").contains(['\r', '\n']),
                "the configuration refuses such headers"
            );
            lines += &format!("{name}: {value}\r\n");
        }
        lines += "\r\n";
        Self {
            ticket: request.ticket,
            url: url.clone(),
            redirected: false,
            head: head(url, lines.as_bytes()),
            lines: lines.into(),
            body: request.body.clone(),
            sent: 0,
            answer: Answer::new(),
            tried: 0,
            on_kept: false,
        }
    }

    /// The same post before anything was done for it.
    pub(super) fn again(self) -> Self {
        Self {
            sent: 0,
            answer: Answer::new(),
            tried: 0,
            on_kept: false,
            ..self
        }
    }

    /// It goes over a connection that was kept.
    pub(super) fn over_kept(self) -> Self {
        Self { on_kept: true, ..self }
    }

    /// The same post to the URL that a redirect names.
    pub(super) fn redirected_to(self, url: HttpUrl) -> Self {
        Self {
            head: head(&url, &self.lines),
            url,
            redirected: true,
            ..self.again()
        }
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.head.len() + self.body.len()
    }
}

fn head(url: &HttpUrl, lines: &[u8]) -> Bytes {
    let first = format!("POST {} HTTP/1.1\r\nHost: {}\r\n", url.path, url.authority());
    [first.as_bytes(), lines].concat().into()
}
