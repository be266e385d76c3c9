//! The list `scripts/programs` against the sources: every program that a test or script runs is in it, with steps that
//! exist, and nothing else is. The test reads shell, Rust, JavaScript, Python and PHP as text. A program whose name is
//! made at run time is found by `scripts/fresh`, where only the listed packages are installed.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::Chars;

use crate::{files, read, root};

/// The commands of bash itself.
const BUILTINS: &str = ". : [ [[ bg break cd command compgen continue coproc declare disown echo eval exec exit export false \
    kill let local mapfile printf pwd read return set shift shopt source test trap true type ulimit umask unset wait";

/// Words before a command, and words after which no command comes.
const BEFORE: &str = "! { } if then else elif while until do time";
const INSTEAD: &str = "for case select function esac done fi in";

/// Commands that run the command after their options. `one` is a function of scripts/test.
const WRAPPERS: &str = "coproc command env exec nice one setsid timeout xargs";

/// The text in front of a program's name, by the end of a file's name.
const STARTERS: &[(&str, &[&str])] = &[
    ("rs", &["Command::new(\""]),
    (
        "mjs",
        &["spawn('", "execFile)('", " run('", " start('", "['-c', '", "['-c', `"],
    ),
    ("py", &["run(\"", "run([\"", "start([\"", "Popen([\""]),
    ("php", &["exec('", "proc_open(['"]),
];

#[test]
fn every_program_that_is_run_is_in_the_list() {
    let listed: BTreeSet<String> = list().into_keys().collect();
    let mut run = BTreeMap::<String, String>::new();
    for (path, text) in sources() {
        for program in programs(&path, &text) {
            run.entry(program).or_insert(path.clone());
        }
    }
    assert!(
        run.len() > 50,
        "only {} programs were found: is the search broken?",
        run.len()
    );
    let unlisted: Vec<_> = run.iter().filter(|(program, _)| !listed.contains(*program)).collect();
    assert!(unlisted.is_empty(), "scripts/programs lacks: {unlisted:?}");
}

#[test]
fn every_row_of_the_list_is_of_use() {
    let sources = sources();
    let test = &sources.iter().find(|(path, _)| path == "scripts/test").unwrap().1;
    for (program, users) in list() {
        let is_named = |text: &str| {
            text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
                .any(|word| word == program)
        };
        // Cargo runs these.
        let by_cargo = ["cc", "cargo-clippy", "rustfmt"].contains(&program.as_str());
        assert!(
            by_cargo || sources.iter().any(|(_, text)| is_named(text)),
            "nothing runs {program}"
        );
        for user in users {
            assert!(
                ["*", "-"].contains(&user.as_str())
                    || test.contains(&format!("\nstep_{user}() "))
                    || root().join("scripts").join(&user).is_file(),
                "scripts/programs: {program} is for {user}, which is neither a step nor a script"
            );
        }
    }
}

#[test]
fn this_search_finds_what_is_run() {
    let shell = r##"
        first() { echo "$(second "a b" | third)"; } # not a comment
        a=1 b=(x # it's not here
            y) fourth <<END && fifth || ! sixth
        not here
END
        case $a in one | two) seventh ;; *) first ;; esac
        while read -r x; do eighth "${a:-$(ninth)}" 'not here; nor here'; done < <(tenth; "$not" here)
        if [[ a == b && c ]]; then timeout 5 eleventh; else exec twelfth; fi >file
        thirteenth=$((1 + 2)); command -v fourteenth
    "##;
    let found = commands(shell);
    let wanted = "second third fourth fifth sixth seventh eighth ninth tenth timeout eleventh twelfth fourteenth";
    assert_eq!(found, words(wanted).map(str::to_owned).collect());
    assert_eq!(programs("a.rs", "Command::new(\"ls\")"), ["ls".to_owned()].into());
    assert_eq!(
        programs("a.mjs", "x = run('bash', ['-c', 'a | b'])"),
        words("bash a b").map(str::to_owned).collect()
    );
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_ascii_whitespace()
}

