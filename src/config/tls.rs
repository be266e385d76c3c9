//! `[tls]` as a whole: which listeners speak TLS, and which keys need each other. `crate::certificates` reads the
//! files.

use std::path::PathBuf;

use rustls::pki_types::DnsName;

use super::address::ListenAddr;
use super::draft::Draft;
use super::key::{At, TLS_NAMES};
use super::listen::ListenEntry;
use super::problem::Problem;
use super::sections::Tls;
use crate::trust::Trust;

impl Tls {
    /// Whether there is a certificate, so that listeners speak TLS.
    pub fn is_on(&self) -> bool {
        !self.certificate.is_empty()
    }

    /// Whether connections to this address of `listen` begin with TLS.
    pub fn covers(&self, entry: &ListenEntry) -> bool {
        self.is_on() && !entry.plain && matches!(entry.address, ListenAddr::Tcp(_))
    }

    /// The files of authorities that outgoing connections trust besides the built-in ones.
    pub fn authorities(&self) -> Vec<PathBuf> {
        let file = Some(&self.ca).filter(|ca| !ca.is_empty());
        file.map(PathBuf::from).into_iter().collect()
    }
}

/// A name that clients ask for, in lower case: `www.example.org`, or `*.example.org` for all names with one more label.
pub(super) fn host_pattern(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let name = text.strip_prefix("*.").unwrap_or(&text);
    match DnsName::try_from(name).is_ok() {
        true => Ok(text),
        false => Err("must be a name in ASCII, like \"www.example.org\" or \"*.example.org\"".into()),
    }
}

/// The file of authorities must be readable. A trace does not need it: it is replayed anywhere.
pub(super) fn refuse_bad_authorities(draft: &Draft, problems: &mut Vec<Problem>) {
    if let Err(bad) = Trust::new(&draft.config.tls.authorities()) {
        let place = draft.place(&[(("tls", "ca"), At::FIRST)]);
        problems.push(Problem::new(place, format!("`ca` in [tls] cannot be used: {bad}")));
    }
}

/// Checks that the keys of `[tls]` that need each other are there.
pub(super) fn check(draft: &Draft, problems: &mut Vec<Problem>) {
    let config = &draft.config;
    let tls = &config.tls;
    let mut refuse = |keys: &[&'static str], what: String| {
        let names: Vec<_> = keys.iter().map(|key| (("tls", *key), At::FIRST)).collect();
        problems.push(Problem::new(draft.place(&names), what));
    };
    match (tls.certificate.is_empty(), tls.key.is_empty()) {
        (false, true) => refuse(&["certificate"], "[tls] has a `certificate` and lacks its `key`".into()),
        (true, false) => refuse(&["key"], "[tls] has a `key` and lacks its `certificate`".into()),
        _ => {}
    }
    for (n, entry) in tls.redirect_from.iter().enumerate() {
        let others = config.server.listen.iter().chain(&tls.redirect_from[..n]);
        let mut others = others
            .map(|other| &other.address)
            .chain(config.server.admin_listen.named());
        let any_port = matches!(entry.address, ListenAddr::Tcp(address) if address.port() == 0);
        if !any_port && others.any(|other| *other == entry.address) {
            let what = format!("`redirect_from` in [tls] names {} a second time", entry.address);
            refuse(&["redirect_from"], what);
        }
        if !matches!(entry.address, ListenAddr::Tcp(_)) || entry.words().next().is_some() {
            let what = format!("`redirect_from` in [tls] takes an IP address and a port alone, not {entry}");
            refuse(&["redirect_from"], what);
        }
    }
    let speaks_tls = config.server.listen.iter().any(|entry| tls.covers(entry));
    if !tls.redirect_from.is_empty() && !speaks_tls {
        let what = match tls.is_on() {
            true => "`redirect_from` in [tls] has no target: each address of `listen` is `plain` or a Unix socket",
            false => "`redirect_from` in [tls] needs a `certificate`, since nothing speaks https without one",
        };
        refuse(&["redirect_from"], what.into());
    }
    for (n, name) in tls.names.iter().enumerate() {
        let what = match () {
            () if name.certificate.is_empty() => "`certificate` in [[tls.names]] names no file",
            () if name.key.is_empty() => "`key` in [[tls.names]] names no file",
            () if !tls.is_on() => {
                "[[tls.names]] needs a `certificate` in [tls], which is for clients that ask for no name or another"
            }
            () => continue,
        };
        problems.push(Problem::new(draft.place(&[((TLS_NAMES, "name"), At::nth(n))]), what));
    }
}

