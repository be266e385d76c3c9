//! A post under way: its bytes, how many of them were sent, and the part of its answer that has come.

use bytes::Bytes;

use super::Request;
use super::answer::Answer;
use crate::config::HttpUrl;

/// A post under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) ticket: u64,
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
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: jsocketd/{}\r\nContent-Length: {}\r\n",
            url.path,
            url.authority(),
            env!("CARGO_PKG_VERSION"),
            request.body.len()
        );
        for (name, value) in &request.headers {
            debug_assert!(
                !format!("{name}{value}").contains(['\r', '\n']),
                "the configuration refuses such headers"
            );
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        Self {
            ticket: request.ticket,
            head: head.into(),
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

    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.head.len() + self.body.len()
    }
}
