//! The lines that a web server needs to pass WebSockets on to jsocketd, on the site's own host: `jsocketd setup` writes
//! them, `jsocketd doctor` prints them. They say the same as `conf/nginx.conf` and `conf/apache.conf`; a test compares
//! the directives.
//!
//! In Apache all lines stand in one `<Location>`. Outside of it they would change the headers of every other request
//! of the site's host, too. In nginx the location begins with `^~`, so that no regular expression of the site's own
//! locations comes first.

use std::fmt::{self, Write};

/// A web server that can pass WebSockets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// nginx, with what every package of it contains.
    Nginx,
    /// Apache 2.4.47 or newer, with mod_proxy, mod_proxy_http and mod_headers.
    Apache,
}

impl Proxy {
    /// The one of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = [Self::Nginx, Self::Apache].into_iter();
        all.find(|proxy| proxy.to_string().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nginx => "nginx",
            Self::Apache => "Apache",
        })
    }
}

/// All lines for a person to copy, with comments that say where they belong. `upstream` is where jsocketd listens:
/// `127.0.0.1:8080` or `unix:/run/jsocketd/jsocketd.sock`. `path` is what precedes jsocketd's own paths in public
/// addresses: `/ws`, without a slash at its end.
pub fn lines(proxy: Proxy, upstream: &str, path: &str) -> String {
    match proxy {
        Proxy::Nginx => format!(
            "# Into http {{ }}, for instance as the file /etc/nginx/conf.d/jsocketd.conf:\n{}\n# Into each server {{ }} \
             of the site:\n{}",
            nginx_http("jsocketd", upstream),
            nginx_location("jsocketd", path)
        ),
        Proxy::Apache => format!(
            "# Once: a2enmod proxy proxy_http headers. Then into each <VirtualHost> of the site:\n{}",
            apache_location(upstream, path)
        ),
    }
}

/// The lines for `http { }` of nginx: `name` is the upstream's name and the beginning of the variable's; it has only
/// letters, digits and `_`.
pub fn nginx_http(name: &str, upstream: &str) -> String {
    let upstream = quoted(upstream);
    format!(
        "map $http_upgrade ${name}_connection {{
    default upgrade;
    \"\"      \"\";  # an ordinary request keeps the connection to jsocketd open
}}

upstream {name} {{
    server {upstream};
    keepalive 16;
}}
"
    )
}

/// The location for a `server { }` of nginx, for the upstream that [`nginx_http`] names.
pub fn nginx_location(name: &str, path: &str) -> String {
    let place = quoted(&format!("{path}/"));
    format!(
        "location ^~ {place} {{
    proxy_pass http://{name}/;  # the slash at its end takes the path away
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection ${name}_connection;
    proxy_set_header Host $http_host;  # with its port: it is compared with the page's origin
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;  # write https where another proxy in front of nginx ends TLS
    proxy_read_timeout 300s;  # more than ping_interval and ping_timeout together
    proxy_send_timeout 300s;
    proxy_buffering off;
}}
"
    )
}

/// The location for a `<VirtualHost>` of Apache.
pub fn apache_location(upstream: &str, path: &str) -> String {
    let target = match upstream.starts_with("unix:") {
        true => format!("{upstream}|http://localhost/"),
        false => format!("http://{upstream}/"),
    };
    let (target, place) = (quoted(&target), quoted(&format!("{path}/")));
    format!(
        "<Location {place}>
    ProxyPreserveHost On
    RequestHeader unset X-Forwarded-Host
    # Write \"https\" in place of the expression where another proxy in front of Apache ends TLS.
    RequestHeader set X-Forwarded-Proto expr=%{{REQUEST_SCHEME}}
    # The timeout is longer than ping_interval and ping_timeout together.
    ProxyPass {target} upgrade=websocket timeout=300 flushpackets=on
</Location>
"
    )
}

