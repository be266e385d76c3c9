//! The origin of a site, from its `$live_site`.

use crate::config::Origin;

/// `scheme://host[:port]` of an address, as browsers write it in `Origin`. The path is ignored.
pub(super) fn origin(text: &str) -> Option<String> {
    let origin = Origin::of_address(text.trim()).ok()?;
    matches!(origin.scheme.as_str(), "http" | "https").then(|| origin.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_browsers_send() {
        for (live_site, sent) in [
            ("https://www.Example.org", Some("https://www.example.org")),
            ("HTTPS://example.org:443/joomla/", Some("https://example.org")),
            (" http://example.org:8080/a?b#c ", Some("http://example.org:8080")),
            ("http://example.org:443", Some("http://example.org:443")),
            ("http://[::1]:80/", Some("http://[::1]")),
            ("http://[::1]", Some("http://[::1]")),
            ("https://example.org:", Some("https://example.org")),
            ("www.example.org", None),
            ("ftp://example.org", None),
            ("https://", None),
            ("https://me@example.org", None),
            ("https://bücher.example", None),
            ("https://example.org:0", None),
            ("https://example.org:x", None),
            ("https://[::1", None),
        ] {
            assert_eq!(origin(live_site).as_deref(), sent, "{live_site}");
        }
    }
}
