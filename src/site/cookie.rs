//! The session cookies of a request, parsed as PHP parses them.

use bytes::Bytes;
use http::{Request, header};

use crate::joomla::identity::Reason;
use crate::joomla::site::Client;
use crate::protocol::percent;
use crate::store::SessionId;

/// The session of a request, or the reason why it has none. `names`: the site's applications with the names of their
/// cookies.
///
/// # Errors
/// The request has no such cookie, or its value cannot be a session id.
pub fn session(request: &Request<Bytes>, names: &[(Client, String)]) -> Result<(SessionId, Client), Reason> {
    let mut parameters = request.uri().query().unwrap_or("").split('&');
    let wanted = match parameters.any(|parameter| parameter == "client=administrator") {
        true => Client::Administrator,
        false => Client::Site,
    };
    let mut found = None;
    for (client, name) in names {
        let Some(value) = value(request, name) else { continue };
        let session = session_id(value).ok_or(Reason::BadCookie);
        // If sessions are shared without a name, there are two cookies, and each application reads its own.
        if *client == wanted {
            return session.map(|session| (session, *client));
        }
        found = found.or(Some((session, *client)));
    }
    let (session, client) = found.ok_or(Reason::NoCookie)?;
    Ok((session?, client))
}

/// The value of a cookie. Of several cookies with the same name browsers send the most specific one first, and PHP uses
/// that one. Joomla's names are 32 hexadecimal digits, so PHP's treatment of dots, spaces and escapes in names does not
/// matter.
fn value<'a>(request: &'a Request<Bytes>, name: &str) -> Option<&'a str> {
    // Other cookies may hold any bytes; they must not hide the session cookie.
    let lines = request.headers().get_all(header::COOKIE).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        // PHP removes spaces in front of a name, and keeps spaces behind a value.
        .filter_map(|pair| str::from_utf8(pair).ok()?.trim_ascii_start().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// The session id in a cookie's value. PHP writes the comma of an id as `%2C`, and decodes the values that it reads.
/// PHP leaves an invalid escape as it is; then the value is no session id, because a session id has no percent sign.
pub fn session_id(value: &str) -> Option<SessionId> {
    SessionId::parse(&percent::decode(value)?)
}
