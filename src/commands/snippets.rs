//! The lines that a web server needs to pass WebSockets on to jsocketd: `jsocketd setup` writes them, `jsocketd doctor`
//! prints them. Their only source are the files of `conf/`: the lines are cut out of these, and the sample's values are
//! replaced. The status page of the Joomla package does the same (`Snippets.php`).
//!
//! In Apache all lines stand in one `<Location>`. Outside of it they would change the headers of every other request
//! of the site's host, too. In nginx the location begins with `^~`, so that no regular expression of the site's own
//! locations comes first.

use std::fmt::{self, Write};

/// The whole files for the four products, as a person adapts them.
const NGINX: &str = include_str!("../../conf/nginx.conf");
const APACHE: &str = include_str!("../../conf/apache.conf");
const CADDY: &str = include_str!("../../conf/Caddyfile");
const HAPROXY: &str = include_str!("../../conf/haproxy.cfg");

/// Where jsocketd listens in the files.
const UPSTREAM: &str = "127.0.0.1:8080";

/// What precedes jsocketd's own paths in the files.
const PLACE: &str = "/ws/";

/// A web server that can pass WebSockets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// nginx, with what every package of it contains.
    Nginx,
    /// Apache 2.4.47 or newer, with mod_proxy, mod_proxy_http and mod_headers.
    Apache,
    /// Caddy 2.
    Caddy,
    /// HAProxy 2.4 or newer.
    Haproxy,
}

impl Proxy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nginx, Self::Apache, Self::Caddy, Self::Haproxy];

    /// The one of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|proxy| proxy.to_string().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nginx => "nginx",
            Self::Apache => "Apache",
            Self::Caddy => "Caddy",
            Self::Haproxy => "HAProxy",
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
        Proxy::Caddy => format!(
            "# /etc/caddy/Caddyfile: into the block of the site.\n{}",
            caddy_lines(upstream, path)
        ),
        Proxy::Haproxy => format!(
            "# /etc/haproxy/haproxy.cfg: into the frontend of the site.\n{}\n# At the end of the same file:\n{}",
            haproxy_frontend(path),
            haproxy_backend(upstream, path)
        ),
    }
}

/// The lines for `http { }` of nginx: `name` is the upstream's name and the beginning of the variable's; it has only
/// letters, digits and `_`.
pub fn nginx_http(name: &str, upstream: &str) -> String {
    let (map, server) = (block(NGINX, "map "), block(NGINX, "upstream "));
    let map = map.replace("$jsocketd_", &format!("${name}_"));
    let server = server.replace("upstream jsocketd ", &format!("upstream {name} "));
    map + "\n" + &server.replace(UPSTREAM, &quoted(upstream))
}

/// The location for a `server { }` of nginx, for the upstream that [`nginx_http`] names.
pub fn nginx_location(name: &str, path: &str) -> String {
    let text = block(NGINX, "location ").replace("$jsocketd_", &format!("${name}_"));
    let text = text.replace("//jsocketd/", &format!("//{name}/"));
    text.replacen(PLACE, &quoted(&format!("{path}/")), 1)
}

/// The location for a `<VirtualHost>` of Apache.
pub fn apache_location(upstream: &str, path: &str) -> String {
    let target = match upstream.starts_with("unix:") {
        true => format!("{upstream}|http://localhost/"),
        false => format!("http://{upstream}/"),
    };
    let text = block(APACHE, "<Location ").replace(&format!("http://{UPSTREAM}/"), &quoted(&target));
    text.replacen(PLACE, &quoted(&format!("{path}/")), 1)
}

/// The lines for the site's block of a Caddyfile.
pub fn caddy_lines(upstream: &str, path: &str) -> String {
    let target = match upstream.strip_prefix("unix:") {
        Some(socket) => format!("unix/{socket}"),
        None => upstream.to_owned(),
    };
    let text = block(CADDY, "handle_path ").replace(UPSTREAM, &quoted(&target));
    text.replacen(&format!("{PLACE}*"), &quoted(&format!("{path}/*")), 1)
}

/// The line for the site's frontend in HAProxy.
pub fn haproxy_frontend(path: &str) -> String {
    block(HAPROXY, "use_backend ").replacen(PLACE, &single_quoted(&format!("{path}/")), 1)
}

/// The backend that [`haproxy_frontend`] names.
pub fn haproxy_backend(upstream: &str, path: &str) -> String {
    let target = upstream.replacen("unix:", "unix@", 1);
    // A character class, because a backslash would have to be doubled without quotes.
    let literal = path.chars().map(|c| match c {
        '.' | '+' | '*' | '?' | '(' | ')' | '{' | '}' | '|' | '$' | '[' => format!("[{c}]"),
        '^' | '\\' => format!("\\{c}"),
        _ => c.to_string(),
    });
    let pattern = format!("^{}(/.*)", literal.collect::<String>());
    let pattern = match path.chars().all(|c| is_plain(c) && c != '[') {
        true => pattern,
        false => single_quoted(&pattern),
    };
    let text = block(HAPROXY, "backend jsocketd").replace("^/ws(/.*)", &pattern);
    text.replace(
        &format!("jsocketd {UPSTREAM}"),
        &format!("jsocketd {}", single_quoted(&target)),
    )
}

