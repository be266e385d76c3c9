//! An event on its whole way: the site's own database user writes a row into the outbox table, the server delivers it
//! through the proxy, and PHP's nudge makes it at once.

use std::time::Instant;

use jsocketd::joomla::site;
use jsocketd::server::process::lookup::resolve;
use jsocketd::site::parameters::Credentials;
use jsocketd::store::mysql::MySql;
use jsocketd::store::{Answer, Failure, NewRow, Question, Store};
use rand::RngExt;
use serde_json::json;

use super::address::Address;
use super::client::{Client, End, signed};
use super::inside::{Site, grant};
use super::report::{Findings, hop};
use super::seen::{Seen, request};
use super::visitor::lost;
use super::wire::Net;
use crate::commands::{now, site_store};

/// Where PHP calls the server unless the component's options say otherwise.
const FOR_PHP: &str = "http://127.0.0.1:8080";

/// The event's name.
const EVENT: &str = "jsocketd-doctor";

/// The two rows.
const FIRST: &str = "outbox";
const SECOND: &str = "nudge";

/// The hops of this file.
const HOPS: [&str; 3] = [hop::OUTBOX, hop::DELIVERY, hop::NUDGE];

/// Everything that a delivery needs.
pub struct Delivery<'a> {
    /// The site.
    pub site: &'a Site,
    /// The connection that gets the events.
    pub client: &'a mut Client,
    /// Its id.
    pub socket_id: &'a str,
    /// PHP's credentials.
    pub credentials: &'a Credentials,
    /// What the server said about itself.
    pub seen: Option<&'a Seen>,
}

impl Delivery<'_> {
    /// Checks the three hops.
    pub fn check(mut self, net: &mut Net, findings: &mut Findings) {
        let channel = own_channel();
        let auth = signed(
            &self.credentials.key,
            &self.credentials.secret,
            self.socket_id,
            &channel,
        );
        let subscribed = self.client.subscribe(&channel, Some(auth));
        let Some((mut store, user)) = begin(self.site, &channel, findings) else {
            return findings.skip_rest(&HOPS, "no row could be written");
        };
        let began = Instant::now();
        findings.ok(hop::OUTBOX, may_write(&user));
        let why = match subscribed {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(format!("the server refuses the signed subscription: {why}")),
            Err(end) => Some(format!("the subscription is not answered: {}", lost(&end))),
        };
        if let Some(why) = why {
            return findings.skip_rest(&HOPS, &why);
        }
        if let Err(end) = self.arrival(FIRST) {
            self.not_delivered(&end, findings);
            return findings.skip_rest(&HOPS, "rows are not delivered");
        }
        let ms = began.elapsed().as_millis();
        findings.ok(hop::DELIVERY, format!("the row came as an event after {ms} ms"));
        self.nudge(net, &mut store, &channel, findings);
    }

    /// Waits for the event of a step.
    fn arrival(&mut self, step: &str) -> Result<(), End> {
        self.client
            .frame_that(|frame| frame.event == EVENT && frame.data["step"] == step)
            .map(|_| ())
    }

    /// The row did not come.
    fn not_delivered(&self, end: &End, findings: &mut Findings) {
        let status = self.seen.map(|seen| &seen.status);
        let is = |value: Option<&serde_json::Value>| value.and_then(serde_json::Value::as_bool);
        let says = format!("the row was written and does not come as an event: {}", lost(end));
        let database = is(status.map(|status| &status.database["available"]));
        let outbox = is(status.map(|status| &status.outbox["available"]));
        match (database, outbox) {
            (Some(false), _) => findings.fault(
                hop::DELIVERY,
                format!("{says}; the server says that its database is not available"),
                "see the server's log: its database user may be another one than PHP's",
            ),
            (_, Some(false)) => findings.fault(
                hop::DELIVERY,
                format!("{says}; the server says that it cannot read the outbox table"),
                "see the hop \"privileges\" and the server's log",
            ),
            _ => findings.fault(
                hop::DELIVERY,
                says,
                "see the server's log; does it run with this very site ([joomla] root)? Is the database a replica that is \
                 behind?",
            ),
        }
    }

    /// PHP's call after it has written.
    fn nudge(&mut self, net: &mut Net, store: &mut MySql, channel: &str, findings: &mut Findings) {
        let address = self.site.option("server_address").unwrap_or(FOR_PHP);
        let mend = "Components, Websockets, Options, Address for PHP: where jsocketd listens, as http://127.0.0.1:8080";
        let base: Address = match address.parse() {
            Ok(base) => base,
            Err(why) => return findings.fault(hop::NUDGE, format!("Address for PHP is {address:?}: {why}"), mend),
        };
        if !write(self.site, store, channel, SECOND, findings) {
            return findings.skip(hop::NUDGE, "no second row could be written");
        }
        let began = Instant::now();
        let answer = match request(net, "POST", &base, "nudge", self.credentials, "") {
            Ok(answer) => answer,
            Err(trouble) => {
                return findings.fault(
                    hop::NUDGE,
                    format!("PHP calls the server at {address}, and: {trouble}. Events come late without it"),
                    mend,
                );
            }
        };
        if answer.status != 200 {
            let words = crate::commands::http::on_one_line(&answer.text());
            return findings.fault(
                hop::NUDGE,
                format!(
                    "PHP calls the server at {address}, and the answer is {}: {words}",
                    answer.status
                ),
                mend,
            );
        }
        match self.arrival(SECOND) {
            Ok(()) => findings.ok(
                hop::NUDGE,
                format!(
                    "{address} takes PHP's nudge, and the row came {} ms after it",
                    began.elapsed().as_millis()
                ),
            ),
            Err(end) => findings.fault(
                hop::NUDGE,
                format!("{address} takes PHP's nudge, and the row does not come: {}", lost(&end)),
                "see whether another jsocketd answers there than behind the proxy",
            ),
        }
    }
}