/// The programs of the list with their users.
fn list() -> BTreeMap<String, Vec<String>> {
    let text = read("scripts/programs");
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.splitn(4, '|').collect();
        assert!(cells.len() >= 3, "scripts/programs: {row}");
        let users: Vec<String> = words(cells[2]).map(str::to_owned).collect();
        words(cells[0]).map(move |program| (program.to_owned(), users.clone()))
    })
    .collect()
}

/// Everything that can run a program, by its path in the repository, but for this file and the list.
fn sources() -> Vec<(String, String)> {
    let mut found = files(&[".ci", "scripts", "tests"]);
    found.retain(|(path, _)| path != "tests/house/programs.rs" && path != "scripts/programs");
    found
}

/// The names of the programs that a file runs.
fn programs(path: &str, text: &str) -> BTreeSet<String> {
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with("#!") && first.ends_with("sh") {
        return commands(text);
    }
    let kind = if first.ends_with("python3") {
        "py"
    } else {
        path.rsplit('.').next().unwrap()
    };
    let starters = STARTERS
        .iter()
        .find(|(end, _)| *end == kind)
        .map_or(&[][..], |(_, starters)| starters);
    let mut found = BTreeSet::new();
    for starter in starters {
        let quote = starter.chars().last().unwrap();
        for rest in text.split(starter).skip(1) {
            found.extend(commands(rest.split(quote).next().unwrap()));
        }
    }
    found
}

/// The names of the commands of a shell script, without its own functions and the commands of bash.
fn commands(text: &str) -> BTreeSet<String> {
    let mut script = Script {
        rest: text.chars().peekable(),
        line: Vec::new(),
        found: BTreeSet::new(),
        functions: BTreeSet::new(),
    };
    script.code(None);
    let Script { found, functions, .. } = script;
    let is_name = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && !word.contains(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
    };
    let own =
        |word: &String| is_name(word) && !functions.contains(word) && !words(BUILTINS).any(|builtin| builtin == word);
    found.into_iter().filter(own).collect()
}

/// A shell script for a reader that knows quotes, substitutions and the ends of commands, and no more.
struct Script<'a> {
    rest: Peekable<Chars<'a>>,
    /// Commands of this line: a `)` without its `(` makes them patterns of a `case`.
    line: Vec<String>,
    found: BTreeSet<String>,
    functions: BTreeSet<String>,
}

