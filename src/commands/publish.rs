//! `jsocketd publish`: sends one event to the HTTP API of a running server, as any client library would, with the
//! address and the credentials of the configuration. It blocks, with deadlines, since its process has nothing else to
//! do. The server decides what may be published; its sentence is shown.
//! Rejected: ureq 3.5 and minreq 3.0. A server may refuse early and close while the request is still being sent: both
//! return the broken connection then, not the answer. minreq takes an answer that is no HTTP for a 503.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime};

use data_encoding::HEXLOWER;
use jsocketd::config::{App, Config, HttpUrl, ListenAddr, Sources};
use jsocketd::outbox;
use jsocketd::protocol::signature;
use jsocketd::store::{Answer, NewRow, Question, Store};
use jsocketd::time::Now;
use md5::{Digest, Md5};
use serde_json::{Map, Value, json};

use super::open_site;
use crate::cli::Publish;

/// How long each address of the server may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the whole exchange may take from then on.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The most bytes of an answer, and of data from standard input. No answer of the API is longer, and no server accepts
/// longer data.
const LARGEST: u64 = 1 << 20;

/// How many characters are shown of an answer that is not the API's.
const SHOWN: usize = 300;

/// Publishes the event; prints nothing on success.
///
/// # Errors
/// A sentence that says why the event was not published.
pub fn publish(flags: Publish) -> Result<(), Box<dyn Error>> {
    let config = Sources::of_process(flags.config.clone(), Vec::new(), flags.joomla.clone())
        .load()?
        .config;
    if flags.outbox {
        return by_table(&config, flags);
    }
    let app = app(&config, flags.app.as_deref())?;
    let (server, prefix) = match &flags.url {
        Some(url) => (url.clone(), prefix(url)?),
        None => (listener(&config)?, config.pusher.path.clone()),
    };
    let mut event = json!({ "name": flags.event, "channel": flags.channel, "data": data(&flags.data)? });
    if let Some(socket_id) = flags.socket_id {
        event["socket_id"] = socket_id.into();
    }
    let path = format!("{prefix}/apps/{}/events", app.id);
    let request = request(&server, &path, app, &event.to_string());
    let answer = exchange(&server, &request).map_err(|error| format!("http://{}: {error}", server.authority()))?;
    Ok(judge(&answer).map_err(|why| format!("http://{} {why}", server.authority()))?)
}

/// Writes a row into the outbox table. No server checks the row before it is written, so it is checked here with the
/// server's rules.
fn by_table(config: &Config, flags: Publish) -> Result<(), Box<dyn Error>> {
    let site_app = config.apps.iter().find(|app| app.id == config.joomla.app);
    let most = site_app.map_or(10_240, |app| app.max_event_size);
    let row = NewRow {
        channel: flags.channel,
        event: flags.event,
        data: data(&flags.data)?,
        socket_id: flags.socket_id,
    };
    outbox::check(&row, most)?;
    let mut store = open_site(config)?;
    match store.ask(&Question::Publish(vec![row]), Now::default())? {
        Answer::Added(_) => Ok(()),
        _ => Err("the database gave another answer than that it has the row".into()),
    }
}

/// The app to publish as.
fn app<'a>(config: &'a Config, id: Option<&str>) -> Result<&'a App, String> {
    let ids: Vec<&str> = config.apps.iter().map(|app| app.id.as_str()).collect();
    let ids = ids.join(", ");
    match (id, config.apps.as_slice()) {
        (_, []) => Err(
            "the configuration has no app: write [[apps]] with id, key and secret, or set JSOCKETD_APP_ID, \
                        JSOCKETD_APP_KEY and JSOCKETD_APP_SECRET"
                .into(),
        ),
        (None, [app]) => Ok(app),
        (None, _) => Err(format!(
            "the configuration has several apps ({ids}): name one with --app"
        )),
        (Some(id), apps) => {
            let app = apps.iter().find(|app| app.id == id);
            app.ok_or_else(|| format!("the configuration has no app {id:?}, but {ids}"))
        }
    }
}

/// The text before `/apps/` in the path of `--url`.
fn prefix(url: &HttpUrl) -> Result<String, &'static str> {
    match url.path.contains('?') {
        true => Err("--url must end before its ?"),
        false => Ok(url.path.trim_end_matches('/').to_owned()),
    }
}

/// The address where the server listens, as seen from this machine.
fn listener(config: &Config) -> Result<HttpUrl, &'static str> {
    let tcp = |address: &ListenAddr| match address {
        ListenAddr::Tcp(address) if address.port() != 0 => Some(*address),
        _ => None,
    };
    let Some(mut address) = config.server.listen.iter().find_map(tcp) else {
        return Err(
            "the configuration names no TCP address with its port: name the server with --url http://HOST:PORT",
        );
    };
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(HttpUrl {
        host: address.ip().to_string(),
        port: address.port(),
        path: "/".into(),
    })
}

/// The event's data: the typed text, or standard input if the text is a hyphen.
fn data(typed: &str) -> Result<String, String> {
    if typed != "-" {
        return Ok(typed.to_owned());
    }
    let mut text = String::new();
    match io::stdin().lock().take(LARGEST + 1).read_to_string(&mut text) {
        Ok(len) if len as u64 > LARGEST => Err("standard input is larger than 1 MiB".into()),
        Ok(_) => Ok(text),
        Err(error) => Err(format!("cannot read the data from standard input: {error}")),
    }
}

