//! Finds out whether `$cookie_path` and `$cookie_domain` keep the session cookie away from the socket. Joomla passes
//! both to PHP unchanged (`JoomlaStorage::setCookieParams`). If one is empty, PHP's own value is used: `/`, or the
//! page's host. Browsers follow RFC 6265. The address under which a proxy serves the socket is not known here, so the
//! sentences name the condition that must hold.

/// Warnings for the administrator, as sentences. `live_site` is the site's origin; `prefix` is `[pusher] path`.
pub(super) fn obstacles(path: &str, domain: &str, live_site: Option<&str>, prefix: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    let (path, domain) = (path.trim(), domain.trim());
    let socket = format!("{prefix}/app/");
    // If the path does not begin with a slash, browsers use the folder of the page instead.
    if path.starts_with('/') && !is_below(&socket, path) {
        let wanted = path.trim_end_matches('/');
        sentences.push(format!(
            "$cookie_path is {path:?}: browsers send the session cookie only below that path, and the socket is at \
             {socket}KEY, so everybody is a guest, unless the proxy serves it at {wanted}/ws/ and takes that part away. \
             Write {wanted}/ws in the proxy and in the component's options, or make $cookie_path empty"
        ));
    }
    if domain.is_empty() {
        return sentences;
    }
    if !domain
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    {
        sentences.push(format!(
            "$cookie_domain is {domain:?}, which is no host's name, so browsers refuse the session cookie and everybody is a \
             guest. Write the name alone, like \"example.org\", or make it empty"
        ));
    } else if let Some(host) = live_site.map(host_of).filter(|host| !is_within(host, domain)) {
        sentences.push(format!(
            "$cookie_domain is {domain:?}, but the site is at {host} by $live_site: browsers refuse a session cookie for another \
             host, so everybody is a guest. Correct one of the two, or make $cookie_domain empty"
        ));
    }
    sentences
}

/// Whether a path matches a cookie's path (RFC 6265, 5.1.4).
fn is_below(path: &str, cookie_path: &str) -> bool {
    path.strip_prefix(cookie_path)
        .is_some_and(|rest| rest.is_empty() || cookie_path.ends_with('/') || rest.starts_with('/'))
}

/// Whether a host matches a cookie's domain (RFC 6265, 5.1.3). A leading dot is ignored (5.2.3).
fn is_within(host: &str, domain: &str) -> bool {
    let domain = domain.strip_prefix('.').unwrap_or(domain).to_ascii_lowercase();
    let is_name = host.parse::<std::net::IpAddr>().is_err();
    let below = |rest: &str| is_name && rest.ends_with('.');
    host.strip_suffix(&domain)
        .is_some_and(|rest| rest.is_empty() || below(rest))
}

/// The host of an origin: `scheme://host[:port]` in lower case.
fn host_of(origin: &str) -> &str {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_path_that_is_not_the_sockets_is_reported_with_the_remedy() {
        for (path, prefix) in [
            ("", ""),
            ("/", ""),
            ("/app", ""),
            ("/app/", ""),
            ("/shop", "/shop"),
            ("/shop/", "/shop"),
            ("/shop", "/shop/ws"),
            ("shop", ""),
        ] {
            assert_eq!(obstacles(path, "", None, prefix), [""; 0], "{path} {prefix}");
        }
        for (path, prefix) in [
            ("/shop", ""),
            ("/shop/", ""),
            ("/shop", "/shopping"),
            ("/a", "/ws"),
            ("/app/x", ""),
        ] {
            let said = obstacles(path, "", None, prefix);
            let remedy = format!("Write {}/ws in the proxy", path.trim_end_matches('/'));
            assert!(
                said.len() == 1 && said[0].contains(&remedy),
                "{path} {prefix}: {said:?}"
            );
        }
    }

    #[test]
    fn a_cookie_domain_that_is_not_the_sites_is_reported() {
        let said = |domain: &str, site: Option<&str>| obstacles("", domain, site, "").len();
        for (domain, site) in [
            ("", Some("https://www.example.org")),
            ("example.org", Some("https://www.example.org")),
            (".Example.org", Some("https://www.example.org:8443")),
            ("www.example.org", Some("https://www.example.org")),
            ("10.0.0.1", Some("http://10.0.0.1:8080")),
            ("other.example", None),
        ] {
            assert_eq!(said(domain, site), 0, "{domain} {site:?}");
        }
        for (domain, site) in [
            ("shop.example", Some("https://www.example.org")),
            ("ample.org", Some("https://www.example.org")),
            ("www.example.org", Some("https://example.org")),
            ("0.0.1", Some("http://10.0.0.1")),
            ("example.org:8080", None),
            ("https://example.org", None),
        ] {
            assert_eq!(said(domain, site), 1, "{domain} {site:?}");
        }
    }
}