/// Writes one row that nobody gets: there is no connection that could.
pub fn write_only(site: &Site, findings: &mut Findings) {
    if let Some((_, user)) = begin(site, &own_channel(), findings) {
        findings.ok(hop::OUTBOX, may_write(&user));
    }
}

/// Connects as PHP's user and writes the first row. Returns the connection and the user's name.
fn begin(site: &Site, channel: &str, findings: &mut Findings) -> Option<(MySql, String)> {
    const OFF: &str = "the outbox table is not read ([database] outbox = false)";
    if !site.config.database.outbox {
        findings.skip_rest(&HOPS, OFF);
        return None;
    }
    let (mut store, user) = match own_user(site) {
        Ok(store) => store,
        Err(why) => {
            findings.fault(
                hop::OUTBOX,
                format!("the site's own database user cannot connect: {why}"),
                "compare $host, $user and $password of configuration.php with the accounts of the database",
            );
            return None;
        }
    };
    write(site, &mut store, channel, FIRST, findings).then_some((store, user))
}

/// The database as PHP's user, and that user's name.
fn own_user(site: &Site) -> Result<(MySql, String), String> {
    let mut config = site.config.clone();
    if !config.joomla.root.is_empty() {
        config.database.user = String::new();
        config.database.password = String::new();
    }
    let read = site::read(&config, &mut resolve).map_err(|error| error.to_string())?;
    let user = read.database.user.clone();
    let mut store = site_store(&config, read.database);
    store.connect(now())?;
    Ok((store, user))
}

/// A channel that nobody else has.
fn own_channel() -> String {
    format!("private-{EVENT}-{:016x}", rand::rng().random::<u64>())
}

fn may_write(user: &str) -> String {
    format!("the site's own database user {user} may write rows")
}

/// Writes a row, as PHP does.
fn write(site: &Site, store: &mut MySql, channel: &str, step: &str, findings: &mut Findings) -> bool {
    let row = NewRow {
        channel: channel.to_owned(),
        event: EVENT.to_owned(),
        data: json!({"step": step}).to_string(),
        socket_id: None,
    };
    let why = match store.ask(&Question::Publish(vec![row]), now()) {
        Ok(Answer::Added(_)) => return true,
        Ok(_) => "the answer is odd".to_owned(),
        Err(failure @ Failure::Locked) => {
            findings.fault(
                hop::OUTBOX,
                format!("the outbox table is locked: {failure}"),
                "wait for the backup or the transaction that holds it (SHOW PROCESSLIST), and run the doctor again",
            );
            return false;
        }
        Err(failure) => failure.to_string(),
    };
    let account = store.account();
    let is_full = ["is full", "No space left", "Disk full", "disk full"]
        .iter()
        .any(|words| why.contains(words));
    let says = format!("the site's own database user cannot write a row: {why}");
    match grant(&why, account.as_deref(), site) {
        _ if is_full => findings.fault(
            hop::OUTBOX,
            format!("the disk of the database, or the space that it may use, is full: {why}"),
            "make room on the database's disk (`df -h`; old binary logs: PURGE BINARY LOGS; a smaller [database] retention \
             keeps the outbox table small)",
        ),
        Some(line) => findings.fault_with(hop::OUTBOX, says, "run this as the database's root", line),
        None if why.contains("doesn't exist") => findings.fault(
            hop::OUTBOX,
            says,
            "install the package, which makes the tables, or run the SQL that `jsocketd schema` prints",
        ),
        None => findings.fault(hop::OUTBOX, says, "see the database's error log"),
    }
    false
}
