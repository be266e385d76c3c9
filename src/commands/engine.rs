//! Asks the engine of `[engine]` as the server does, and waits for its answers: for `check` and `doctor`. Nothing is
//! written there.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jsocketd::config::{Config, EnginePlace, EngineUrl};
use jsocketd::engine::{Client, Heard, Settings};
use jsocketd::protocol::engine::{Command, Line, Reply};
use jsocketd::server::process::lookup::resolve;
use jsocketd::trust::{self, Trust};
use rustls::pki_types::ServerName;
use socket2::{Domain, SockAddr, Socket, Type};

use super::now;
use super::units::micros;
use super::wire::Wire;

/// How long all of it may take, the look-up of the name apart.
const PATIENCE: Duration = Duration::from_secs(3);

/// An engine that can be used.
pub struct Found {
    /// Its name and version.
    engine: Box<str>,
    /// As the configuration has it.
    url: String,
    /// The key of the log, and whether it is there.
    log: String,
    has_log: bool,
    /// From a question to its answer.
    took: Duration,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, url, log, .. } = self;
        let state = if self.has_log { "is there" } else { "is not there yet" };
        let took = micros(u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX));
        write!(f, "{engine} at {url} answers in {took}; the log {log} {state}")
    }
}

/// Asks the engine of this configuration; `None`: it names none.
///
/// # Errors
/// A sentence: it cannot be used.
pub fn ask(config: &Config) -> Option<Result<Found, String>> {
    let url = config.engine.place()?;
    Some(talk(config, &url).map_err(|why| format!("the engine at {} {why}", config.engine.url)))
}

/// The whole conversation.
///
/// # Errors
/// A clause whose subject is the engine.
fn talk(config: &Config, url: &EngineUrl) -> Result<Found, String> {
    let mut wire = connect(config, url)?;
    let settings = Settings {
        user: config.engine.user.clone(),
        password: config.engine.password.clone(),
        database: url.database,
        prefix: config.engine.prefix.clone(),
    };
    let mut client = Client::new(Line::Writing, &settings, now().at);
    let Heard::Open(engine) = next(&mut client, &mut wire)? else {
        return Err("answered before it greeted".into());
    };
    let asked = Instant::now();
    client.give(&Command::Last, now().at);
    match next(&mut client, &mut wire)? {
        Heard::Reply(Ok(Reply::Records(records))) => Ok(Found {
            engine,
            url: config.engine.url.clone(),
            log: config.engine.log(),
            has_log: !records.is_empty(),
            took: asked.elapsed(),
        }),
        Heard::Reply(Err(fault)) => Err(fault.to_string()),
        _ => Err("gave an answer to another question".into()),
    }
}

/// Sends what waits, and reads on until the engine has said something.
fn next(client: &mut Client, wire: &mut Wire) -> Result<Heard, String> {
    let mut buffer = [0; 4096];
    let unsaid = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "did not answer in time".to_owned(),
        _ => format!("ended the connection: {error}"),
    };
    loop {
        if let Some(heard) = client.heard().map_err(|broken| broken.to_string())? {
            return Ok(heard);
        }
        while !client.unsent().is_empty() {
            let sent = wire.write(client.unsent()).map_err(unsaid)?;
            client.sent(sent);
        }
        wire.flush().map_err(unsaid)?;
        match wire.read(&mut buffer).map_err(unsaid)? {
            0 => return Err("ended the connection".into()),
            count => client.receive(&buffer[..count]),
        }
    }
}

fn connect(config: &Config, url: &EngineUrl) -> Result<Wire, String> {
    let unreached = |error: io::Error| format!("cannot be reached: {error}");
    match &url.place {
        EnginePlace::Unix(path) => {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(unreached)?;
            let until = Instant::now() + PATIENCE;
            // A listener whose queue is full would make it wait.
            socket.set_write_timeout(Some(PATIENCE)).map_err(unreached)?;
            let address = SockAddr::unix(path).map_err(unreached)?;
            socket.connect(&address).map_err(unreached)?;
            Ok(Wire::plain(socket, until))
        }
        EnginePlace::Tcp { host, port, tls } => {
            let addresses = resolve(host, *port).map_err(|error| format!("cannot be resolved: {error}"))?;
            let until = Instant::now() + PATIENCE;
            let mut failed = None;
            for address in addresses {
                let left = until.saturating_duration_since(Instant::now());
                let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).map_err(unreached)?;
                match socket.connect_timeout(&address.into(), left.max(Duration::from_millis(1))) {
                    Ok(()) if *tls => return encrypted(config, socket, host, until),
                    Ok(()) => return Ok(Wire::plain(socket, until)),
                    Err(error) => failed = Some(error),
                }
            }
            Err(unreached(failed.unwrap_or_else(|| io::ErrorKind::NotFound.into())))
        }
    }
}