/// A block of a file: the line that begins with `start`, all lines that are indented below it, and the line that closes
/// it. The lines lose the indentation that the first one has.
fn block(file: &str, start: &str) -> String {
    let depth_of = |line: &str| line.len() - line.trim_start().len();
    let mut lines = file.lines().skip_while(|line| !line.trim_start().starts_with(start));
    let first = lines.next().unwrap_or_default();
    let depth = depth_of(first);
    let mut text = format!("{}\n", first.trim_start());
    for line in lines {
        let is_inside = !line.is_empty() && depth_of(line) > depth;
        let closes = !is_inside && depth_of(line) == depth && line.trim_start().starts_with(['}', '<']);
        if is_inside || closes {
            text += line.get(depth..).unwrap_or_default();
            text.push('\n');
        }
        if !is_inside {
            break;
        }
    }
    text
}

/// Whether a character has no meaning of its own in any of the formats.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._:-[]%~@*".contains(c)
}

/// The text as one word of a configuration of nginx, Apache or Caddy: in quotes where it has other characters than
/// paths and addresses usually have. A line break becomes a space, since it would end the directive in Apache.
fn quoted(text: &str) -> String {
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

/// The same for HAProxy, which replaces variables in double quotes.
fn single_quoted(text: &str) -> String {
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let text = text.replace(char::is_control, " ").replace('\'', "'\\''");
    format!("'{text}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: &str = "unix:/run/jsocketd/jsocketd.sock";

    /// With the values of the files, the lines are those of the files.
    #[test]
    fn the_lines_are_those_of_conf() {
        for (proxy, file) in Proxy::ALL.into_iter().zip([NGINX, APACHE, CADDY, HAPROXY]) {
            let there: Vec<&str> = file.lines().map(str::trim_start).collect();
            let text = lines(proxy, "127.0.0.1:8080", "/ws");
            let own: Vec<&str> = text.lines().filter(|line| !line.starts_with("# ")).collect();
            assert!(own.len() >= 3, "{text}");
            for line in own {
                assert!(
                    there.contains(&line.trim_start()),
                    "{proxy}: {line:?} is not in its file"
                );
            }
        }
        assert_eq!(
            caddy_lines("127.0.0.1:8080", "/ws"),
            "handle_path /ws/* {\n\treverse_proxy 127.0.0.1:8080\n}\n"
        );
        assert_eq!(haproxy_frontend("/ws"), "use_backend jsocketd if { path_beg /ws/ }\n");
        for (text, last) in [
            (nginx_http("jsocketd", UPSTREAM), "    keepalive 16;\n}\n"),
            (nginx_location("jsocketd", "/ws"), "    proxy_buffering off;\n}\n"),
            (apache_location(UPSTREAM, "/ws"), " max=22 acquire=100\n</Location>\n"),
            (haproxy_backend(UPSTREAM, "/ws"), " check send-proxy-v2-ssl\n"),
        ] {
            assert!(text.ends_with(last), "{text}");
        }
    }

    #[test]
    fn the_values_are_filled_in() {
        let text = Proxy::ALL.map(|proxy| lines(proxy, SOCKET, "/joomla/ws"));
        for (text, parts) in text.iter().zip([
            [
                "    server unix:/run/jsocketd/jsocketd.sock;\n",
                "\nlocation ^~ /joomla/ws/ {\n",
            ],
            [
                "    ProxyPass \"unix:/run/jsocketd/jsocketd.sock|http://localhost/\" upgrade=websocket ",
                "\n<Location /joomla/ws/>\n",
            ],
            [
                "\treverse_proxy unix//run/jsocketd/jsocketd.sock\n",
                "\nhandle_path /joomla/ws/* {\n",
            ],
            [
                "    server jsocketd unix@/run/jsocketd/jsocketd.sock check\n",
                "    http-request replace-path ^/joomla/ws(/.*) \\1 ",
            ],
        ]) {
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
            assert!(!text.contains("127.0.0.1:8080") && !text.contains(" /ws/"), "{text}");
        }
        assert!(text[3].contains("{ path_beg /joomla/ws/ }"), "{}", text[3]);
        assert!(apache_location(SOCKET, "").starts_with("<Location />\n"));
        assert!(haproxy_backend(SOCKET, "/a.b/ws").contains(" ^/a[.]b/ws(/.*) \\1"));
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
            for (text, start, end) in [
                (nginx_location("jsocketd", path), "location ^~ \"/a", "b/\" {"),
                (apache_location("127.0.0.1:8080", path), "<Location \"/a", "b/\">"),
                (caddy_lines("127.0.0.1:8080", path), "handle_path \"/a", "b/*\" {"),
                (
                    haproxy_frontend(path),
                    "use_backend jsocketd if { path_beg '/a",
                    "b/' }",
                ),
            ] {
                let place = text.lines().next().unwrap_or_default();
                assert!(place.starts_with(start) && place.ends_with(end), "{place}");
            }
            let backend = haproxy_backend("127.0.0.1:8080", path);
            assert!(backend.contains("(/.*)' \\1 "), "{backend}");
        }
        assert!(haproxy_frontend("/a'b").ends_with("path_beg '/a'\\''b/' }\n"));
    }
}
