//! Which redirects a post follows, and what is said about the others.
//!
//! 307 and 308 ask for the same post elsewhere. They are followed once, and only to the same host, since a post carries
//! a signature and perhaps tokens that are meant for this host. 301, 302 and 303 turn a post into a GET in most
//! clients, so they are never followed: the administrator is told the URL.

use super::flight::Flight;
use crate::config::HttpUrl;

/// The most characters of a URL in a message.
const SHOWN: usize = 200;

/// What follows from the status of an answer: `None`: it is no redirect; the URL to follow, or why the post has failed.
pub(super) fn of(status: u16, flight: &Flight) -> Option<Result<HttpUrl, String>> {
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let Some(location) = flight.answer.location() else {
        return Some(Err(format!("it answered {status} without the URL of a redirect")));
    };
    let Ok(to) = flight.url.join(location) else {
        return Some(Err(format!("it answered {status} to what is no URL")));
    };
    Some(match obstacle(status, flight, &to) {
        None => Ok(to),
        Some(why) => {
            let shown: String = to.without_query().chars().take(SHOWN).collect();
            Err(format!("it answered {status} to {shown}{why}"))
        }
    })
}

/// Why a redirect is not followed; it continues the URL.
fn obstacle(status: u16, flight: &Flight, to: &HttpUrl) -> Option<&'static str> {
    if status < 307 {
        return Some(": write that URL into the configuration, if it is the target's");
    }
    if flight.redirected {
        return Some(", and that was the second redirect");
    }
    if to.host != flight.url.host {
        return Some(", which is another host: write that URL into the configuration, if it is the target's");
    }
    (flight.url.tls && !to.tls).then_some(", which is without TLS")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::outgoing::Request;

    fn of_answer(from: &str, redirected: bool, head: &str) -> Option<Result<String, String>> {
        let request = Request {
            ticket: 1,
            target: 1,
            url: from.into(),
            headers: Vec::new(),
            body: "{}".into(),
        };
        let mut flight = Flight::new(&request, &from.parse().expect("a URL"));
        flight.redirected = redirected;
        let taken = flight
            .answer
            .take(format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        assert_eq!(taken, Ok(true), "{head}");
        let status = flight.answer.status().expect("a status");
        of(status, &flight).map(|found| found.map(|to| to.to_string()))
    }

    #[test]
    fn only_307_and_308_are_followed_once_and_to_the_same_host() {
        const FROM: &str = "http://example.org/hook?secret=1";
        let follows = |to: &str| Some(Ok(to.to_owned()));
        let fails = |why: &str| Some(Err(why.to_owned()));
        for (redirected, head, wanted) in [
            (false, "200 OK", None),
            (false, "304 Not Modified\r\nLocation: /x", None),
            (false, "307 X\r\nLocation: /x?a=b", follows("http://example.org/x?a=b")),
            (
                false,
                "308 X\r\nlocation: https://EXAMPLE.org/hook",
                follows("https://example.org/hook"),
            ),
            (
                false,
                "308 X\r\nLocation: http://example.org:81/",
                follows("http://example.org:81/"),
            ),
            (
                true,
                "307 X\r\nLocation: /x?token=1",
                fails("it answered 307 to http://example.org/x, and that was the second redirect"),
            ),
            (
                false,
                "308 X\r\nLocation: https://www.example.org/hook?token=1",
                fails(
                    "it answered 308 to https://www.example.org/hook, which is another host: write that URL into the \
                     configuration, if it is the target's",
                ),
            ),
            (
                false,
                "301 X\r\nLocation: https://example.org/hook?secret=1",
                fails(
                    "it answered 301 to https://example.org/hook: write that URL into the configuration, if it is the \
                     target's",
                ),
            ),
            (false, "302 X", fails("it answered 302 without the URL of a redirect")),
            (
                false,
                "303 X\r\nLocation: http://me:hunter2@example.org/",
                fails("it answered 303 to what is no URL"),
            ),
            (
                false,
                "307 X\r\nLocation: javascript:alert(1)",
                fails("it answered 307 to what is no URL"),
            ),
        ] {
            assert_eq!(of_answer(FROM, redirected, head), wanted, "{head}");
        }
        let down = of_answer("https://example.org/", false, "307 X\r\nLocation: http://example.org/");
        assert_eq!(
            down,
            fails("it answered 307 to http://example.org/, which is without TLS")
        );
        let long = format!("301 X\r\nLocation: /{}", "x".repeat(5000));
        let said = of_answer(FROM, false, &long)
            .expect("a redirect")
            .expect_err("not followed");
        assert!(said.len() < 300, "{said}");
    }
}