fn encrypted(config: &Config, socket: Socket, host: &str, until: Instant) -> Result<Wire, String> {
    let files: Vec<PathBuf> = [&config.tls.ca]
        .into_iter()
        .filter(|ca| !ca.is_empty())
        .map(PathBuf::from)
        .collect();
    let trust = Trust::new(&files).map_err(|bad| format!("cannot be trusted: {bad}"))?;
    let mut settings = trust.client();
    // It speaks no HTTP.
    settings.alpn_protocols.clear();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("has a bad name: {error}"))?;
    Wire::tls(socket, until, &settings, name).map_err(|error| match trust::in_io(&error) {
        Some(of_tls) => format!("gets no connection of TLS: {}", trust::what(of_tls, host)),
        None => format!("gets no connection of TLS: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::path::Path;

    use jsocketd::config::Sources;

    use super::*;

    const HELLO: &str = "*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n";

    fn config(url: &str) -> Config {
        Sources::parse(Path::new("f"), &format!("[engine]\nurl = \"{url}\"\n")).expect("good")
    }

    /// Asks an engine that gives these answers, one for each thing that it reads, and then ends the connection.
    fn asked(answers: &'static [&'static str]) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("redis://{}", listener.local_addr().expect("its address"));
        let engine = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            for answer in answers {
                let _ = stream.read(&mut [0; 1024]).expect("a question");
                stream.write_all(answer.as_bytes()).expect("an answer");
            }
        });
        let found = ask(&config(&url)).expect("there is an engine");
        engine.join().expect("the engine");
        let plain = |text: String| text.replace(&url, "URL");
        found.map(|found| plain(found.to_string())).map_err(plain)
    }

    #[test]
    fn a_good_engine_is_named() {
        let said = asked(&[HELLO, "*0\r\n"]).expect("good");
        assert!(said.starts_with("Redis 7.0.15 at URL answers in "), "{said}");
        assert!(said.ends_with("; the log jsocketd:log is not there yet"), "{said}");
        let said = asked(&[HELLO, "*1\r\n*2\r\n$3\r\n5-1\r\n*2\r\n$1\r\nb\r\n$1\r\nx\r\n"]).expect("good");
        assert!(said.ends_with("; the log jsocketd:log is there"), "{said}");
        assert!(ask(&Config::default()).is_none());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (answers, why) in [
            (&["-WRONGPASS no\r\n"][..], "does not admit us"),
            (&["-NOAUTH no\r\n"], "`password` in [engine]"),
            (&["HTTP/1.1 400 Bad Request\r\n\r\n"], "does not speak RESP2"),
            (&[""], "ended the connection"),
            (&[HELLO, "-WRONGTYPE no\r\n"], "choose another `prefix`"),
            (&[HELLO, "-NOPERM no\r\n"], "denies a command"),
            (&[HELLO, ":1\r\n"], "another question"),
            (
                &["*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n6.2.0\r\n"],
                "too old",
            ),
        ] {
            let said = asked(answers).expect_err(why);
            assert!(
                said.starts_with("the engine at URL ") && said.contains(why),
                "{answers:?}: {said}"
            );
        }
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            format!("redis://{}", listener.local_addr().expect("its address"))
        };
        let said = ask(&config(&closed))
            .expect("there is an engine")
            .err()
            .expect("nobody listens");
        assert!(said.contains("cannot be reached"), "{said}");
        let said = ask(&config("unix:/nowhere/redis.sock"))
            .expect("there is an engine")
            .err()
            .expect("no file");
        assert!(said.contains("cannot be reached"), "{said}");
    }
}
