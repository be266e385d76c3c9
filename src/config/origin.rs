//! The origins that may connect besides the server's own host, in the one spelling that browsers send (RFC 6454, 6.2):
//! lower case, without the scheme's default port. Comparing them with a request's header is the handshake's affair.

/// Reads an origin and returns it as browsers spell it.
///
/// # Errors
/// A sentence that says what is wrong. It never repeats the text, which may hold a password.
pub(super) fn parse(text: &str) -> Result<String, &'static str> {
    if text == "*" {
        return Err("an origin cannot be `*`; list each one");
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return Err("an origin starts with its scheme, like https://example.org");
    };
    let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    if matches!(scheme.as_str(), "ws" | "wss") {
        return Err("an origin is that of the page: http or https, not ws or wss");
    }
    let scheme_is_good = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !scheme_is_good {
        return Err("an origin starts with its scheme, like https://example.org");
    }
    if authority.contains('@') {
        return Err("an origin has no user name or password");
    }
    if authority.contains(['/', '?', '#']) {
        return Err("an origin ends after its host or port, without a slash or a path");
    }
    let (host, port) = host_and_port(&authority).map_err(|bad| match bad {
        BadAuthority::Host => {
            "an origin's host is a name in ASCII (xn-- for others) or an IP address, without wildcards"
        }
        BadAuthority::Port => "an origin's port must be a number from 1 to 65535",
    })?;
    match (scheme.as_str(), port) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => Ok(format!("{scheme}://{host}")),
        (_, Some(port)) => Ok(format!("{scheme}://{host}:{port}")),
    }
}

/// Which half of `HOST[:PORT]` is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadAuthority {
    Host,
    Port,
}

/// Takes `HOST[:PORT]` apart. An IPv6 address stands in brackets and keeps them.
pub(super) fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), BadAuthority> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if !host_is_good(host) {
        return Err(BadAuthority::Host);
    }
    let Some(port) = port else {
        return Ok((host, None));
    };
    match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok((host, Some(number))),
        _ => Err(BadAuthority::Port),
    }
}

fn host_is_good(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[') {
        let address = inside.strip_suffix(']').unwrap_or("");
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn origins_are_spelled_as_browsers_do() {
        for (written, sent) in [
            ("https://example.org", "https://example.org"),
            ("HTTPS://Example.ORG:443", "https://example.org"),
            ("http://example.org:80", "http://example.org"),
            ("http://example.org:443", "http://example.org:443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(parse(written).as_deref(), Ok(sent));
        }
    }

    #[test]
    fn every_mistake_has_its_sentence() {
        for (text, sentence) in [
            ("*", "list each one"),
            ("example.org", "scheme"),
            ("1x://example.org", "scheme"),
            ("wss://example.org", "not ws"),
            ("https://example.org/", "slash"),
            ("https://example.org?x", "slash"),
            ("https://me:secret@example.org", "user name"),
            ("https://", "host"),
            ("https://*.example.org", "wildcards"),
            ("https://bücher.example", "xn--"),
            ("https://[::1", "host"),
            ("https://example.org:", "1 to 65535"),
            ("https://example.org:+1", "1 to 65535"),
            ("https://example.org:0", "1 to 65535"),
        ] {
            let why = parse(text).expect_err(text);
            assert!(why.contains(sentence) && !why.contains("secret"), "{text:?}: {why}");
        }
    }
}
