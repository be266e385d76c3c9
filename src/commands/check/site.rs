//! Inspects the site and its database: the file, the connection, and every query that the server will run.

use std::collections::BTreeSet;

use jsocketd::config::Config;
use jsocketd::joomla::acl::{self, Acl};
use jsocketd::joomla::site::{self, SiteConfig};
use jsocketd::server::process::lookup::resolve;
use jsocketd::site::parameters::Parameters;
use jsocketd::store::grants::grants;
use jsocketd::store::mysql::{MySql, Server};
use jsocketd::store::{Answer, Database, Extensions, Failure, Question, SessionId, Store, Text};

use super::super::{now, parameters, site_store};
use super::outbox;
use super::report::Report;

/// Reads the site and asks its database. Returns the options of the component, if they could be read.
pub(super) fn inspect(config: &Config, report: &mut Report) -> Option<Parameters> {
    let mut unresolved = None;
    let found = site::inspect(config, &mut |host, port| {
        resolve(host, port).or_else(|error| {
            unresolved = Some(format!(
                "the database's host {host:?} cannot be used: its name cannot be resolved: {error}"
            ));
            Ok(Vec::new())
        })
    });
    let file = match &found.file {
        Some(file) => file.display().to_string(),
        None if config.joomla.root.is_empty() => "without configuration.php".to_owned(),
        None => format!("{} cannot be read", config.joomla.root),
    };
    report.note("site", file.clone());
    for fault in found.problems.iter().chain(&unresolved) {
        report.fault(fault.clone());
    }
    for warning in &found.warnings {
        report.warn(warning.clone());
    }
    if let Some(site) = &found.site {
        origins(site, config, report);
    }
    let database = found.database.clone();
    if let Ok(read) = found.whole() {
        site::describe(&read).into_iter().for_each(|line| report.say(line));
    }
    let database = database?;
    if unresolved.is_some() {
        report.note("database", "not asked: its host has no address");
        return None;
    }
    let mut inspection = Inspection {
        config,
        database: &database,
        store: open(config, &database, report)?,
        refused: Vec::new(),
        locked: BTreeSet::new(),
    };
    let extensions = inspection.run(report)?;
    report.note("site", format!("{file}: {}", versions(&extensions)));
    Some(parameters(&extensions))
}