impl Script<'_> {
    /// Reads code up to `end`.
    fn code(&mut self, end: Option<char>) {
        let (mut command, mut word, mut here) = (Vec::<String>::new(), String::new(), Vec::<String>::new());
        while let Some(c) = self.rest.next() {
            if Some(c) == end {
                break;
            }
            match c {
                '#' if word.is_empty() => while self.rest.next_if(|c| *c != '\n').is_some() {},
                '\\' => {
                    if self.rest.next() != Some('\n') {
                        word.push('?');
                    }
                }
                '\'' => {
                    self.rest.by_ref().find(|c| *c == '\'');
                    word.push('?');
                }
                '"' => self.double(&mut word),
                '`' => self.nested('`', &mut word),
                '$' => self.dollar(&mut word),
                '(' if word.ends_with('=') => self.array(),
                '(' if !word.is_empty() && !word.ends_with(['<', '>']) => {
                    self.functions.insert(std::mem::take(&mut word));
                    self.rest.next();
                }
                '(' if self.rest.next_if_eq(&'(').is_some() => self.arithmetic(),
                '(' => self.nested(')', &mut word),
                ')' => {
                    self.line.clear();
                    command.clear();
                    word.clear();
                }
                '<' if self.rest.next_if_eq(&'<').is_some() => {
                    if self.rest.next_if_eq(&'<').is_none() {
                        let mark = std::iter::from_fn(|| self.rest.next_if(|c| !c.is_whitespace()));
                        here.push(mark.filter(|c| !"-'\"".contains(*c)).collect());
                    }
                }
                ' ' | '\t' | ';' | '|' | '&' | '\n' => {
                    if !word.is_empty() {
                        command.push(std::mem::take(&mut word));
                    }
                    let has = |word: &str| command.iter().any(|other| other == word);
                    if c != '\n' && has("[[") && !has("]]") {
                        continue;
                    }
                    if !c.is_whitespace() || c == '\n' {
                        self.finish(&mut command);
                    }
                    if c == '\n' || c == ';' {
                        self.found.extend(self.line.drain(..));
                    }
                    if c == '\n' {
                        for mark in here.drain(..) {
                            while self.text_line().is_some_and(|line| line.trim_start() != mark) {}
                        }
                    }
                }
                c => word.push(c),
            }
        }
        command.push(word);
        self.finish(&mut command);
        self.found.extend(self.line.drain(..));
    }

    fn text_line(&mut self) -> Option<String> {
        self.rest.peek()?;
        Some(self.rest.by_ref().take_while(|c| *c != '\n').collect())
    }

    /// Code in code, as a part of a word that is not known then.
    fn nested(&mut self, end: char, word: &mut String) {
        let outer = std::mem::take(&mut self.line);
        self.code(Some(end));
        self.line = outer;
        word.push('?');
    }

    fn double(&mut self, word: &mut String) {
        while let Some(c) = self.rest.next() {
            match c {
                '"' => break,
                '\\' => drop(self.rest.next()),
                '$' => self.dollar(word),
                _ => {}
            }
        }
        word.push('?');
    }

    fn dollar(&mut self, word: &mut String) {
        word.push('?');
        if self.rest.next_if_eq(&'(').is_some() {
            if self.rest.next_if_eq(&'(').is_some() {
                self.arithmetic();
            } else {
                self.nested(')', word);
            }
        } else if self.rest.next_if_eq(&'{').is_some() {
            while let Some(c) = self.rest.next() {
                match c {
                    '}' => break,
                    '\\' => drop(self.rest.next()),
                    '"' => self.double(word),
                    '$' => self.dollar(word),
                    _ => {}
                }
            }
        }
    }

    /// The text after `((`.
    fn arithmetic(&mut self) {
        let mut open = 2;
        while open > 0 {
            match self.rest.next() {
                Some('(') => open += 1,
                Some(')') => open -= 1,
                Some(_) => {}
                None => break,
            }
        }
    }

    /// The values of an array, which are no commands.
    fn array(&mut self) {
        let mut before = ' ';
        while let Some(c) = self.rest.next() {
            match c {
                ')' => break,
                '#' if before.is_whitespace() => drop(self.rest.by_ref().find(|c| *c == '\n')),
                '\'' => drop(self.rest.by_ref().find(|c| *c == '\'')),
                '"' => self.double(&mut String::new()),
                '$' => self.dollar(&mut String::new()),
                _ => {}
            }
            before = c;
        }
    }

    /// Records the program of a simple command.
    fn finish(&mut self, command: &mut Vec<String>) {
        let one_of = |list: &str, word: &str| words(list).any(|other| other == word);
        let is_set = |word: &str| {
            word.split_once('=')
                .is_some_and(|(name, _)| !name.contains(|c: char| !c.is_ascii_alphanumeric() && !"_[]+?".contains(c)))
        };
        let mut rest = command
            .drain(..)
            .skip_while(|word| one_of(BEFORE, word) || is_set(word) || word.is_empty())
            .peekable();
        while let Some(word) = rest.next() {
            if one_of(INSTEAD, &word) {
                break;
            }
            let wraps = one_of(WRAPPERS, &word);
            self.line.push(word);
            while wraps
                && rest
                    .next_if(|word| {
                        word.starts_with(['-', '1', '2', '3', '4', '5', '6', '7', '8', '9']) || is_set(word)
                    })
                    .is_some()
            {}
            if !wraps {
                break;
            }
        }
    }
}
