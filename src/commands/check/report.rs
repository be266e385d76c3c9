//! The findings of `check`, and the forms in which they are printed: for people a summary of at most twelve lines, with
//! `--all` the configuration and each detail before it, with `--json` one object for programs.

use jsocketd::config::{Config, Secrets};
use serde_json::{Value, json};

use crate::commands::units::counted;

/// The lines of the summary before the warnings and the verdict, in their order.
const FACTS: [&str; 10] = [
    "configuration",
    "listeners",
    "certificates",
    "engine",
    "page and state",
    "apps",
    "site",
    "database",
    "tables",
    "visitors",
];

/// The width of the first column of the summary.
const WIDTH: usize = 16;

/// See the top of this file.
#[derive(Default)]
pub(super) struct Report {
    facts: Vec<(&'static str, String)>,
    details: Vec<String>,
    warnings: Vec<String>,
    /// Mistakes in the configuration. Each begins with its place.
    mistakes: Vec<String>,
    /// Faults of the site, its database and the engine.
    faults: Vec<String>,
    /// Statements to run, which nothing else prints.
    remedy: Vec<String>,
}

impl Report {
    /// Adds a line of the summary, or replaces it.
    pub(super) fn note(&mut self, name: &'static str, text: impl Into<String>) {
        debug_assert!(FACTS.contains(&name), "the summary has no line {name}");
        self.facts.retain(|(known, _)| *known != name);
        self.facts.push((name, text.into()));
    }

    /// Adds a detail.
    pub(super) fn say(&mut self, line: impl Into<String>) {
        self.details.push(line.into());
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, line: impl Into<String>) {
        let line = line.into();
        self.details.push(format!("warning: {line}"));
        self.warnings.push(line);
    }

    /// Adds a fault of the site, its database or the engine.
    pub(super) fn fault(&mut self, line: impl Into<String>) {
        let line = line.into();
        self.details.push(format!("FAULT: {line}"));
        self.faults.push(line);
    }

    /// Adds a mistake in the configuration. Its line begins with its place.
    pub(super) fn mistake(&mut self, line: String) {
        self.mistakes.push(line);
    }

    /// Adds a line of the remedy.
    pub(super) fn remedy(&mut self, line: impl Into<String>) {
        let line = line.into();
        self.details.push(line.clone());
        self.remedy.push(line);
    }

    /// The lines for standard error.
    pub(super) fn errors(&self) -> impl Iterator<Item = String> {
        let mistakes = self.mistakes.iter().cloned();
        let warnings = self.warnings.iter().map(|line| format!("warning: {line}"));
        let faults = self.faults.iter().map(|line| format!("fault: {line}"));
        mistakes.chain(warnings).chain(faults)
    }

    /// The faults of the site and its database.
    pub(super) fn into_faults(self) -> Vec<String> {
        self.faults
    }

    fn all_faults(&self) -> Vec<&str> {
        let all = self.mistakes.iter().chain(&self.faults);
        all.map(String::as_str).collect()
    }

    /// Whether the exit code is 0. `strict`: warnings count.
    pub(super) fn is_good(&self, strict: bool) -> bool {
        self.all_faults().is_empty() && (!strict || self.warnings.is_empty())
    }

    fn verdict(&self, strict: bool) -> String {
        match (self.all_faults().len(), self.is_good(strict)) {
            (0, true) => "good".to_owned(),
            (0, false) => format!(
                "not good: {} (--strict)",
                counted(self.warnings.len() as u64, "warning", "warnings")
            ),
            (faults, _) => format!("not good: {}", counted(faults as u64, "fault", "faults")),
        }
    }

    /// The remedy and the summary.
    pub(super) fn text(&self, strict: bool) -> String {
        let mut lines = self.remedy.clone();
        lines.extend(self.summary(strict));
        lines.into_iter().map(|line| line + "\n").collect()
    }

