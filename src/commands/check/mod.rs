//! `jsocketd check`: says whether the server can do its work. It prints the configuration in force, the site, its
//! database, what is missing there, and the line that fixes it. Standard output is TOML, so that it can be kept as a
//! file: each line that is no setting is a comment. The command changes nothing.

mod outbox;

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use jsocketd::config::{Config, Secrets, Sources};
use jsocketd::joomla::acl::Acl;
use jsocketd::joomla::site::{self, SiteConfig};
use jsocketd::server::process::lookup::resolve;
use jsocketd::site::parameters::Parameters;
use jsocketd::store::grants::grants;
use jsocketd::store::mysql::{MySql, Server};
use jsocketd::store::{Answer, Database, Extensions, Failure, Question, SessionId, Store, Text};
use jsocketd::time::{Now, Time};
use rustix::process::{Resource, getrlimit};

use super::{complain, site_store};

/// The findings, in the order in which they are printed.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    warnings: Vec<String>,
    missing: Vec<String>,
}

impl Report {
    fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn warn(&mut self, line: impl Into<String>) {
        let line = line.into();
        self.lines.push(format!("warning: {line}"));
        self.warnings.push(line);
    }

    fn lack(&mut self, line: impl Into<String>) {
        let line = line.into();
        self.lines.push(format!("MISSING: {line}"));
        self.missing.push(line);
    }
}

/// Prints the configuration in force and the missing parts.
///
/// # Errors
/// When something is missing that the server needs; standard error has named it then.
pub fn check(sources: &Sources) -> Result<(), Box<dyn Error>> {
    let loaded = sources.load()?;
    let limit = getrlimit(Resource::Nofile);
    let room = loaded.config.connections_for(limit.maximum.unwrap_or(u64::MAX));
    let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |number| number.to_string());
    let source = match &loaded.file {
        Some(path) => format!("configuration file: {}", path.display()),
        None if loaded.config.embedded_defaults => "no configuration file: embedded defaults".to_owned(),
        None => "no configuration file".to_owned(),
    };
    let mut report = Report::default();
    report.say(format!(
        "descriptors: soft limit {}, hard limit {}; the server raises the soft one, so max_connections comes to {room}",
        shown(limit.current),
        shown(limit.maximum),
    ));
    for warning in &loaded.warnings {
        report.warnings.push(warning.clone());
    }
    let wanted = loaded.config.server.max_connections;
    if wanted > room {
        report.warnings.push(format!(
            "max_connections is {wanted}, but the descriptor limit allows only {room}"
        ));
    }
    if loaded.config.has_site() {
        inspect(&loaded.config, &mut report);
    }
    let comments: String = report
        .lines
        .iter()
        .flat_map(|text| text.lines())
        .map(|line| format!("# {line}").trim_end().to_owned() + "\n")
        .collect();
    let text = format!("# {source}\n\n{}\n{comments}", loaded.config.to_toml(Secrets::MASKED));
    // A reader that has closed the pipe (`| head`) has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    for warning in &report.warnings {
        complain(format_args!("warning: {warning}"));
    }
    for text in &report.missing {
        // The report has the other lines: they are to be copied from there.
        complain(format_args!("missing: {}", text.lines().next().unwrap_or_default()));
    }
    match report.missing.len() {
        0 => Ok(()),
        1 => Err("one thing is missing".into()),
        many => Err(format!("{many} things are missing").into()),
    }
}

/// Reads the site and asks its database.
fn inspect(config: &Config, report: &mut Report) {
    let read = match site::read(config, &mut resolve) {
        Ok(read) => read,
        Err(error) => return report.lack(error.to_string()),
    };
    report.say("");
    for line in site::describe(&read) {
        report.say(line);
    }
    for warning in &read.warnings {
        report.warn(warning.clone());
    }
    origins(&read.site, config, report);
    credentials(config, report);

    let database = read.database;
    let mut store = site_store(config, database.clone());
    report.say("");
    if let Err(why) = store.connect(now()) {
        return report.lack(format!("the database {} at {}: {why}", database.name, database.host));
    }
    if let Some(server) = store.server() {
        describe_server(server, config, report);
    }
    for sentence in store.limits().describe() {
        report.say(sentence);
    }
    if store.limits().are_scarce() {
        report.warn(
            "half of what the database user may ask in an hour is less than the server asks while nothing happens: rows of the \
             outbox come seconds late. Have the limit raised, or give jsocketd a database user of its own",
        );
    }
    let mut inspection = Inspection {
        config,
        database: &database,
        store,
        refused: Vec::new(),
        locked: BTreeSet::new(),
    };
    inspection.run(report);
}

fn origins(site: &SiteConfig, config: &Config, report: &mut Report) {
    let mut known: Vec<&str> = config.server.allowed_origins.iter().map(String::as_str).collect();
    known.extend(site.live_site.as_deref());
    let rest = match known.is_empty() {
        true => String::new(),
        false => format!(", and of {}", known.join(", ")),
    };
    report.say(format!(
        "session cookies count on pages of the host that the socket's own URL names{rest}"
    ));
    if config.joomla.require_form_token {
        report.say("a connection is a guest until it has shown its form token (require_form_token)");
    }
}

fn credentials(config: &Config, report: &mut Report) {
    let app = config.apps.iter().find(|app| app.id == config.joomla.app);
    match app {
        Some(app) if app.secret.is_empty() => report.say(format!(
            "the app {} has no secret here: it is taken from the component when that is installed, and until then the HTTP \
             API and signatures are off",
            app.id
        )),
        Some(app) => report.say(format!("the site's app is {} with the key {}", app.id, app.key)),
        None => report.lack(format!(
            "[joomla] app is {:?}, and there is no such app in [[apps]]",
            config.joomla.app
        )),
    }
}

