//! What the doctor finds: one line a hop, with the line to mend. For people each line is printed as soon as it is
//! known; as JSON it is one list at the end.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use crate::commands::http::is_harmful;
use crate::commands::units::counted;

/// The names of the hops, from the outside in.
pub mod hop {
    /// The name of the site resolves, and its addresses accept.
    pub const NAME: &str = "name";
    /// The certificate.
    pub const TLS: &str = "certificate";
    /// Pages of http lead to https.
    pub const HTTPS: &str = "https";
    /// The site's page.
    pub const PAGE: &str = "page";
    /// The package on it.
    pub const PACKAGE: &str = "package";
    /// The session cookie reaches the socket.
    pub const COOKIE: &str = "cookie";
    /// The proxy passes the handshake on.
    pub const UPGRADE: &str = "upgrade";
    /// The server greets the client.
    pub const GREETING: &str = "greeting";
    /// The proxy leaves a silent connection open.
    pub const IDLE: &str = "idle";
    /// The site's database.
    pub const DATABASE: &str = "database";
    /// The engine of several processes.
    pub const ENGINE: &str = "engine";
    /// What the user of the database may do.
    pub const PRIVILEGES: &str = "privileges";
    /// The signed request.
    pub const SECRET: &str = "secret";
    /// The server sees whom it talks to.
    pub const CLIENT: &str = "client address";
    /// The server takes the page for the site's own.
    pub const ORIGIN: &str = "origin";
    /// All clocks agree.
    pub const CLOCKS: &str = "clocks";
    /// The row of the page's session.
    pub const SESSION: &str = "session";
    /// The server sees that session.
    pub const IDENTITY: &str = "identity";
    /// The site's rules are followed.
    pub const ACCESS: &str = "access";
    /// The site may write into the outbox table.
    pub const OUTBOX: &str = "outbox";
    /// What it wrote is delivered.
    pub const DELIVERY: &str = "delivery";
    /// PHP reaches the server.
    pub const NUDGE: &str = "nudge";
    /// Package and server fit together.
    pub const VERSIONS: &str = "versions";

    /// All of them, in the order in which they are printed.
    pub const ALL: [&str; 23] = [
        NAME, TLS, HTTPS, PAGE, PACKAGE, COOKIE, UPGRADE, GREETING, ENGINE, DATABASE, PRIVILEGES, SECRET, CLIENT,
        ORIGIN, CLOCKS, SESSION, IDENTITY, ACCESS, OUTBOX, DELIVERY, NUDGE, VERSIONS, IDLE,
    ];
}

/// How a hop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Proved.
    Ok,
    /// It works, but something should be changed.
    Warning,
    /// It does not work.
    Fault,
    /// It could not be tried.
    NotChecked,
}

/// A hop, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name, one of [`hop::ALL`].
    pub hop: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub says: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// The lines to paste.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
}

/// All findings so far.
pub struct Findings {
    list: Vec<Finding>,
    json: bool,
}

impl Findings {
    /// `json`: nothing is printed before the end.
    pub fn new(json: bool) -> Self {
        Self { list: Vec::new(), json }
    }

    /// The hop is proved.
    pub fn ok(&mut self, hop: &'static str, says: impl Into<String>) {
        self.add(hop, Verdict::Ok, says.into(), None, None);
    }

    /// The hop works, but something should be changed.
    pub fn warn(&mut self, hop: &'static str, says: impl Into<String>, mend: impl Into<String>) {
        self.add(hop, Verdict::Warning, says.into(), Some(mend.into()), None);
    }

    /// The hop does not work.
    pub fn fault(&mut self, hop: &'static str, says: impl Into<String>, mend: impl Into<String>) {
        self.add(hop, Verdict::Fault, says.into(), Some(mend.into()), None);
    }

    /// The hop does not work, and these lines fix it.
    pub fn fault_with(
        &mut self,
        hop: &'static str,
        says: impl Into<String>,
        mend: impl Into<String>,
        snippet: impl Into<String>,
    ) {
        self.add(
            hop,
            Verdict::Fault,
            says.into(),
            Some(mend.into()),
            Some(snippet.into()),
        );
    }