    /// A file of TOML: the configuration, if it has no mistakes, and all details and the summary as comments.
    pub(super) fn everything(&self, config: Option<&Config>, strict: bool) -> String {
        let config = config.map_or_else(String::new, |config| config.to_toml(Secrets::MASKED) + "\n");
        let lines = self.details.iter().flat_map(|text| text.lines().map(str::to_owned));
        let lines = lines.chain([String::new()]).chain(self.summary(strict));
        let comments: String = lines
            .map(|line| format!("# {line}").trim_end().to_owned() + "\n")
            .collect();
        config + &comments
    }

    fn summary(&self, strict: bool) -> Vec<String> {
        let warnings = match self.warnings.len() {
            0 => "none".to_owned(),
            many => many.to_string(),
        };
        let verdict = self.verdict(strict);
        let facts = self.ordered();
        let lines = facts.chain([("warnings", warnings.as_str()), ("verdict", verdict.as_str())]);
        lines.map(|(name, text)| format!("{name:<WIDTH$}{text}")).collect()
    }

    fn ordered(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let of = |name: &&'static str| self.facts.iter().find(|(known, _)| known == name);
        FACTS.iter().filter_map(of).map(|(name, text)| (*name, text.as_str()))
    }

    /// One object. `config` is null while the configuration has mistakes.
    pub(super) fn json(&self, config: Option<&Config>, strict: bool) -> Value {
        let config = config.and_then(|config| toml::from_str::<Value>(&config.to_toml(Secrets::MASKED)).ok());
        let facts: serde_json::Map<String, Value> = self
            .ordered()
            .map(|(name, text)| (name.replace(' ', "_"), text.into()))
            .collect();
        json!({
            "good": self.is_good(strict),
            "faults": self.all_faults(),
            "warnings": self.warnings,
            "remedy": self.remedy,
            "facts": facts,
            "details": self.details,
            "config": config,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_at_most_twelve_lines_in_a_fixed_order() {
        let mut report = Report::default();
        for name in FACTS.iter().rev() {
            report.note(name, "first");
            report.note(name, "x");
        }
        let text = report.text(false);
        let names: Vec<&str> = text.lines().map(|line| line[..WIDTH].trim_end()).collect();
        assert_eq!(names[..10], FACTS);
        assert_eq!(names[10..], ["warnings", "verdict"]);
        assert!(
            !text.contains("first") && text.ends_with("verdict         good\n"),
            "{text}"
        );
    }

    #[test]
    fn faults_count_always_and_warnings_count_if_they_are_to() {
        let mut report = Report::default();
        assert!(report.is_good(false) && report.is_good(true));
        report.warn("w");
        assert!(report.is_good(false) && !report.is_good(true));
        assert!(report.text(true).contains("not good: 1 warning (--strict)\n"));
        report.fault("f");
        report.mistake("m".to_owned());
        assert!(!report.is_good(false) && !report.is_good(true));
        for strict in [false, true] {
            assert!(report.text(strict).ends_with("not good: 2 faults\n"));
        }
        assert_eq!(report.errors().collect::<Vec<_>>(), ["m", "warning: w", "fault: f"]);
        assert_eq!(report.json(None, false)["faults"], json!(["m", "f"]));
    }

    #[test]
    fn everything_is_a_file_of_toml_with_the_summary_at_its_end() {
        let mut report = Report::default();
        report.say("two\nlines");
        report.remedy("GRANT x;");
        report.fault("it is [gone");
        let config = Config::default();
        let text = report.everything(Some(&config), false);
        let table: toml::Table = text.parse().expect("TOML");
        assert_eq!(table["limits"]["ping_interval"].as_integer(), Some(25));
        assert!(
            text.contains("# two\n# lines\n# GRANT x;\n# FAULT: it is [gone\n#\n"),
            "{text}"
        );
        assert!(text.ends_with("# verdict         not good: 1 fault\n"), "{text}");
        assert!(report.text(false).starts_with("GRANT x;\nwarnings"));
        assert_eq!(
            report.json(Some(&config), false)["config"]["limits"]["ping_interval"],
            json!(25)
        );
    }
}
