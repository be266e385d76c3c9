//! `jsocketd publish`: sends one event to the HTTP API of a running server, as any client library would, with the
//! address and the credentials of the configuration. It blocks, with deadlines, since its process has nothing else to
//! do. The server decides what may be published; its sentence is shown.

use std::error::Error;
use std::io::{self, Read};

use data_encoding::HEXLOWER;
use jsocketd::api::publish::{COUNTED, DELIVERIES};
use jsocketd::config::{App, Config, Sources};
use jsocketd::outbox;
use jsocketd::protocol::signature;
use jsocketd::store::{self, NewRow, Question, Store};
use md5::{Digest, Md5};
use serde_json::{Map, Value, json};

use super::http::{Answer, Server, on_one_line};
use super::{app, now, open_site, say};
use crate::cli::Publish;

/// The most bytes of data from standard input. No server accepts longer data.
const LARGEST: u64 = 1 << 20;

/// Publishes the event, and prints to how many connections it was sent.
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
    let (server, prefix) = Server::for_clients(flags.url.as_ref(), &flags.ca, &config)?;
    let mut event = json!({ "name": flags.event, "channel": flags.channel, "data": data(&flags.data)? });
    if let Some(socket_id) = flags.socket_id {
        event["socket_id"] = socket_id.into();
    }
    let path = format!("{prefix}/apps/{}/events", app.id);
    let request = request(&server, &path, &app, &event.to_string());
    let answer = server.exchange(&request)?;
    judge(&answer).map_err(|why| format!("{server} {why}"))?;
    say(&published(answer.header(DELIVERIES.as_str())));
    Ok(())
}

/// The line for an event that was accepted. A server of another kind, or of an older version, does not count.
fn published(deliveries: Option<&str>) -> String {
    match deliveries.and_then(|count| count.parse::<u64>().ok()) {
        Some(1) => "published to 1 connection".into(),
        Some(count) => format!("published to {count} connections"),
        None => "published".into(),
    }
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
    match store.ask(&Question::Publish(vec![row]), now())? {
        store::Answer::Added(_) => {
            say("written into the outbox table; a server delivers it when it reads the table");
            Ok(())
        }
        _ => Err("the database gave another answer than that it has the row".into()),
    }
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
fn request(server: &Server, path: &str, app: &App, body: &str) -> String {
    let now = now().unix();
    let md5 = HEXLOWER.encode(&Md5::digest(body));
    let query = format!(
        "auth_key={}&auth_timestamp={now}&auth_version=1.0&body_md5={md5}&{COUNTED}=1",
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
        server.host(),
        env!("CARGO_PKG_VERSION"),
        body.len()
    )
}

/// Whether an answer says that the event was accepted: only 200 with a JSON object does. The refusal continues the
/// server's name.
fn judge(answer: &Answer) -> Result<(), String> {
    let object = serde_json::from_slice::<Map<String, Value>>(&answer.body);
    match (answer.status, &object) {
        (200, Ok(_)) => Ok(()),
        (200, Err(_)) => Err("answered 200, but not as the Pusher HTTP API does; is --url right?".into()),
        (status, _) => {
            let error = object.as_ref().ok().and_then(|object| object.get("error")?.as_str());
            let text = error.map_or_else(|| answer.sentence(), on_one_line);
            Err(format!("refused it with {status}: {text}"))
        }
    }
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
        ] {
            let judged = judge(&Answer::parse(answer.as_bytes()).expect("it is HTTP"));
            assert_eq!(judged, wanted.map_err(str::to_owned), "{answer:?}");
        }
    }

    #[test]
    fn a_server_that_does_not_count_is_believed_all_the_same() {
        for (deliveries, line) in [
            (Some("0"), "published to 0 connections"),
            (Some("1"), "published to 1 connection"),
            (Some("12"), "published to 12 connections"),
            (Some("many"), "published"),
            (None, "published"),
        ] {
            assert_eq!(published(deliveries), line);
        }
    }
}