    /// The hop could not be tried.
    pub fn skip(&mut self, hop: &'static str, why: impl Into<String>) {
        self.add(hop, Verdict::NotChecked, why.into(), None, None);
    }

    /// Skips those of these hops about which nothing was said. For people they share their line.
    pub fn skip_rest(&mut self, hops: &[&'static str], why: &str) {
        let open: Vec<&'static str> = hops.iter().copied().filter(|hop| self.of(hop).is_none()).collect();
        let Some((first, others)) = open.split_first() else {
            return;
        };
        self.skip(first, why);
        for hop in others {
            self.list.push(Finding {
                hop,
                ..self.list[self.list.len() - 1].clone()
            });
        }
        if !others.is_empty() {
            self.note(&format!("             also: {}", others.join(", ")));
        }
    }

    /// What was found about a hop, the worst first.
    pub fn of(&self, hop: &str) -> Option<&Finding> {
        let mut found = self.list.iter().filter(|finding| finding.hop == hop);
        let first = found.next();
        found.find(|finding| finding.verdict == Verdict::Fault).or(first)
    }

    /// Whether this hop has a fault.
    pub fn is_faulty(&self, hop: &str) -> bool {
        self.of(hop).is_some_and(|finding| finding.verdict == Verdict::Fault)
    }

    /// How many findings are so.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.list.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// Says something in between, for people only.
    pub fn note(&self, line: &str) {
        if !self.json {
            print(&format!("{line}\n"));
        }
    }

    /// Prints what is left: the list as JSON, or the sum.
    pub fn finish(&self) {
        if self.json {
            // Findings are plain texts, so they have a JSON form.
            let list = serde_json::to_string_pretty(&self.list).unwrap_or_default();
            return print(&(list + "\n"));
        }
        let (faults, warnings) = (self.count(Verdict::Fault), self.count(Verdict::Warning));
        let (good, skipped) = (self.count(Verdict::Ok), self.count(Verdict::NotChecked));
        print(&format!(
            "\n{good} proved, {}, {}, {skipped} not checked\n",
            counted(warnings as u64, "warning", "warnings"),
            counted(faults as u64, "fault", "faults"),
        ));
    }

    fn add(
        &mut self,
        hop: &'static str,
        verdict: Verdict,
        says: String,
        mend: Option<String>,
        snippet: Option<String>,
    ) {
        let plain = |text: String| text.replace(|c: char| is_harmful(c) && c != '\n', " ");
        let finding = Finding {
            hop,
            verdict,
            says: plain(says),
            mend: mend.map(plain),
            snippet: snippet.map(plain),
        };
        if !self.json {
            print(&in_words(&finding));
        }
        self.list.push(finding);
    }
}

/// A finding for people.
fn in_words(finding: &Finding) -> String {
    let verdict = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Fault => "FAULT",
        Verdict::NotChecked => "not checked",
    };
    let mut text = format!("{verdict:<11}  {:<14}  {}\n", finding.hop, finding.says);
    if let Some(mend) = &finding.mend {
        let _ = writeln!(text, "             -> {mend}");
    }
    if let Some(snippet) = &finding.snippet {
        for line in snippet.lines() {
            let _ = writeln!(text, "{}", format!("                {line}").trim_end());
        }
    }
    text
}

/// A reader that has closed the pipe has read enough.
fn print(text: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_the_line_to_mend_below_it() {
        let mut findings = Findings::new(true);
        findings.ok(hop::NAME, "it is there");
        findings.fault_with(hop::IDLE, "cut\u{1b}[2J", "do this", "a\nb");
        let lines: String = findings.list.iter().map(in_words).collect();
        assert_eq!(
            lines,
            "ok           name            it is there\nFAULT        idle            cut [2J\n             -> do this\n                \
             a\n                b\n"
        );
        assert!(findings.is_faulty(hop::IDLE) && !findings.is_faulty(hop::NAME));
    }
}
