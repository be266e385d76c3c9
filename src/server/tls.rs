//! TLS in the loop: the settings of new sessions, the handshakes that a tick may make, and their counts. `net::tls` has
//! the sessions, `process::certificates` reads the files.

use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, header};

use crate::id::ConnectionId;
use crate::logging::Kind;
use crate::net::connection::Connection;
use crate::net::event::Over;
use crate::net::io::{Io, Socket};
use crate::net::tls::{ServerSettings, Session};
use crate::protocol::actions::{Action, Actions};
use crate::service::TlsStats;

use super::act::Dispatcher;

/// The time of one tick for handshakes. A signature takes 30 µs to 6 ms, as its key is: connections that shake hands
/// wait for the next tick when it is used up, so that a crowd of new clients delays others by one of these at most.
const HANDSHAKES: Duration = Duration::from_millis(3);

/// The port that https needs no number for.
const USUAL: u16 = 443;

/// What the loop has for TLS.
#[derive(Debug, Default)]
pub(super) struct Tls {
    /// `None`: no listener speaks TLS.
    settings: Option<ServerSettings>,
    /// The port to which plain requests are redirected.
    port: u16,
    /// What handshakes of this tick took, in microseconds.
    spent: u64,
    pub(super) stats: TlsStats,
}

impl Tls {
    /// Uses these settings for connections that come from here on. `expires`: when the first certificate does, in
    /// seconds since 1970.
    pub(super) fn set(&mut self, settings: ServerSettings, expires: u64) {
        self.settings = Some(settings);
        self.stats.expires = expires;
    }

    /// Redirects to this port.
    pub(super) fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    /// A tick begins.
    pub(super) fn refill(&mut self) {
        self.spent = 0;
    }

    /// Whether this tick may make another handshake.
    pub(super) fn may_shake_hands(&self) -> bool {
        u128::from(self.spent) < HANDSHAKES.as_micros()
    }

    /// A part of a handshake took so many microseconds.
    pub(super) fn spend(&mut self, us: u32) {
        self.spent += u64::from(us);
    }

    /// Begins TLS on a connection that was accepted.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub(super) fn begin<S: Socket>(&self, connection: &mut Connection<S>) -> Result<(), rustls::Error> {
        if let Some(settings) = self.settings.as_ref().filter(|_| connection.peer.secure) {
            connection.socket.secure(Session::server(settings)?);
        }
        Ok(())
    }

    /// Counts a handshake that has just become complete.
    pub(super) fn note_complete(&mut self, session: &Session) {
        match session.was_resumed() {
            true => self.stats.resumed += 1,
            false => self.stats.full += 1,
        }
    }

    /// Counts a connection whose TLS failed, or whose handshake came to no end.
    pub(super) fn note_end<S: Socket>(&mut self, connection: &Connection<S>, over: &Over) {
        let Some(session) = connection.socket.session() else {
            return;
        };
        let is_late = matches!(over, Over::TimedOut(..)) && session.is_handshaking();
        if let Some(reason) = session.failure().or(is_late.then_some("timeout")) {
            self.stats.failed(reason);
        }
    }

    /// The answer to a request that came without TLS to an address of `redirect_from`: the same by https. The host is
    /// the one that the client named.
    pub(super) fn redirect(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from_static(b"https:// has it\n"));
        let location = named(request).and_then(|host| {
            let port = if self.port == USUAL {
                String::new()
            } else {
                format!(":{}", self.port)
            };
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            HeaderValue::try_from(format!("https://{}{port}{path}", host.host())).ok()
        });
        match location {
            Some(location) => {
                // It keeps the method and the body, unlike 301.
                *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
                response.headers_mut().insert(header::LOCATION, location);
            }
            None => {
                *response.status_mut() = StatusCode::BAD_REQUEST;
                *response.body_mut() = Bytes::from_static(b"a request here must name one host\n");
            }
        }
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        response
    }
}

/// The host of a request, if it names one and no user.
fn named(request: &Request<Bytes>) -> Option<Authority> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, None) = (hosts.next()?, hosts.next()) else {
        return None;
    };
    let host: Authority = host.to_str().ok()?.parse().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    (!host.host().is_empty() && host.as_str().bytes().all(is_plain)).then_some(host)
}

/// Begins TLS on a connection that was just accepted, if its listener speaks TLS.
pub(super) fn begin<I: Io>(dispatcher: &mut Dispatcher<I>, connection: &mut Connection<I::Socket>) {
    if let Err(error) = dispatcher.tls.begin(connection) {
        connection.doom();
        dispatcher.warn(Kind::Accept, format_args!("a connection gets no TLS: {error}"));
    }
}

/// Whether a connection came by a listener that redirects.
pub(super) fn redirects<I: Io>(dispatcher: &mut Dispatcher<I>, id: ConnectionId) -> bool {
    let entry = dispatcher.connections.find(id);
    entry.is_some_and(|entry| entry.connection.peer.redirects)
}

/// Answers a request that came by such a listener.
pub(super) fn redirect<I: Io>(dispatcher: &mut Dispatcher<I>, id: ConnectionId, request: &Request<Bytes>) {
    dispatcher.called(id, request);
    let elsewhere = Box::new(dispatcher.tls.redirect(request));
    dispatcher.act(Action::Respond(id, elsewhere), &Actions::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_redirected_to_the_host_that_it_names() {
        let tls = |port| Tls { port, ..Tls::default() };
        for (port, host, target, location) in [
            (443, "example.org", "/", "https://example.org/"),
            (443, "example.org:80", "/a?b=c", "https://example.org/a?b=c"),
            (8443, "example.org:8080", "/", "https://example.org:8443/"),
            (443, "[::1]:80", "/x", "https://[::1]/x"),
            (443, "10.0.0.1", "http://evil.example/x", "https://10.0.0.1/x"),
        ] {
            let request = Request::get(target)
                .header("Host", host)
                .body(Bytes::new())
                .expect(host);
            let response = tls(port).redirect(&request);
            assert_eq!(response.status(), 308);
            assert_eq!(response.headers()["location"], location);
        }
        for hosts in [
            &[][..],
            &["a.example", "b.example"],
            &["me@a.example"],
            &["a b"],
            &[""],
            &["a.example/"],
        ] {
            let mut request = Request::get("/");
            for host in hosts {
                request = request.header("Host", *host);
            }
            let response = tls(443).redirect(&request.body(Bytes::new()).expect("a request"));
            assert_eq!(response.status(), 400, "{hosts:?}");
            assert!(!response.headers().contains_key("location"));
        }
    }

    #[test]
    fn a_tick_has_its_share_of_handshakes() {
        let mut tls = Tls::default();
        assert!(tls.may_shake_hands());
        tls.spend(2_999);
        assert!(tls.may_shake_hands());
        tls.spend(1);
        assert!(!tls.may_shake_hands());
        tls.refill();
        assert!(tls.may_shake_hands());
    }
}
