//! Asks a running server for what only administrators may see, for `status` and `top`. By default it asks at the socket
//! for administrators, which is on this machine and needs no token.
//!
//! A token is never sent to an address that was only guessed: while the server is down, another program could listen
//! there.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use jsocketd::config::{ListenAddr, Loaded, Sources};
use jsocketd::service::snapshot::Snapshot;
use serde::de::DeserializeOwned;

use super::http::{Answer, Exchange, Server, harmless};
use crate::cli::Asked;

/// The server answered, and refuses.
pub const REFUSED: u8 = 1;

/// The server cannot be asked: it is not there, or it is no jsocketd, or the configuration has a mistake.
pub const NOT_ASKED: u8 = 2;

/// Why there is no answer.
#[derive(Debug)]
pub struct Failure {
    /// A sentence, or several lines.
    pub why: String,
    /// The exit code of the process.
    pub code: u8,
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self { why, code: NOT_ASKED }
    }
}

/// A server, and how it is asked.
pub struct Target {
    /// Where it is.
    pub server: Server,
    /// The text before the server's own paths.
    prefix: String,
    /// The header line with the token, if one is needed.
    authorization: String,
}

impl Target {
    /// The server at `--url`, or the one of the configuration. Of several workers it is the one that is named, or the
    /// first one.
    ///
    /// # Errors
    /// A sentence: there is no address to ask at.
    pub fn new(asked: &Asked, loaded: &Loaded) -> Result<Self, String> {
        Ok(Self::all(asked, loaded)?.remove(0))
    }

    /// The same with all workers, at least one.
    ///
    /// # Errors
    /// A sentence: there is no address to ask at.
    pub fn all(asked: &Asked, loaded: &Loaded) -> Result<Vec<Self>, String> {
        let token = &loaded.config.server.admin_token;
        // At the address of `admin_listen` no token is needed.
        let is_admin = asked.url.is_none() && loaded.admin_address().is_some();
        let authorization = match is_admin || token.is_empty() {
            true => String::new(),
            false => format!("Authorization: Bearer {token}\r\n"),
        };
        let places = places(asked, loaded, false)?.into_iter();
        let targets = places.map(|(server, prefix)| Self {
            server,
            prefix,
            authorization: authorization.clone(),
        });
        Ok(targets.collect())
    }

    /// Asks for a path and waits for the answer.
    ///
    /// # Errors
    /// The server cannot be reached, is too slow, or does not answer in HTTP.
    pub fn ask(&self, path: &str) -> Result<Answer, Failure> {
        let path = format!("{}{path}", self.prefix);
        let answer = self.server.get(&path, &self.authorization);
        Ok(answer.map_err(|why| format!("{why}{}", advice(&self.server)))?)
    }

    /// Asks for a path. Connecting may take as long as `limit`.
    ///
    /// # Errors
    /// A sentence: the server cannot be reached.
    pub fn begin(&self, path: &str, limit: Duration) -> Result<Exchange, String> {
        let path = format!("{}{path}", self.prefix);
        Exchange::begin(&self.server, &self.server.request(&path, &self.authorization), limit)
    }

    /// The state of the server in an answer, and its text.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub fn state(&self, answer: &Answer) -> Result<(Snapshot, String), Failure> {
        let (snapshot, json) = self.read::<Snapshot>(answer)?;
        match snapshot.product == "jsocketd" {
            true => Ok((snapshot, json)),
            false => Err(self.odd(answer)),
        }
    }

    /// The value in an answer, and its text for a terminal.
    ///
    /// # Errors
    /// The server refuses, or what answers is no jsocketd.
    pub fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<(T, String), Failure> {
        let server = &self.server;
        match answer.status {
            200 => {}
            401 | 403 | 421 | 429 | 503 => {
                return Err(Failure {
                    why: format!("{server} refuses with {}: {}", answer.status, answer.sentence()),
                    code: REFUSED,
                });
            }
            status => {
                let said = answer.sentence();
                return Err(format!("{server} answers {status}, not as jsocketd does: {said}").into());
            }
        }
        match serde_json::from_slice(&answer.body) {
            Ok(value) => Ok((value, harmless(&String::from_utf8_lossy(&answer.body)))),
            Err(_) => Err(self.odd(answer)),
        }
    }

    fn odd(&self, answer: &Answer) -> Failure {
        let (server, said) = (&self.server, answer.sentence());
        format!("{server} answers, but not as jsocketd does: {said}").into()
    }
}

/// Prints an answer. A reader who leaves early, as `head` does, is no failure.
///
/// # Errors
/// Standard output cannot be written, as on a full disk.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}").into()),
        _ => Ok(()),
    }
}

/// Reads the configuration, as `serve` does.
///
/// # Errors
/// Its mistakes.
pub fn load(file: Option<PathBuf>) -> Result<Loaded, String> {
    let sources = Sources::of_process(file, Vec::new(), None);
    sources.load().map_err(|error| error.to_string())
}

/// Where the server may be asked, each with what precedes its paths; at least one. `all`: also where only what
/// everybody may know is answered.
///
/// # Errors
/// A sentence: there is none.
pub fn places(asked: &Asked, loaded: &Loaded, all: bool) -> Result<Vec<(Server, String)>, String> {
    if let Some(url) = &asked.url {
        return Ok(vec![Server::named(url, &asked.ca)?]);
    }
    let listener = Server::of_listener(&loaded.config);
    let mut places: Vec<Server> = admins(asked, loaded)?.iter().filter_map(Server::at).collect();
    match listener {
        Ok(listener) if all || places.is_empty() => places.push(listener),
        Err(why) if places.is_empty() => return Err(why),
        _ => {}
    }
    Ok(places.into_iter().map(|server| (server, String::new())).collect())
}

/// The addresses for administrators: each of several workers has one of its own.
fn admins(asked: &Asked, loaded: &Loaded) -> Result<Vec<ListenAddr>, String> {
    let workers = u32::try_from(loaded.config.server.workers).unwrap_or(u32::MAX);
    if let Some(number) = asked.worker.filter(|number| !(1..=workers).contains(number)) {
        return Err(format!(
            "there is no worker {number}: `workers` in [server] is {workers}"
        ));
    }
    let numbers = asked.worker.map_or(1..=workers, |number| number..=number);
    Ok(match loaded.admin_address() {
        Some(address) if workers > 1 => numbers.map(|number| address.of_worker(number)).collect(),
        Some(address) => vec![address.clone()],
        None => Vec::new(),
    })
}

/// The remedy where the server cannot be reached.
fn advice(server: &Server) -> &'static str {
    match server {
        Server::Tcp(_) | Server::Tls(..) => "",
        Server::Unix(_) => {
            "\nIs the server running, and may you open its socket (as root, or as the server's own user)? Another way is \
             --url http://HOST:PORT with admin_token."
        }
    }
}