/// A setting of `[tls]` that is allowed but probably not meant.
pub(super) fn warning(tls: &Tls, listen: &[ListenEntry]) -> Option<String> {
    let is_idle = tls.is_on() && !listen.iter().any(|entry| tls.covers(entry));
    is_idle.then(|| {
        "[tls] has a certificate, and nothing speaks TLS: each address of `listen` is `plain` or a Unix socket"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, Sources};
    use super::*;

    const GOOD: &str = "[tls]\ncertificate = \"/c\"\nkey = \"/k\"\n";

    fn read(text: &str) -> Result<Config, String> {
        Sources::parse(Path::new("f"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn tcp_addresses_speak_tls_unless_they_are_plain() {
        let listen = "[server]\nlisten = [\"0.0.0.0:443\", \"127.0.0.1:8080 plain\", \"unix:/run/x\"]\n";
        let covered = |text: &str| {
            let config = read(text).expect(text);
            config
                .server
                .listen
                .iter()
                .map(|entry| config.tls.covers(entry))
                .collect::<Vec<_>>()
        };
        assert_eq!(covered(&format!("{listen}{GOOD}")), [true, false, false]);
        assert_eq!(covered(listen), [false, false, false]);
    }

    #[test]
    fn keys_that_need_each_other_are_named() {
        let plain = "[server]\nlisten = [\"127.0.0.1:1 plain\"]\n";
        let name = "[[tls.names]]\nname = \"a.example\"\ncertificate = \"/c\"\nkey = \"/k\"\n";
        for (text, why) in [
            ("[tls]\ncertificate = \"/c\"\n".to_owned(), "lacks its `key`"),
            ("[tls]\nkey = \"/k\"\n".to_owned(), "lacks its `certificate`"),
            (
                "[tls]\nredirect_from = [\"0.0.0.0:80\"]\n".to_owned(),
                "needs a `certificate`",
            ),
            (
                format!("{plain}{GOOD}redirect_from = [\"0.0.0.0:80\"]\n"),
                "has no target",
            ),
            (
                format!("{GOOD}redirect_from = [\"unix:/run/x\"]\n"),
                "an IP address and a port alone",
            ),
            (
                format!("{GOOD}redirect_from = [\"0.0.0.0:80 plain\"]\n"),
                "an IP address and a port alone",
            ),
            (format!("{GOOD}redirect_from = [\"127.0.0.1:8080\"]\n"), "a second time"),
            (name.to_owned(), "needs a `certificate` in [tls]"),
            (
                format!("{GOOD}{}", name.replace("/k", "")),
                "`key` in [[tls.names]] names no file",
            ),
            (
                format!("{GOOD}{}", name.replace("a.example", "a..example")),
                "must be a name",
            ),
            (format!("{GOOD}{}", name.replace("a.example", "*")), "must be a name"),
            (format!("{GOOD}{name}{name}"), "a second time"),
            (
                format!("{GOOD}[[tls.names]]\nname = \"a.example\"\n"),
                "lacks `certificate` and `key`",
            ),
        ] {
            let refused = read(&text).expect_err(&text);
            assert!(refused.contains(why), "{text}\n{refused}");
        }
        assert_eq!(
            read(&format!("{GOOD}{}", name.replace("a.", "*.A.")))
                .expect("good")
                .tls
                .names[0]
                .name,
            "*.a.example"
        );
        let config = read(&format!("{plain}{GOOD}")).expect("good");
        assert!(warning(&config.tls, &config.server.listen).is_some());
    }

    #[test]
    fn a_reload_exchanges_certificates_and_moves_no_listener() {
        let old = read(GOOD).expect("good");
        let moved = read(&GOOD.replace("/c", "/d")).expect("good");
        assert_eq!(old.reloaded(&moved).changed, ["tls.certificate"]);
        let redirecting = read(&format!("{GOOD}redirect_from = [\"0.0.0.0:80\"]\n")).expect("good");
        assert_eq!(old.reloaded(&redirecting).restart, ["tls.redirect_from"]);
        let off = old.reloaded(&Config::default());
        assert_eq!(
            (off.changed, off.restart),
            (vec![], vec!["tls.certificate".to_owned(), "tls.key".to_owned()])
        );
    }
}