/// Connects to the database, and reports what its server and its user say about themselves.
fn open(config: &Config, database: &Database, report: &mut Report) -> Option<MySql> {
    let Database { name, host, user, .. } = database;
    let mut store = site_store(config, database.clone());
    if let Err(why) = store.connect(now()) {
        report.note("database", format!("{name:?} at {host:?} cannot be reached"));
        report.fault(format!("the database {name} at {host}: {why}"));
        return None;
    }
    if let Some(server) = store.server() {
        report.note("database", format!("{server}: {name:?} at {host:?}, user {user:?}"));
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
    Some(store)
}

/// `Joomla 6.1.0, com_websockets 1.0.0`
fn versions(extensions: &Extensions) -> String {
    let joomla = extensions
        .joomla_version
        .as_ref()
        .map(|version| format!("Joomla {version}"));
    let package = match &extensions.package_version {
        Some(version) => format!("com_websockets {version}"),
        None => "com_websockets is not installed".to_owned(),
    };
    let both: Vec<String> = joomla.into_iter().chain([package]).collect();
    both.join(", ")
}

fn origins(site: &SiteConfig, config: &Config, report: &mut Report) {
    let allowed = config.server.allowed_origins.iter().map(ToString::to_string);
    let known: Vec<String> = allowed.chain(site.live_site.clone()).collect();
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

fn describe_server(server: &Server, config: &Config, report: &mut Report) {
    report.say(format!("database server: {server}"));
    if let Some(why) = server.odd_clock(now()) {
        report.warn(why);
    }
    if server.read_only {
        report.fault(
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
pub(super) struct Inspection<'a> {
    config: &'a Config,
    pub(super) database: &'a Database,
    pub(super) store: MySql,
    /// The names of the questions that were refused, by the reason.
    refused: Vec<(String, Vec<&'static str>)>,
    /// Questions that met a lock.
    pub(super) locked: BTreeSet<&'static str>,
}

impl Inspection<'_> {
    /// Returns the facts of the extensions, if they are readable.
    fn run(&mut self, report: &mut Report) -> Option<Extensions> {
        let extensions = match self.ask(&Question::Extensions) {
            Some(Answer::Extensions(extensions)) => Some(extensions),
            _ => None,
        };
        if let Some(extensions) = &extensions {
            self.component(extensions, report);
        }
        let are_known = self.visitors(report);
        let guests = self.rights(extensions.as_ref(), report);
        report.note(
            "visitors",
            match (are_known, guests) {
                (true, Some(guests)) => format!("can be identified; {guests}"),
                (true, None) => "can be identified; their rights cannot be read".to_owned(),
                (false, _) => "cannot be identified".to_owned(),
            },
        );
        if self.config.database.outbox {
            outbox::inspect(self, report);
        } else {
            report.note("tables", "not read ([database] outbox = false)");
            report.say("the outbox table is not read ([database] outbox = false)");
        }
        self.conclude(report);
        extensions
    }

    /// Reports locks and refusals, and the privileges that help.
    fn conclude(&mut self, report: &mut Report) {
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
        for (why, names) in std::mem::take(&mut self.refused) {
            let questions = if names.len() == 1 { "question" } else { "questions" };
            report.fault(format!("the {questions} for {}: {why}", names.join(", ")));
        }
        if !helps {
            return;
        }
        let Database { name, prefix, user, .. } = self.database;
        let account = self.store.account();
        let place = match account {
            Some(_) => "for the site's administrator to run:",
            None => "for the site's administrator to run; the host may be another:",
        };
        report.remedy(format!("What a database user of its own needs, {place}"));
        let account = account.unwrap_or_else(|| format!("'{user}'@'localhost'"));
        for line in grants(name, prefix, &account, &self.config.item_types()) {
            report.remedy(format!("    {line}"));
        }
    }

    /// The answer; a refusal is noted.
    pub(super) fn ask(&mut self, question: &Question) -> Option<Answer> {
        match self.store.ask(question, now()) {
            Ok(answer) => Some(answer),
            Err(failure) => {
                self.note(question, &failure);
                None
            }
        }
    }

    /// Notes a refusal. A lock passes by itself; every other reason must be fixed.
    pub(super) fn note(&mut self, question: &Question, failure: &Failure) {
        match failure {
            Failure::Locked => drop(self.locked.insert(question.name())),
            // The first refusal said why the connection was lost.
            Failure::Unavailable(_) if self.store.server().is_none() && !self.refused.is_empty() => {}
            failure => self.refuse(question.name(), failure.to_string()),
        }
    }

    /// Notes why a question, or another statement with this name, was refused.
    pub(super) fn refuse(&mut self, name: &'static str, why: String) {
        match self.refused.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) if names.contains(&name) => {}
            Some((_, names)) => names.push(name),
            None => self.refused.push((why, vec![name])),
        }
    }

    /// Reports the versions and the options of the component.
    fn component(&self, extensions: &Extensions, report: &mut Report) {
        match &extensions.joomla_version {
            Some(version) => report.say(format!("Joomla {version}")),
            None => report.warn("the version of Joomla is not known: #__extensions does not have it"),
        }
        match &extensions.package_version {
            Some(version) => report.say(format!("com_websockets {version} is installed")),
            None => report.say("com_websockets is not installed"),
        }
        let parameters = parameters(extensions);
        let app = &self.config.joomla.app;
        let has_own = self
            .config
            .apps
            .iter()
            .any(|own| own.id == *app && !own.secret.is_empty());
        if let Some(why) = parameters.complaint(app).filter(|_| !has_own) {
            report.warn(why);
        }
        if parameters.enabled == Some(false) {
            report.warn("the options of com_websockets have jsocketd switched off: its app's connections are refused");
        }
    }

    /// Returns whether visitors can be identified.
    fn visitors(&mut self, report: &mut Report) -> bool {
        // PHP makes no such id, so no session has it.
        let ids = SessionId::parse("jsocketd-check").into_iter().collect();
        let text = Text::Always;
        let sessions = self.ask(&Question::Sessions { ids, text }).is_some();
        let users = self.ask(&Question::Users(vec![1])).is_some();
        if sessions && users {
            report.say("visitors can be identified: sessions and users are readable");
        }
        sessions && users
    }

    /// Returns what guests may subscribe to, if the rights are readable.
    fn rights(&mut self, extensions: Option<&Extensions>, report: &mut Report) -> Option<String> {
        let groups = self.ask(&Question::Groups);
        let levels = self.ask(&Question::Levels);
        let assets = self.ask(&Question::Assets);
        for kind in 0..self.config.item_types().len() {
            self.ask(&Question::Items { kind, ids: vec![1] });
        }
        self.ask(&Question::Categories(vec![1]));
        let (Answer::Groups(groups), Answer::Levels(levels), Answer::Assets(assets)) = (groups?, levels?, assets?)
        else {
            return None;
        };
        let extensions = extensions?;
        let guest = extensions.com_users.as_deref().and_then(acl::guest_group);
        let (acl, warnings) = Acl::new(&groups, &levels, &assets, guest);
        for warning in warnings {
            report.warn(warning);
        }
        let guest_groups = acl.guest_groups();
        let guest_levels = acl.levels(0, guest_groups, false);
        let public = match (self.config.joomla.guests, parameters(extensions).guests) {
            (Some(false), _) => "no channels without a prefix ([joomla] guests = false)",
            (None, Some(false)) => "no channels without a prefix (the options of com_websockets)",
            _ => "channels without a prefix",
        };
        let (groups, levels) = (numbers(guest_groups), numbers(&guest_levels));
        report.say(format!(
            "guests may subscribe to {public}, and to what is open to the groups {groups} and the view levels {levels}"
        ));
        Some(format!(
            "guests may enter {public}, and those of groups {groups} and view levels {levels}"
        ))
    }
}

fn numbers(list: &[u32]) -> String {
    let list: Vec<String> = list.iter().map(u32::to_string).collect();
    match list.is_empty() {
        true => "none".to_owned(),
        false => list.join(", "),
    }
}
