//! The variables by which Kubernetes tells every container of a namespace where its services are. A service with the
//! name `jsocketd`, or with one that begins so, gives variables that begin like ours:
//! `JSOCKETD_PORT=tcp://10.0.0.7:80`. They are known by their name and the form of their value together, so that a
//! mistyped variable stays a mistake. Docker's old links have the same form.

use std::net::IpAddr;

/// How many of them the note names.
const NAMED: usize = 3;

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Whether Kubernetes made this variable for a service.
pub(super) fn is_link(name: &str, value: &str) -> bool {
    let is_address = || value.parse::<IpAddr>().is_ok();
    let is_port = || value.parse::<u16>().is_ok();
    let is_url = || {
        PROTOCOLS
            .iter()
            .any(|known| value.strip_prefix(known).is_some_and(|rest| rest.starts_with("://")))
    };
    if name.ends_with("_SERVICE_HOST") {
        return is_address();
    }
    // With the port's name behind it, if it has one.
    if let Some((_, behind)) = name.split_once("_SERVICE_PORT") {
        return is_port() && (behind.is_empty() || behind.starts_with('_'));
    }
    if name.ends_with("_PORT") && is_url() {
        return true;
    }
    // `_PORT_80_TCP`, and behind it `_PROTO`, `_PORT` or `_ADDR`.
    let Some((number, behind)) = name.split_once("_PORT_").and_then(|(_, rest)| rest.split_once('_')) else {
        return false;
    };
    let (protocol, part) = behind.split_once('_').unwrap_or((behind, ""));
    let has_form = match part {
        "" => is_url(),
        "PROTO" => PROTOCOLS.contains(&value),
        "PORT" => is_port(),
        "ADDR" => is_address(),
        _ => false,
    };
    has_form && number.parse::<u16>().is_ok() && PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(protocol))
}

/// One sentence that says that these are ignored; `None`: there are none.
pub(super) fn note(ignored: &[String]) -> Option<String> {
    let (named, more) = ignored.split_at(ignored.len().min(NAMED));
    let more = match more.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!named.is_empty()).then(|| {
        format!(
            "variables that Kubernetes sets for a service are ignored: {}{more}; enableServiceLinks: false in the pod's \
             spec keeps them away",
            named.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_known_by_its_name_and_its_value() {
        for (name, value) in [
            ("JSOCKETD_SERVICE_HOST", "10.96.0.12"),
            ("JSOCKETD_SERVICE_HOST", "fd00::12"),
            ("JSOCKETD_SERVICE_PORT", "80"),
            ("JSOCKETD_SERVICE_PORT_HTTP", "80"),
            ("JSOCKETD_SERVICE_PORT_WEB_SOCKET", "443"),
            ("JSOCKETD_PORT", "tcp://10.96.0.12:80"),
            ("JSOCKETD_PORT_80_TCP", "tcp://10.96.0.12:80"),
            ("JSOCKETD_PORT_80_TCP_PROTO", "tcp"),
            ("JSOCKETD_PORT_80_TCP_PORT", "80"),
            ("JSOCKETD_PORT_80_TCP_ADDR", "10.96.0.12"),
            ("JSOCKETD_PORT_53_UDP", "udp://[fd00::12]:53"),
            ("JSOCKETD_ADMIN_SERVICE_HOST", "10.96.0.13"),
            ("JSOCKETD_ADMIN_PORT", "tcp://10.96.0.13:9090"),
            ("JSOCKETD_ADMIN_PORT_9090_TCP_ADDR", "10.96.0.13"),
            // Ours with the same name takes a number.
            ("JSOCKETD_DATABASE_PORT", "tcp://10.96.0.14:3306"),
        ] {
            assert!(is_link(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("JSOCKETD_PORT", "8080"),
            ("JSOCKETD_PORT", ""),
            ("JSOCKETD_PORT", "http://10.96.0.12:80"),
            ("JSOCKETD_PORT", "tcp:80"),
            ("JSOCKETD_DATABASE_PORT", "3306"),
            ("JSOCKETD_SERVICE_HOST", "www.example.org"),
            ("JSOCKETD_SERVICE_PORT", "http"),
            ("JSOCKETD_SERVICE_PORTS", "80"),
            ("JSOCKETD_PORT_80", "tcp://10.96.0.12:80"),
            ("JSOCKETD_PORT_80_TCP", "80"),
            ("JSOCKETD_PORT_x_TCP", "tcp://10.96.0.12:80"),
            ("JSOCKETD_PORT_80_ICMP_ADDR", "10.96.0.12"),
            ("JSOCKETD_PORT_80_TCP_NAME", "tcp"),
            ("JSOCKETD_LISTEN", "tcp://10.96.0.12:80"),
            ("JSOCKETD_ADMIN_LISTEN", "10.96.0.12"),
        ] {
            assert!(!is_link(name, value), "{name}={value}");
        }
    }

    #[test]
    fn the_note_names_some_of_them() {
        let all: Vec<String> = ["A", "B", "C", "D", "E"].map(String::from).to_vec();
        assert_eq!(note(&[]), None);
        let note = |ignored| note(ignored).unwrap();
        assert!(note(&all[..1]).contains("ignored: A; enableServiceLinks: false"));
        assert!(note(&all[..3]).contains("ignored: A, B, C; "));
        assert!(note(&all).contains("ignored: A, B, C and 2 more; "));
    }
}
