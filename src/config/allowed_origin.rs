//! The entries of `allowed_origins`: an origin, or all subdomains of a domain.

use std::fmt;
use std::str::FromStr;

use super::origin::{BadOrigin, Origin};

/// `https://example.org`, or `https://*.example.org` for every name below `example.org`, but not for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigin {
    /// The origin; with `below` its host is the domain.
    origin: Origin,
    below: bool,
}

/// What a wildcard looks like, from the scheme on.
const WILDCARD: &str = "://*.";

const MISPLACED: BadOrigin = "the wildcard * can only be the whole first part of a name, like https://*.example.org";

impl AllowedOrigin {
    /// Whether it allows pages of this origin. Scheme and port must be the same.
    pub fn allows(&self, page: &Origin) -> bool {
        page.scheme == self.origin.scheme && page.port == self.origin.port && self.has_host(&page.host)
    }

    /// Whether it names this host, in whatever case.
    pub fn has_host(&self, host: &str) -> bool {
        let own = self.origin.host.as_str();
        match self.below {
            false => host.eq_ignore_ascii_case(own),
            true => {
                let cut = host.len().checked_sub(own.len() + 1);
                cut.and_then(|cut| host.split_at_checked(cut))
                    .is_some_and(|(labels, rest)| {
                        let is_below = rest
                            .strip_prefix('.')
                            .is_some_and(|rest| rest.eq_ignore_ascii_case(own));
                        is_below && labels.split('.').all(|label| !label.is_empty())
                    })
            }
        }
    }
}

impl FromStr for AllowedOrigin {
    type Err = BadOrigin;

    /// Reads an origin as [`Origin`] does, or one with `*.` before a domain of at least two parts.
    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        if text == "*" {
            return Err(
                "an origin cannot be `*`; list each one, or all names below a domain, like https://*.example.org",
            );
        }
        let below = text.contains(WILDCARD);
        let bare = if below {
            text.replacen("*.", "", 1)
        } else {
            text.to_owned()
        };
        if bare.contains('*') {
            return Err(MISPLACED);
        }
        let origin: Origin = bare.parse()?;
        if below {
            check_domain(&origin.host)?;
        }
        Ok(Self { origin, below })
    }
}

/// Whether a wildcard may stand before this host.
fn check_domain(host: &str) -> Result<(), BadOrigin> {
    let labels: Vec<&str> = host.split('.').collect();
    let is_number = |label: &&str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit());
    if host.starts_with('[') || labels.last().is_some_and(is_number) {
        return Err("an IP address has no names below it, so no wildcard stands before it");
    }
    match labels.len() < 2 || labels.iter().any(|label| label.is_empty()) {
        true => Err("behind a wildcard stands a domain of at least two parts, like https://*.example.org"),
        false => Ok(()),
    }
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.origin.to_string();
        match self.below {
            true => f.write_str(&origin.replacen("://", WILDCARD, 1)),
            false => f.write_str(&origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> AllowedOrigin {
        text.parse().expect(text)
    }

    #[test]
    fn they_are_shown_as_browsers_spell_origins() {
        for (text, shown) in [
            ("https://example.org", "https://example.org"),
            ("HTTPS://*.Example.org:443", "https://*.example.org"),
            ("http://*.a.example.org:8080", "http://*.a.example.org:8080"),
            ("https://*.xn--bcher-kva.example", "https://*.xn--bcher-kva.example"),
            ("https://[::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(allowed(text).to_string(), shown);
            assert_eq!(allowed(shown), allowed(text));
        }
    }

    #[test]
    fn a_wildcard_allows_every_name_below_the_domain_and_nothing_else() {
        let allows = |entry: &str, page: &str| allowed(entry).allows(&page.parse().expect(page));
        let entry = "https://*.example.org";
        for page in [
            "https://www.example.org",
            "https://a.b.example.org",
            "https://WWW.Example.ORG",
            "https://www.example.org:443",
            "https://xn--bcher-kva.example.org",
        ] {
            assert!(allows(entry, page), "{page}");
        }
        for page in [
            "https://example.org",
            "https://evilexample.org",
            "https://evil-example.org",
            "https://www.example.org.evil.example",
            "https://www.example.orgx",
            "https://example.org.example",
            "http://www.example.org",
            "https://www.example.org:8443",
            "https://.example.org",
            "https://a..example.org",
            "https://www.example.org.",
            "https://org",
            "https://127.0.0.1",
            "https://[::1]",
        ] {
            assert!(!allows(entry, page), "{page}");
        }
        assert!(allows("https://*.example.org:8443", "https://www.example.org:8443"));
        assert!(!allows("https://*.example.org:8443", "https://www.example.org"));
        assert!(
            allows("https://example.org", "https://EXAMPLE.org")
                && !allows("https://example.org", "https://a.example.org")
        );
        assert!(allowed(entry).has_host("www.Example.org") && !allowed(entry).has_host("example.org"));
    }

    #[test]
    fn every_mistake_has_its_sentence() {
        for (text, sentence) in [
            ("*", "all names below a domain, like https://*.example.org"),
            ("https://*", "only be the whole first part"),
            ("https://*:443", "only be the whole first part"),
            ("https://a*.example.org", "only be the whole first part"),
            ("https://www.*.example.org", "only be the whole first part"),
            ("https://*.*.example.org", "only be the whole first part"),
            ("*://www.example.org", "only be the whole first part"),
            ("https://*.example.org:*", "only be the whole first part"),
            ("*.example.org", "only be the whole first part"),
            ("https://*.org", "at least two parts"),
            ("https://*.localhost:8080", "at least two parts"),
            ("https://*..org", "at least two parts"),
            ("https://*.example.", "at least two parts"),
            ("https://*.0.0.1", "an IP address"),
            ("https://*.[::1]", "an IP address"),
            ("https://*.", "a name in ASCII"),
            ("https://*.example.org/", "without a slash"),
            ("wss://*.example.org", "not ws"),
        ] {
            let why = text.parse::<AllowedOrigin>().expect_err(text);
            assert!(why.contains(sentence), "{text:?}: {why}");
        }
    }
}
