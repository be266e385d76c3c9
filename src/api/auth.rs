//! Checks the signature of a request (pusher.md 9.1). The messages are those of hosted Pusher where it has one, because
//! people search for them. No message contains the right signature; it contains only the text that must be signed.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{Request, StatusCode};
use md5::{Digest, Md5};

use super::parameters::Parameters;
use super::reply::Refusal;
use super::spellings;
use crate::config;
use crate::protocol::percent::AsSent;
use crate::protocol::signature;
use crate::time::Now;

/// How far the clocks of server and site may be apart, in seconds.
pub const TIMESTAMP_GRACE: u64 = 600;

/// Checks that a request was signed recently with the app's secret or the `former` one, over one of its [`spellings`],
/// and with this body.
///
/// # Errors
/// 401 that names the first error in this order: key, version, timestamp, signature, body. 400 when one of them is
/// given twice.
pub fn check(
    request: &Request<Bytes>,
    parameters: &Parameters<'_>,
    app: &config::App,
    former: Option<&str>,
    config: &config::Pusher,
    now: Now,
) -> Result<(), Refusal> {
    let key = parameters.one("auth_key")?.ok_or_else(no_key)?;
    if key != app.key {
        return Err(denied(format!("Unknown auth_key {key:?} for app {:?}", app.id)));
    }
    match parameters.one("auth_version")? {
        Some("1.0") => {}
        Some(_) => return Err(denied("Version not supported: auth_version is not 1.0")),
        None => return Err(denied("Version required: there is no auth_version")),
    }
    let timestamp = parameters
        .one("auth_timestamp")?
        .ok_or_else(|| denied("Timestamp required: there is no auth_timestamp"))?;
    check_timestamp(timestamp, now)?;
    let given = parameters
        .one("auth_signature")?
        .ok_or_else(|| denied("Missing parameter: auth_signature"))?;
    if !is_signed(request, parameters, given, &app.secret, former, config) {
        return Err(wrong_signature(request, parameters, given));
    }
    check_body(request.body(), parameters.one("body_md5")?)
}

/// The refusal for a missing `auth_key`.
pub fn no_key() -> Refusal {
    denied("Missing parameter: auth_key")
}

fn denied(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, text)
}

fn check_timestamp(text: &str, now: Now) -> Result<(), Refusal> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(denied("Timestamp required: auth_timestamp is not a number of seconds"));
    }
    let server = now.unix_ms / 1000;
    // A number that is too large counts as a time in the far future.
    let given: u64 = text.parse().unwrap_or(u64::MAX);
    if given.abs_diff(server) <= TIMESTAMP_GRACE {
        return Ok(());
    }
    Err(denied(format!(
        "Timestamp expired: Given timestamp ({}) not within {TIMESTAMP_GRACE}s of server time ({})",
        instant(given).unwrap_or_else(|| text.to_owned()),
        instant(server).unwrap_or_else(|| server.to_string()),
    )))
}

/// A time as `2012-11-16T17:42:59Z`; `None` for years that cannot be written this way.
fn instant(unix: u64) -> Option<String> {
    let unix = i64::try_from(unix).ok()?;
    Some(jiff::Timestamp::from_second(unix).ok()?.to_string())
}

/// Whether `given` is the signature of the request. Every spelling is tried, so the time tells none.
pub fn is_signed(
    request: &Request<Bytes>,
    parameters: &Parameters<'_>,
    given: &str,
    secret: &str,
    former: Option<&str>,
    config: &config::Pusher,
) -> bool {
    let signed = parameters.sorted("auth_signature");
    let spellings = spellings::of(request, config);
    let is_of = |path: &str| {
        let message = message(request, path, &signed);
        signature::matches_either(secret, former, &[message.as_bytes()], given)
    };
    spellings.iter().fold(false, |found, path| found | is_of(path))
}

/// The text that must be signed. `signed`: the sorted parameters.
fn message(request: &Request<Bytes>, path: &str, signed: &str) -> String {
    format!("{}\n{path}\n{signed}", request.method())
}

fn wrong_signature(request: &Request<Bytes>, parameters: &Parameters<'_>, given: &str) -> Refusal {
    let sent = request.extensions().get::<AsSent>();
    let path = sent.map_or(request.uri().path(), |AsSent(path)| path);
    let message = message(request, path, &parameters.sorted("auth_signature"));
    denied(format!(
        "Invalid signature: you should have sent HmacSHA256Hex({message:?}, your_secret_key), but you sent {given:?}"
    ))
}

fn check_body(body: &[u8], given: Option<&str>) -> Result<(), Refusal> {
    let Some(given) = given else {
        if body.is_empty() {
            return Ok(());
        }
        return Err(denied("Missing parameter: body_md5, for a body that is not empty"));
    };
    // The comparison needs no constant time: the hash holds no secret, and the signature has already confirmed
    // `body_md5`.
    if HEXLOWER.encode(&Md5::digest(body)).eq_ignore_ascii_case(given) {
        return Ok(());
    }
    Err(denied(
        "Invalid body MD5: body_md5 is not the MD5 of the body that came",
    ))
}