/// The text as one word of both servers' configurations: in quotes where it has other characters than paths and
/// addresses usually have. A line break becomes a space, since it would end the directive in Apache.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._:-[]%~".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => _ = write!(quoted, "\\{c}"),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The directives without comments, places and the values that are a site's own.
    fn directives(text: &str) -> BTreeSet<String> {
        let lines = text
            .lines()
            .map(|line| line.split(" #").next().unwrap_or_default().trim());
        lines
            .filter(|line| !line.is_empty() && !line.starts_with(['#', '<', '}']))
            .filter(|line| {
                !["location ", "server ", "server_name ", "listen "]
                    .iter()
                    .any(|start| line.starts_with(start))
            })
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    fn set(lines: &[&str]) -> BTreeSet<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn nginx_gets_the_directives_of_conf() {
        let mut conf = directives(include_str!("../../conf/nginx.conf"));
        assert!(conf.len() > 12, "{conf:?}");
        // Only the target differs: there the location has no path to take away.
        assert!(conf.remove("proxy_pass http://jsocketd;"));
        let mut own = directives(&lines(Proxy::Nginx, "127.0.0.1:8080", "/ws"));
        assert!(own.remove("proxy_pass http://jsocketd/;"));
        assert_eq!(own, conf);
    }

    #[test]
    fn apache_gets_the_directives_of_conf() {
        let is_pass = |line: &String| line.starts_with("ProxyPass ") || line.starts_with("ProxyPassMatch ");
        let conf = directives(include_str!("../../conf/apache.conf"));
        let (pass, mut conf): (BTreeSet<_>, BTreeSet<_>) = conf.into_iter().partition(is_pass);
        assert!(pass.contains("ProxyPass / http://127.0.0.1:8080/ upgrade=websocket timeout=300 flushpackets=on"));
        // It is the default, it cannot stand in a <Location>, and it would end a forward proxy of the host.
        assert!(conf.remove("ProxyRequests Off"));
        assert!(conf.remove("ServerName ws.example.org") && conf.remove("ServerName www.example.org"));
        let own = directives(&lines(Proxy::Apache, "127.0.0.1:8080", "/ws"));
        let (pass, own): (BTreeSet<_>, BTreeSet<_>) = own.into_iter().partition(is_pass);
        assert_eq!(own, conf);
        assert_eq!(
            pass,
            set(&["ProxyPass http://127.0.0.1:8080/ upgrade=websocket timeout=300 flushpackets=on"])
        );
    }

    #[test]
    fn the_values_are_filled_in() {
        let nginx = lines(Proxy::Nginx, "unix:/run/jsocketd/jsocketd.sock", "/joomla/ws");
        assert!(
            nginx.contains("    server unix:/run/jsocketd/jsocketd.sock;\n"),
            "{nginx}"
        );
        assert!(nginx.contains("\nlocation ^~ /joomla/ws/ {\n"), "{nginx}");
        let apache = lines(Proxy::Apache, "unix:/run/jsocketd/jsocketd.sock", "");
        assert!(apache.contains("\n<Location />\n"), "{apache}");
        let target = "    ProxyPass \"unix:/run/jsocketd/jsocketd.sock|http://localhost/\" upgrade=websocket ";
        assert!(apache.contains(target), "{apache}");
        let other = nginx_http("jsocketd_b", "[::1]:8081") + &nginx_location("jsocketd_b", "/ws");
        for line in [
            "map $http_upgrade $jsocketd_b_connection {",
            "upstream jsocketd_b {",
            "server [::1]:8081;",
            "proxy_pass http://jsocketd_b/;",
            "proxy_set_header Connection $jsocketd_b_connection;",
        ] {
            assert!(other.contains(line), "{other}");
        }
    }

    #[test]
    fn no_value_ends_its_directive() {
        for path in ["/a b", "/a;b", "/a\nb", "/a\"b", "/a{b", "/a#b", "/a>b"] {
            let place = nginx_location("jsocketd", path).lines().next().map(str::to_owned);
            let place = place.unwrap_or_default();
            assert!(
                place.starts_with("location ^~ \"/a") && place.ends_with("b/\" {"),
                "{place}"
            );
            let place = apache_location("127.0.0.1:8080", path);
            assert!(place.starts_with("<Location \"/a"), "{place}");
            assert!(
                place.lines().next().is_some_and(|line| line.ends_with("b/\">")),
                "{place}"
            );
        }
    }
}
