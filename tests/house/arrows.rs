//! Rules that no compiler checks: which module may use which, and which items have no place in a server of one thread.
//! They read the sources as text, tests and comments left out, so that a wrong arrow fails before other code is built
//! on it.

use crate::files;

/// The rooms of the source, each with the rooms that it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("time", &[]),
    ("child", &[]),
    ("config", &["trust"]),
    ("trust", &[]),
    ("certificates", &["config", "trust"]),
    ("flight", &["id", "time"]),
    ("logging", &["time"]),
    ("protocol", &["config", "id", "time"]),
    ("net", &["protocol", "config", "id", "time", "logging", "trust"]),
    ("engine", &["protocol", "time"]),
    ("store", &["protocol", "config", "id", "time", "logging", "child"]),
    ("joomla", &["store", "protocol", "config", "id", "time"]),
    ("cluster", &["protocol", "time", "logging"]),
    ("hub", &["protocol", "config", "id", "time", "logging"]),
    ("api", &["hub", "protocol", "config", "id", "time", "logging"]),
    ("webhooks", &["hub", "protocol", "config", "id", "time", "logging"]),
    (
        "outbox",
        &["hub", "store", "protocol", "config", "id", "time", "logging"],
    ),
    (
        "site",
        &[
            "outbox", "hub", "joomla", "store", "protocol", "config", "id", "time", "logging",
        ],
    ),
    (
        "service",
        &[
            "site", "outbox", "api", "webhooks", "hub", "cluster", "joomla", "store", "protocol", "config", "id",
            "time", "logging", "flight",
        ],
    ),
    (
        "trace",
        &[
            "service", "site", "outbox", "api", "webhooks", "hub", "joomla", "store", "protocol", "config", "id",
            "time",
        ],
    ),
    (
        "server",
        &[
            "trace",
            "service",
            "webhooks",
            "joomla",
            "store",
            "engine",
            "net",
            "protocol",
            "config",
            "id",
            "time",
            "logging",
            "child",
            "flight",
            "trust",
            "certificates",
        ],
    ),
    ("supervisor", &["server", "net", "config", "logging", "child"]),
    // The binary's own.
    ("cli", &["config", "store"]),
    (
        "commands",
        &[
            "cli",
            "server",
            "trace",
            "service",
            "site",
            "outbox",
            "api",
            "joomla",
            "store",
            "engine",
            "protocol",
            "config",
            "time",
            "flight",
            "trust",
            "certificates",
        ],
    ),
    ("main", &["config", "logging", "server", "store", "supervisor"]),
    ("lib", &[]),
    ("bin", &["net", "protocol", "time"]),
];

/// One thread, one owner: nothing shared, nothing waited for, nothing unsafe.
const FORBIDDEN: &[&str] = &[
    "Rc<",
    "Rc::",
    "RefCell",
    "Arc<",
    "Arc::",
    "Mutex",
    "RwLock",
    "mpsc",
    "std::thread",
    "thread::spawn",
    "thread_local!",
    "static mut",
    "async fn",
    "async move",
    ".await",
    "unsafe ",
];

/// rustls shares its settings between sessions. Its types are named in these files alone, and no thread shares them.
const RUSTLS: (&[&str], &[&str]) = (&["net/tls.rs", "certificates.rs"], &["Arc<", "Arc::"]);