fn describe_server(server: &Server, config: &Config, report: &mut Report) {
    report.say(format!("database server: {server}"));
    if let Some(why) = server.odd_clock(now()) {
        report.warn(why);
    }
    if server.read_only {
        report.lack(
            "the database server is read-only (read_only=ON): positions cannot be written and nothing can be deleted",
        );
    }
    if !config.database.outbox {
        return;
    }
    if server.binlog_format.as_deref() == Some("STATEMENT") {
        report.say(
            "the server writes its binary log by statement, so sessions run at REPEATABLE READ; nothing else differs",
        );
    }
}

/// Runs every query that the server will run, and notes each refusal.
struct Inspection<'a> {
    config: &'a Config,
    database: &'a Database,
    store: MySql,
    refused: Vec<String>,
    /// Questions that met a lock.
    locked: BTreeSet<&'static str>,
}

impl Inspection<'_> {
    fn run(&mut self, report: &mut Report) {
        let extensions = match self.ask(&Question::Extensions) {
            Some(Answer::Extensions(extensions)) => extensions,
            _ => Extensions::default(),
        };
        match &extensions.joomla_version {
            Some(version) => report.say(format!("Joomla {version}")),
            None => report.warn("the version of Joomla is not known; #__extensions may not be readable"),
        }
        match &extensions.package_version {
            Some(version) => report.say(format!("com_websockets {version} is installed")),
            None => report.say("com_websockets is not installed"),
        }
        self.visitors(report);
        self.rights(&extensions, report);
        if self.config.database.outbox {
            outbox::inspect(self, report);
        } else {
            report.say("the outbox table is not read ([database] outbox = false)");
        }
        if !self.locked.is_empty() {
            let names: Vec<&str> = self.locked.iter().copied().collect();
            report.warn(format!(
                "somebody has locked rows or tables of the outbox (a backup? an open transaction?), so this could not be \
                 tried: {}; run it again later",
                names.join(", ")
            ));
        }
        // If the reason is another one, privileges would not help.
        let helps = self.store.lacks_something() && !self.refused.is_empty();
        for refused in std::mem::take(&mut self.refused) {
            report.lack(refused);
        }
        if !helps {
            return;
        }
        let Database { name, prefix, user, .. } = self.database;
        report.say(
            "What a database user of its own needs, for the site's administrator to run; the host may be another:",
        );
        for line in grants(
            name,
            prefix,
            &format!("'{user}'@'localhost'"),
            &self.config.item_types(),
        ) {
            report.say(format!("    {line}"));
        }
    }

    /// The answer; a refusal is noted.
    fn ask(&mut self, question: &Question) -> Option<Answer> {
        match self.store.ask(question, now()) {
            Ok(answer) => Some(answer),
            Err(failure) => {
                self.note(question, &failure);
                None
            }
        }
    }

    /// Notes a refusal. A lock passes by itself; every other reason must be fixed.
    fn note(&mut self, question: &Question, failure: &Failure) {
        match failure {
            Failure::Locked => drop(self.locked.insert(question.name())),
            // The first refusal said why the connection was lost.
            Failure::Unavailable(_) if self.store.server().is_none() && !self.refused.is_empty() => {}
            failure => self
                .refused
                .push(format!("the question for {}: {failure}", question.name())),
        }
    }

    fn visitors(&mut self, report: &mut Report) {
        let before = self.refused.len();
        // PHP makes no such id, so no session has it.
        let ids = SessionId::parse("jsocketd-check").into_iter().collect();
        self.ask(&Question::Sessions {
            ids,
            text: Text::Always,
        });
        self.ask(&Question::Users(vec![1]));
        if self.refused.len() == before {
            report.say("visitors can be identified: sessions and users are readable");
        }
    }

    fn rights(&mut self, extensions: &Extensions, report: &mut Report) {
        let groups = self.ask(&Question::Groups);
        let levels = self.ask(&Question::Levels);
        let assets = self.ask(&Question::Assets);
        for kind in 0..self.config.item_types().len() {
            self.ask(&Question::Items { kind, ids: vec![1] });
        }
        self.ask(&Question::Categories(vec![1]));
        let (Some(Answer::Groups(groups)), Some(Answer::Levels(levels)), Some(Answer::Assets(assets))) =
            (groups, levels, assets)
        else {
            return;
        };
        let guest = extensions
            .com_users
            .as_deref()
            .and_then(jsocketd::joomla::acl::guest_group);
        let (acl, warnings) = Acl::new(&groups, &levels, &assets, guest);
        for warning in warnings {
            report.warn(warning);
        }
        let guest_groups = acl.guest_groups();
        let guest_levels = acl.levels(0, guest_groups, false);
        let said = Parameters::read(extensions.com_websockets.as_deref(), &Parameters::default(), now());
        if let Some(weakness) = said.weakness {
            report.warn(weakness.to_string());
        }
        if said.enabled == Some(false) {
            report.warn("the options of com_websockets have jsocketd switched off: its app's connections are refused");
        }
        let public = match (self.config.joomla.guests, said.guests) {
            (Some(false), _) => "no channels without a prefix ([joomla] guests = false)",
            (None, Some(false)) => "no channels without a prefix (the options of com_websockets)",
            _ => "channels without a prefix",
        };
        report.say(format!(
            "guests may subscribe to {public}, and to what is open to the groups {} and the view levels {}",
            numbers(guest_groups),
            numbers(&guest_levels)
        ));
    }
}

fn numbers(list: &[u32]) -> String {
    let list: Vec<String> = list.iter().map(u32::to_string).collect();
    match list.is_empty() {
        true => "none".to_owned(),
        false => list.join(", "),
    }
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        at: Time(0),
        unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
    }
}
