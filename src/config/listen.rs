//! An entry of `listen`: an address, and words after it that say how its connections begin. The words stand behind the
//! address, as in nginx and HAProxy, so that the file, `JSOCKETD_LISTEN` and `--listen` have one notation. `address`
//! reads the address; `net` binds it.

use std::fmt;
use std::str::FromStr;

use super::address::{BadAddress, ListenAddr};
use super::text;

/// An address to listen on, with its options: `127.0.0.1:8080`, `10.0.0.5:8081 proxy_protocol`, `[::1]:8080 plain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenEntry {
    /// The address.
    pub address: ListenAddr,
    /// Whether each connection begins with a header of the PROXY protocol, which names the client. Only a trusted proxy
    /// may connect then.
    pub proxy_protocol: bool,
    /// Whether connections are not encrypted although there is a `[tls]`. Unix sockets never are.
    pub plain: bool,
}

/// The words that may stand after an address.
const WORDS: [&str; 2] = [PROXY_PROTOCOL, PLAIN];

const PROXY_PROTOCOL: &str = "proxy_protocol";
const PLAIN: &str = "plain";

impl ListenEntry {
    /// Whether only processes of this machine can be clients. A load balancer on this machine, which sends headers of
    /// the PROXY protocol, forwards connections from anywhere.
    pub fn is_loopback(&self) -> bool {
        self.address.is_loopback() && !self.proxy_protocol
    }

    /// The words that are set.
    pub fn words(&self) -> impl Iterator<Item = &'static str> + use<> {
        let set = [self.proxy_protocol, self.plain];
        WORDS
            .into_iter()
            .zip(set)
            .filter_map(|(word, is_set)| is_set.then_some(word))
    }

    /// Sets the option that a word stands for.
    fn set(&mut self, word: &str) -> Result<(), BadAddress> {
        let option = match word {
            PROXY_PROTOCOL => &mut self.proxy_protocol,
            PLAIN => &mut self.plain,
            other => return Err(unknown(other)),
        };
        match std::mem::replace(option, true) {
            true => Err(format!("it has the word `{word}` twice")),
            false => Ok(()),
        }
    }
}

impl From<ListenAddr> for ListenEntry {
    /// The address without options.
    fn from(address: ListenAddr) -> Self {
        Self {
            address,
            proxy_protocol: false,
            plain: false,
        }
    }
}

impl FromStr for ListenEntry {
    type Err = BadAddress;

    /// Reads an address as [`ListenAddr`] does, and the words after it. The path of a Unix socket may have blanks: it
    /// ends before the words that are known.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let (address, words) = match text.starts_with("unix:") {
            true => path_and_words(text)?,
            false => text.split_once(char::is_whitespace).unwrap_or((text, "")),
        };
        let mut entry = Self::from(address.parse::<ListenAddr>()?);
        words.split_whitespace().try_for_each(|word| entry.set(word))?;
        Ok(entry)
    }
}

/// The path of a Unix socket, and the known words at its end. A word that is nearly a known one is a mistake: it would
/// silently become a part of the path.
fn path_and_words(text: &str) -> Result<(&str, &str), BadAddress> {
    let mut path = text;
    while let Some((before, word)) = path.rsplit_once(char::is_whitespace) {
        if !word.is_empty() && !WORDS.contains(&word) {
            match text::nearest(word, WORDS) {
                Some(_) => return Err(unknown(word)),
                None => break,
            }
        }
        path = before.trim_end();
    }
    Ok((path, &text[path.len()..]))
}

fn unknown(word: &str) -> BadAddress {
    match text::nearest(word, WORDS) {
        Some(near) => format!("the word {word:?} is unknown; did you mean `{near}`?"),
        None => format!("the word {word:?} is unknown; after an address may stand `{PROXY_PROTOCOL}` and `{PLAIN}`"),
    }
}

impl fmt::Display for ListenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        self.words().try_for_each(|word| write!(f, " {word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_after_an_address_are_options() {
        for (text, shown, proxy_protocol, plain) in [
            ("127.0.0.1:8080", "127.0.0.1:8080", false, false),
            ("127.0.0.1:8080 plain", "127.0.0.1:8080 plain", false, true),
            ("[::]:1 \t proxy_protocol ", "[::]:1 proxy_protocol", true, false),
            (
                "localhost:1 plain proxy_protocol",
                "127.0.0.1:1 proxy_protocol plain",
                true,
                true,
            ),
            ("unix:/run/x proxy_protocol", "unix:/run/x proxy_protocol", true, false),
            ("unix:/run/a b.sock", "unix:/run/a b.sock", false, false),
            ("unix:/run/a b.sock  plain", "unix:/run/a b.sock plain", false, true),
        ] {
            let entry: ListenEntry = text.parse().expect(text);
            assert_eq!((entry.proxy_protocol, entry.plain), (proxy_protocol, plain), "{text}");
            assert_eq!(entry.to_string(), shown);
            assert_eq!(shown.parse().as_ref(), Ok(&entry));
        }
    }

    #[test]
    fn every_mistake_has_its_sentence() {
        for (text, sentence) in [
            ("127.0.0.1:8080 proxy-protocol", "did you mean `proxy_protocol`?"),
            ("127.0.0.1:8080 plian", "did you mean `plain`?"),
            (
                "127.0.0.1:8080 ssl",
                "\"ssl\" is unknown; after an address may stand `proxy_protocol` and `plain`",
            ),
            ("127.0.0.1:8080 plain plain", "`plain` twice"),
            ("127.0.0.1 plain", "the port is missing"),
            ("plain", "the port is missing"),
            ("", "an address is missing"),
            (" 127.0.0.1:8080", "an address is missing"),
            ("unix:/run/x proxy_protocoll", "did you mean `proxy_protocol`?"),
            ("unix:/run/x plain plain", "`plain` twice"),
            ("unix: plain", "absolute"),
        ] {
            let why = text.parse::<ListenEntry>().expect_err(text);
            assert!(why.contains(sentence), "{text:?}: {why}");
        }
    }

    #[test]
    fn a_load_balancer_on_this_machine_forwards_from_anywhere() {
        let is = |text: &str| text.parse::<ListenEntry>().expect(text).is_loopback();
        assert!(is("127.0.0.1:1") && is("[::1]:1 plain"));
        assert!(!is("127.0.0.1:1 proxy_protocol") && !is("0.0.0.0:1") && !is("unix:/run/x"));
    }
}