#[test]
fn arrows_point_one_way() {
    let wrong: Vec<String> = sources()
        .iter()
        .flat_map(|(path, code)| wrong_arrows(path, code))
        .collect();
    assert!(wrong.is_empty(), "wrong arrows:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_shared_threaded_or_unsafe() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|(path, _)| !path.starts_with("bin/"))
        .flat_map(|(path, code)| forbidden(path, code))
        .collect();
    assert!(
        found.is_empty(),
        "no place for these in the server:\n{}",
        found.join("\n")
    );
}

#[test]
fn these_rules_can_fail() {
    assert_eq!(wrong_arrows("net/wire.rs", "use crate::service::Input;").len(), 1);
    assert_eq!(
        wrong_arrows("net/wire.rs", "use crate::{id, hub::{Input, Action}, server};").len(),
        2
    );
    assert_eq!(wrong_arrows("net/wire.rs", "use super::super::hub;").len(), 1);
    assert_eq!(wrong_arrows("hub/mod.rs", "fn f() -> crate::net::Frame {}").len(), 1);
    assert_eq!(wrong_arrows("elsewhere/mod.rs", "").len(), 1);
    assert_eq!(
        wrong_arrows("server/mod.rs", "use crate::net::x; use crate::service::y;").len(),
        0
    );
    assert_eq!(
        wrong_arrows(
            "hub/mod.rs",
            "use crate::{id::ConnectionId, config}; use crate::hub::Channel;"
        )
        .len(),
        0
    );
    assert_eq!(
        forbidden(
            "hub/mod.rs",
            &code("/// Rc<T>\nlet a = 1; // RefCell\n\"// \"; unsafe { }")
        )
        .len(),
        1
    );
    assert_eq!(code("a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n").trim(), "a\n\nc");
}

/// One sentence for each module that `code` names and must not.
fn wrong_arrows(path: &str, code: &str) -> Vec<String> {
    let own = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    // A binary of several files calls these by `crate::`, and the library by its name.
    let mut known = match own {
        "bin" => Vec::new(),
        _ => named_after(code, "crate::"),
    };
    known.extend(named_after(code, "jsocketd::"));
    // From deeper down `super::super::` is still inside the file's own module.
    if path.matches('/').count() == 1 {
        known.extend(named_after(code, "super::super::"));
    }
    known.sort();
    known.dedup();
    let Some((_, allowed)) = ALLOWED.iter().find(|(room, _)| *room == own) else {
        return vec![format!("{path}: {own} has no row in tests/house/arrows.rs")];
    };
    known
        .into_iter()
        .filter(|name| name != own && !allowed.contains(&name.as_str()))
        .map(|name| format!("{path}: {own} must not know {name}"))
        .collect()
}

/// The names that directly follow `prefix`, also those in braces.
fn named_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || (c == ':' && prefix != "super::super::")) {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(list) => names.extend(top_level(list)),
            None => names.extend(word(rest)),
        }
    }
    names
}

/// The first word of each entry of a list in braces.
fn top_level(list: &str) -> Vec<String> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.extend(word(&list[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(word(&list[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> Option<String> {
    let text = text.trim_start();
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    (end > 0 && text.starts_with(char::is_lowercase)).then(|| text[..end].to_owned())
}

fn forbidden(path: &str, code: &str) -> Vec<String> {
    let lines = code.lines().map(str::trim);
    let is_rustls = RUSTLS.0.iter().any(|file| path.starts_with(file));
    lines
        .flat_map(|line| {
            FORBIDDEN
                .iter()
                .filter(move |word| !is_rustls || !RUSTLS.1.contains(word))
                .filter(move |word| holds(line, word))
                .map(move |word| (line, word))
        })
        .map(|(line, word)| format!("{path}: {word} in: {line}"))
        .collect()
}

/// `Rc<` is in `Rc<T>`, not in `Arc<T>`.
fn holds(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_') || word.starts_with('.')
    })
}

/// The code alone: without comments, and without items that are compiled for tests only.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("#[cfg(test)]") {
            skip_item(&mut lines);
        } else if !line.trim_start().starts_with("//") {
            // A space before the slashes: an address (`http://…`) is no comment.
            out.push_str(line.split(" // ").next().unwrap_or(line));
        }
        out.push('\n');
    }
    out
}

/// Skips one top-level item: up to the line that closes it.
fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>) {
    for line in lines {
        if line == "}"
            || (line.ends_with(';') && !line.starts_with(' '))
            || (line.ends_with('}') && !line.starts_with(' '))
        {
            return;
        }
    }
}

/// Every source file, by its path below `src`, except those that only tests include.
fn sources() -> Vec<(String, String)> {
    let is_source = |path: &str| path.ends_with(".rs") && !path.ends_with("tests.rs") && !path.contains("tests/");
    let all = files(&["src"]).into_iter().filter(|(path, _)| is_source(path));
    let sources: Vec<_> = all
        .map(|(path, text)| (path["src/".len()..].to_owned(), code(&text)))
        .collect();
    assert!(sources.len() > 5, "the sources were not found");
    sources
}