/// The signed request (pusher.md 9.1), in HTTP/1.0: no proxy answers it in chunks.
fn request(server: &HttpUrl, path: &str, app: &App, body: &str) -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let md5 = HEXLOWER.encode(&Md5::digest(body));
    let query = format!(
        "auth_key={}&auth_timestamp={now}&auth_version=1.0&body_md5={md5}",
        app.key
    );
    let signature = signature::hmac_hex(&app.secret, &[b"POST\n", path.as_bytes(), b"\n", query.as_bytes()]);
    format!(
        "POST {path}?{query}&auth_signature={signature} HTTP/1.0\r\n\
         Host: {}\r\n\
         User-Agent: jsocketd/{}\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {}\r\n\
         Connection: close\r\n\
         \r\n\
         {body}",
        server.authority(),
        env!("CARGO_PKG_VERSION"),
        body.len()
    )
}

/// Sends the request and returns the whole answer.
fn exchange(server: &HttpUrl, request: &str) -> io::Result<Vec<u8>> {
    let mut stream = connect(server)?;
    let deadline = Instant::now() + TIMEOUT;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // A server may refuse early: it answers and closes while the rest is still being sent. Its answer counts.
    let sent = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let received = receive(&mut stream, &mut answer, deadline);
    match answer.is_empty() {
        true => sent
            .and(received)
            .and(Err(io::Error::other("it closed the connection without an answer"))),
        false => received.map(|()| answer),
    }
}

fn connect(server: &HttpUrl) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (server.host.as_str(), server.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads to the end of the stream or of the announced body.
fn receive(stream: &mut TcpStream, answer: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while !is_whole(answer) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Unix reports the timeout of a socket as `WouldBlock`.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
        if answer.len() as u64 > LARGEST {
            return Err(io::Error::other("its answer is larger than 1 MiB"));
        }
    }
    Ok(())
}

/// Whether the announced body is complete. Without an announcement it ends with the stream.
fn is_whole(answer: &[u8]) -> bool {
    Head::parse(answer).is_some_and(|head| head.length.is_some_and(|length| answer.len() - head.end >= length))
}

/// The head of an answer, as far as it counts.
struct Head {
    status: u16,
    /// `Content-Length`
    length: Option<usize>,
    /// Where the body begins.
    end: usize,
}

impl Head {
    fn parse(answer: &[u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(end)) = response.parse(answer) else {
            return None;
        };
        let mut headers = response.headers.iter();
        let length = headers.find(|header| header.name.eq_ignore_ascii_case("content-length"));
        Some(Self {
            status: response.code?,
            length: length.and_then(|header| str::from_utf8(header.value).ok()?.parse().ok()),
            end,
        })
    }
}

/// Whether an answer says that the event was accepted: only 200 with a JSON object does. The refusal continues the
/// server's name.
fn judge(answer: &[u8]) -> Result<(), String> {
    let Some(head) = Head::parse(answer) else {
        return Err("does not answer in HTTP".into());
    };
    let body = &answer[head.end..];
    let object = serde_json::from_slice::<Map<String, Value>>(body);
    match (head.status, &object) {
        (200, Ok(_)) => Ok(()),
        (200, Err(_)) => Err("answered 200, but not as the Pusher HTTP API does; is --url right?".into()),
        (status, _) => {
            let error = object.as_ref().ok().and_then(|object| object.get("error")?.as_str());
            let text = error.map_or_else(|| String::from_utf8_lossy(body), Into::into);
            Err(format!("refused it with {status}: {}", on_one_line(&text)))
        }
    }
}

/// The beginning of a text from outside, for a terminal: without control characters.
fn on_one_line(text: &str) -> String {
    let blank = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = text.chars().map(blank).collect();
    line.trim().chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_200_with_a_json_object_is_success() {
        for (answer, wanted) in [
            ("HTTP/1.1 200 OK\r\n\r\n{}", Ok(())),
            ("HTTP/1.1 200 OK\r\n\r\n{\"channels\":{}}", Ok(())),
            (
                "HTTP/1.1 200 OK\r\n\r\n<html>",
                Err("answered 200, but not as the Pusher HTTP API does; is --url right?"),
            ),
            ("HTTP/1.1 202 Accepted\r\n\r\nok", Err("refused it with 202: ok")),
            (
                "HTTP/1.1 413 X\r\n\r\n{\"error\":\"too\\nlarge\"}",
                Err("refused it with 413: too large"),
            ),
            (
                "HTTP/1.1 502 X\r\n\r\n\u{1b}[2Jbad\r\n",
                Err("refused it with 502: [2Jbad"),
            ),
            ("HTTP/1.1 502 X\r\n", Err("does not answer in HTTP")),
            ("SSH-2.0-OpenSSH\r\n", Err("does not answer in HTTP")),
        ] {
            let judged = judge(answer.as_bytes());
            assert_eq!(judged, wanted.map_err(str::to_owned), "{answer:?}");
        }
    }

    #[test]
    fn an_answer_is_complete_with_its_announced_body() {
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"));
        assert!(is_whole(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\n\r\n{}"), "it ends with the stream");
    }

    #[test]
    fn the_servers_address_is_the_one_that_the_configuration_listens_on() {
        let at = |addresses: &[&str]| {
            let mut config = Config::default();
            config.server.listen = addresses.iter().map(|text| text.parse().expect(text)).collect();
            listener(&config).map(|url| url.to_string())
        };
        for (addresses, url) in [
            (&["0.0.0.0:80"][..], "http://127.0.0.1/"),
            (&["[::]:81"], "http://[::1]:81/"),
            (
                &["unix:/run/x", "127.0.0.1:0", "10.0.0.1:8080"],
                "http://10.0.0.1:8080/",
            ),
        ] {
            assert_eq!(at(addresses).as_deref(), Ok(url));
        }
        assert!(at(&["unix:/run/x", "127.0.0.1:0"]).is_err());
    }
}
