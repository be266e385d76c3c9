//! The configuration end to end: `jsocketd check` as an administrator runs it, with files, variables and flags. The
//! tests of single values are beside their parsers.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jsocketd::config::{Config, ListenEntry, Secrets, Sources};
use tempfile::TempDir;

use crate::common::Server;

/// A secret that must not be in any output.
const TOKEN: &str = "correct-horse-battery-staple";

/// A folder of configuration files, and a clean `jsocketd check` for them.
struct Case {
    folder: TempDir,
}

/// The output of a run.
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Case {
    fn new() -> Self {
        Self {
            folder: TempDir::new().expect("a folder"),
        }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
        path
    }

    /// `check --all` with an environment of only these variables.
    fn check(&self, flags: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = jsocketd();
        command
            .args(["check", "--all"])
            .args(flags)
            .envs(variables.iter().copied());
        said(command.output())
    }

    /// `check --config` with this content, which must be refused; returns the lines with the file named `F`.
    fn mistakes(&self, content: impl AsRef<[u8]>) -> Vec<String> {
        let path = self.file("bad.toml", content);
        let said = self.check(&["--config", text(&path)], &[]);
        said.expect_refused();
        lines(&said.err.replace(text(&path), "F"))
    }
}

fn jsocketd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
    command.env_clear();
    command
}

fn said(output: std::io::Result<Output>) -> Said {
    let output = output.expect("jsocketd runs");
    Said {
        status: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// The beginning of the warning that most of these configurations deserve.
const NO_APP: &str = "there is no app, so nobody can connect to /app/";

/// The mistakes and warnings. The sites of these tests do not exist, and `check` says so: these faults are left out.
fn lines(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.strip_prefix("jsocketd: ").expect(line).to_owned())
        .filter(|line| !line.starts_with("fault: ") && !line.contains(NO_APP))
        .collect()
}

impl Said {
    /// The configuration is refused: no value is in force, and the summary says so.
    fn expect_refused(&self) {
        assert_eq!(self.status, Some(1), "{}", self.err);
        let table: toml::Table = self.out.parse().expect("standard output is TOML");
        assert!(table.is_empty() && self.out.contains("not valid\n"), "{}", self.out);
        assert!(self.out.contains("\n# verdict         not good: "), "{}", self.out);
    }

    /// The value that is in force for a key, or one of the tables of that name by its number, or all of them.
    fn value(&self, section: &str, key: &str) -> toml::Value {
        // It prints the values in force also where the site does not exist.
        assert!(self.status == Some(0) || self.err.contains("fault: "), "{}", self.err);
        let table: toml::Table = self.out.parse().expect("standard output is TOML");
        match key.parse::<usize>() {
            Ok(n) => table[section][n].clone(),
            Err(_) if key.is_empty() => table[section].clone(),
            Err(_) => table[section][key].clone(),
        }
    }
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let case = Case::new();
    let file = case.file(
        "a.toml",
        "[server]\nlisten = [\"127.0.0.1:1001\"]\n[limits]\nping_interval = 11\n",
    );
    let (file, flag, variable) = (text(&file), "127.0.0.1:1003", ("JSOCKETD_LISTEN", "127.0.0.1:1002"));
    for (from_flag, from_variable, from_file, wanted) in [
        (false, false, false, "127.0.0.1:8080"),
        (false, false, true, "127.0.0.1:1001"),
        (false, true, false, "127.0.0.1:1002"),
        (false, true, true, "127.0.0.1:1002"),
        (true, false, false, flag),
        (true, false, true, flag),
        (true, true, false, flag),
        (true, true, true, flag),
    ] {
        if !from_file && default_file_exists() {
            continue;
        }
        let mut flags = Vec::new();
        flags.extend(from_file.then_some(["--config", file]).into_iter().flatten());
        flags.extend(from_flag.then_some(["--listen", flag]).into_iter().flatten());
        let variables: Vec<_> = from_variable.then_some(variable).into_iter().collect();
        let said = case.check(&flags, &variables);
        let listen = said.value("server", "listen");
        assert_eq!(listen, toml::Value::from(vec![wanted]), "{flags:?} {variables:?}");
        let interval = said.value("limits", "ping_interval");
        assert_eq!(
            interval,
            toml::Value::from(if from_file { 11 } else { 25 }),
            "{flags:?}"
        );
    }
    let said = case.check(&["--config", file], &[("JSOCKETD_LIMITS_PING_INTERVAL", "12")]);
    assert_eq!(said.value("limits", "ping_interval"), toml::Value::from(12));
}

#[test]
fn the_flag_names_the_file_before_the_variable_does() {
    let case = Case::new();
    let one = case.file("one.toml", "[limits]\nping_timeout = 1\n");
    let two = case.file("two.toml", "[limits]\nping_timeout = 2\n");
    let variable = [("JSOCKETD_CONFIG", text(&two))];
    let said = case.check(&[], &variable);
    assert_eq!(said.value("limits", "ping_timeout"), toml::Value::from(2));
    let shown = format!("\n# configuration   {}\n", two.display());
    assert!(said.out.contains(&shown), "{}", said.out);
    let said = case.check(&["--config", text(&one)], &variable);
    assert_eq!(said.value("limits", "ping_timeout"), toml::Value::from(1));
    let said = case.check(&[], &[("JSOCKETD_CONFIG", "")]);
    assert_eq!(said.status, Some(1));
    assert!(
        said.err
            .starts_with("jsocketd: JSOCKETD_CONFIG: the name of the configuration file is empty"),
        "{}",
        said.err
    );
}

/// Tests of "no file" cannot run where the file is installed; the test says so.
fn default_file_exists() -> bool {
    let exists = Path::new("/etc/jsocketd/jsocketd.toml").exists();
    if exists {
        eprintln!("SKIPPED: /etc/jsocketd/jsocketd.toml exists, so the built-in defaults cannot be tested here");
    }
    exists
}

#[test]
fn without_a_file_the_defaults_are_in_force_and_said_to_be() {
    if default_file_exists() {
        return;
    }
    let said = Case::new().check(&[], &[]);
    let shown = "\n# configuration   no file: embedded defaults\n";
    assert!(said.out.contains(shown), "{}", said.out);
    assert!(
        said.out.starts_with(&Config::default().to_toml(Secrets::MASKED)),
        "{}",
        said.out
    );
    assert!(said.out.contains("\n# descriptors: soft limit "), "{}", said.out);
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
}

#[test]
fn the_output_of_check_can_be_loaded_again() {
    let case = Case::new();
    let odd = "[server]\nlisten = [\"unix:/run/a \\\"b\\\".sock\", \"[::1]:0\"]\nunix_mode = 0o600\nadmin_listen = \"localhost:9\"\n\
               allowed_origins = [\"HTTPS://Example.org:443\"]\ntrusted_proxies = []\nlog_level = \"trace\"\n[echo]\nenabled = false\n";
    let apps = format!(
        "[pusher]\npath = \"/ws\"\n[joomla]\nsecret = \"{TOKEN}\"\nshared_session = true\noffline = false\n\
         [[channels]]\npattern = \"presence-*\"\nusers = [42, 4294967295]\n\
         [[items]]\nname = \"com_x.y\"\ntable = \"x\"\nid = \"id\"\naccess = \"a\"\n[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"{TOKEN}\"\ncache_ttl = 7\n{WEBHOOK}{WEBHOOK}\
         headers = [\"X-Site: hunter2\"]\nchannel_prefix = \"presence-\"\n[[apps]]\nid = \"b\"\nkey = \"kb\"\nsecret = \"{TOKEN}\"\n{WEBHOOK}"
    );
    let first = case.check(
        &["--config", text(&case.file("first.toml", format!("{odd}{apps}")))],
        &[],
    );
    let hooks = |app: usize| first.value("apps", "")[app]["webhooks"].as_array().map(Vec::len);
    assert_eq!((hooks(0), hooks(1)), (Some(2), Some(1)));
    assert_eq!(first.value("server", "unix_mode"), toml::Value::from("0600"));
    assert_eq!(first.value("server", "admin_listen"), toml::Value::from("127.0.0.1:9"));
    assert_eq!(
        first.value("server", "allowed_origins"),
        toml::Value::from(vec!["https://example.org"])
    );
    assert_eq!(first.value("echo", "enabled"), toml::Value::from(false));
    assert_eq!(first.value("joomla", "shared_session"), toml::Value::from(true));
    assert_eq!(first.value("joomla", "session_metadata"), toml::Value::from(""));
    assert_eq!(
        first.value("channels", "0")["users"],
        toml::Value::from(vec![42, 4_294_967_295_i64])
    );
    assert!(
        !first.out.contains(TOKEN) && first.out.contains("\"X-Site: ***\""),
        "{}",
        first.out
    );
    let shown = first
        .out
        .replace("\"***\"", &format!("\"{TOKEN}\""))
        .replace(": ***", ": hunter2");
    let second = case.check(&["--config", text(&case.file("second.toml", &shown))], &[]);
    let settings = |said: &Said| said.out.split_once("\n# ").map(|(settings, _)| settings.to_owned());
    assert_eq!(settings(&first), settings(&second), "{}", second.err);
}

#[test]
fn the_sample_file_changes_nothing() {
    let sources = Sources {
        config: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/jsocketd.toml")),
        listen: Vec::new(),
        joomla: None,
        environment: Vec::new(),
        default_file: PathBuf::new(),
    };
    let loaded = sources.load().expect("the sample is good");
    assert_eq!(loaded.config, Config::default(), "and a file is no embedded default");
    // The one thing that it lacks.
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].starts_with(NO_APP), "{:?}", loaded.warnings);
}

#[test]
fn mistakes_are_reported_with_line_column_and_key() {
    let case = Case::new();
    for (content, wanted) in [
        (
            "[limits]\nmax_mesage_size = 1\n",
            "F:2:1: unknown key `max_mesage_size` in [limits]; did you mean `max_message_size`?",
        ),
        ("[limits]\ncolour = 1\n", "F:2:1: unknown key `colour` in [limits]"),
        (
            "[limits]\n  listen = []\n",
            "F:2:3: unknown key `listen` in [limits]; it belongs in [server]",
        ),
        ("[limit]\n", "F:1:2: unknown section [limit]; did you mean [limits]?"),
        ("[colour]\n", "F:1:2: unknown section [colour]"),
        ("[[limits]]\n", "F:1:3: `limits` must be one section, written [limits]"),
        ("listen = []\n", "F:1:1: `listen` belongs in [server]"),
        ("colour = 1\n", "F:1:1: unknown key `colour` outside of all sections"),
        (
            "[limits]\nping_timeout = \"30\"",
            "F:2:16: `ping_timeout` in [limits] must be a whole number from 1 to 3600, not a string",
        ),
        (
            "[limits]\nping_timeout = 0",
            "F:2:16: `ping_timeout` in [limits] must be a whole number from 1 to 3600, not 0",
        ),
        (
            "[limits]\nping_timeout = -3",
            "F:2:16: `ping_timeout` in [limits] must be a whole number from 1 to 3600, not \"-3\"",
        ),
        (
            "[limits]\nping_timeout = 1.5",
            "F:2:16: `ping_timeout` in [limits] must be a whole number from 1 to 3600, not a number with a fraction",
        ),
        (
            "limits.max_fragments = 65536",
            "F:1:24: `max_fragments` in [limits] must be a whole number from 65537 to 16777216, not 65536",
        ),
        (
            "[limits]\nmax_message_size = 1048576",
            "F:2:20: `send_queue_bytes` in [limits] must be at least `max_message_size` and 1024 more, so 1049600, not 1048576",
        ),
        (
            "[limits]\nsend_queue_bytes = 66559\nmax_message_size = 65536",
            "F:2:20: `send_queue_bytes` in [limits] must be at least `max_message_size` and 1024 more, so 66560, not 66559",
        ),
        (
            "[echo]\nenabled = \"yes\"",
            "F:2:11: `enabled` in [echo] must be true or false, not a string",
        ),
        (
            "[server]\nlisten = [\n  \"127.0.0.1:1\",\n  \":8080\",\n]",
            "F:4:3: `listen` in [server] cannot hold \":8080\": the host is missing; write 127.0.0.1:8080 for this machine only, \
             or 0.0.0.0:8080 and [::]:8080 for everybody",
        ),
        (
            "[server]\nlisten = []",
            "F:2:10: `listen` in [server] must hold at least one address",
        ),
        (
            "[server]\nlisten = \"127.0.0.1:1\"",
            "F:2:10: `listen` in [server] must be a list of strings, not a string",
        ),
        (
            "[server]\nlisten = [8080]",
            "F:2:11: `listen` in [server] must be a list of strings, without a number",
        ),
        (
            "[server]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]",
            "F:2:10: `listen` in [server] names 127.0.0.1:1 a second time",
        ),
        (
            "[server]\nadmin_listen = \"127.0.0.1:8080\"",
            "F:2:16: `admin_listen` in [server] names 127.0.0.1:8080 a second time",
        ),
        (
            "[server]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1 plain\"]",
            "F:2:10: `listen` in [server] names 127.0.0.1:1 a second time",
        ),
        (
            "[server]\nlisten = [\"127.0.0.1:1 proxy_protocl\"]",
            "F:2:11: `listen` in [server] cannot hold \"127.0.0.1:1 proxy_protocl\": the word \"proxy_protocl\" is unknown; did \
             you mean `proxy_protocol`?",
        ),
        (
            "[server]\nlisten = [\"127.0.0.1:1 plain plain\"]",
            "F:2:11: `listen` in [server] cannot hold \"127.0.0.1:1 plain plain\": it has the word `plain` twice",
        ),
        (
            "[server]\nadmin_listen = \"127.0.0.1:1 proxy_protocol\"",
            "F:2:16: `admin_listen` in [server] cannot be \"127.0.0.1:1 proxy_protocol\": it has no options, remove \
             `proxy_protocol`: no proxy belongs in front of it",
        ),
        (
            "[server]\nadmin_listen = \"nowhere\"",
            "F:2:16: `admin_listen` in [server] cannot be \"nowhere\": the port is missing; write one like 127.0.0.1:8080 \
             (port 0 lets the system choose)",
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"10.0.0.1/8\"]",
            "F:2:34: `trusted_proxies` in [server] cannot hold \"10.0.0.1/8\": it has bits behind its prefix; write 10.0.0.0/8 \
             for the network, or 10.0.0.1 for the one address",
        ),
        (
            "[server]\ntrusted_proxies = [\"proxy\"]",
            "F:2:20: `trusted_proxies` in [server] cannot hold \"proxy\": this is not an IP address and not a network like \
             10.0.0.0/8; names are not resolved",
        ),
        (
            "[server]\nallowed_origins = [\"https://a.example\", \"b.example\"]",
            "F:2:41: `allowed_origins` in [server] cannot hold a bad origin: an origin starts with its scheme, like \
             https://example.org",
        ),
        (
            "[server]\nunix_mode = 660",
            "F:2:13: `unix_mode` in [server] must be permission bits in octal from \"0000\" to \"0777\", like \"0660\" or 0o660, \
             not a decimal number",
        ),
        (
            "[server]\nunix_mode = \"1777\"",
            "F:2:13: `unix_mode` in [server] must be permission bits in octal from \"0000\" to \"0777\", like \"0660\" or 0o660",
        ),
        (
            "[server]\nlog_level = \"loud\"",
            "F:2:13: `log_level` in [server] must be one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ),
        ("[app]\nid = 1", "F:1:2: unknown section [app]; did you mean [[apps]]?"),
        (
            "[[webhooks]]\nurl = 1",
            "F:1:3: unknown section [webhooks]; did you mean [[apps.webhooks]]?",
        ),
        (
            "[apps]\nid = \"a\"",
            "F:1:2: `apps` must be sections, each written [[apps]]",
        ),
        ("apps = [1]", "F:1:1: `apps` must be sections, each written [[apps]]"),
        ("[[apps]]", "F:1:1: [[apps]] lacks `id` and `key` and `secret`"),
        (
            "[[apps]]\nid = \"a\"\nkey = \"a\"\n  [[apps.webhooks]]",
            "F:1:1: [[apps]] lacks `secret`\nF:4:3: [[apps.webhooks]] lacks `url` and `events`",
        ),
        (
            "[pusher]\npath = \"/a/\"\nactivity_timeout = 0",
            "F:2:8: `path` in [pusher] must be empty or like /prefix: of letters, digits, `_`, `-`, `.` and `~`, without a \
             slash at the end\n\
             F:3:20: `activity_timeout` in [pusher] must be a whole number from 1 to 86400, not 0",
        ),
        (
            "[limits]\nwatchlist = true\nmax_connections = 1",
            "F:2:1: unknown key `watchlist` in [limits]; it belongs in [[apps]]\n\
             F:3:1: unknown key `max_connections` in [limits]",
        ),
        (
            "[joomla]\noffline = \"no\"\nlifetime = 525601\nshared_session = 1",
            "F:2:11: `offline` in [joomla] must be true, false or \"\", not a string\n\
             F:3:12: `lifetime` in [joomla] must be a whole number from 0 to 525600, not 525601\n\
             F:4:18: `shared_session` in [joomla] must be true, false or \"\", not a number",
        ),
        (
            "[joomla]\nroot = \"/nonexistent\"",
            "F:2:8: `root` in [joomla] cannot be \"/nonexistent\": No such file or directory (os error 2)",
        ),
        (
            "[joomla]\nroot = \"/dev/null\"",
            "F:2:8: `root` in [joomla] cannot be \"/dev/null\": it is not a folder",
        ),
        (
            "[database]\nprefix = \"j5`_\"\ntls = \"yes\"",
            "F:2:10: `prefix` in [database] must be up to 64 letters, digits and `_`\n\
             F:3:7: `tls` in [database] must be \"off\", \"on\", \"verify\" or \"\"",
        ),
        (
            "[database]\nstatement_ms = 500",
            "F:2:16: `read_timeout_ms` in [database] must be more than `statement_ms`, which is 500, not 500",
        ),
        (
            "[database]\nidle_poll_ms = 30\npoll_ms = 31",
            "F:2:16: `idle_poll_ms` in [database] must be at least `poll_ms`, which is 31, not 30",
        ),
        (
            "[database]\ngap_max = 60",
            "F:2:1: `gap_max` in [database] means nothing since version 0.2, because no row is waited for any more; remove it",
        ),
        (
            "[limits]\noutbox_bytes = 1\noutbox_seconds = 1",
            "F:2:1: `outbox_bytes` in [limits] is called `send_queue_bytes` since version 0.2\n\
             F:3:1: `outbox_seconds` in [limits] is called `send_queue_seconds` since version 0.2",
        ),
        (
            "[[channels]]\ngroups = [1]\n[[channels]]\npattern = \"staff-*\"",
            "F:1:1: [[channels]] lacks `pattern`\n\
             F:4:11: `pattern` in [[channels]] must start with private- or presence-: other channels are open to everybody",
        ),
        (
            "[[channels]]\npattern = \"private-*\"\ngroups = []",
            "F:2:11: [[channels]] lets nobody in; it needs `groups`, `levels` or `users`",
        ),
        (
            "[[channels]]\npattern = \"private-*\"\ngroups = [6, 0]\nlevels = [\"x\"]\nusers = [7, 7]",
            "F:3:14: `groups` in [[channels]] must be a list of whole numbers from 1 to 4294967295, without 0\n\
             F:4:11: `levels` in [[channels]] must be a list of whole numbers from 1 to 4294967295, without a string\n\
             F:5:13: `users` in [[channels]] names 7 a second time",
        ),
        (
            "[[channels]]\npattern = \"private-*\"\ngroups = 6\n[[channels]]\npattern = \"private-*\"",
            "F:3:10: `groups` in [[channels]] must be a list of numbers, not a number\n\
             F:5:11: `pattern` in [[channels]] is \"private-*\" a second time",
        ),
        (
            "[[items]]\nname = \"com_x\"\ntable = \"#__x\"\nid = \"\"\nstate = \"a b\"",
            "F:1:1: [[items]] lacks `access`\n\
             F:2:8: `name` in [[items]] must be like com_example.item: letters, digits and `_` on both sides of the dot\n\
             F:3:9: `table` in [[items]] must be 1 to 64 letters, digits and `_`\n\
             F:4:6: `id` in [[items]] must be 1 to 64 letters, digits and `_`\n\
             F:5:9: `state` in [[items]] must be 1 to 64 letters, digits and `_`",
        ),
        // A column counts characters, not bytes.
        (
            "limits = { \"ping_timeout\" = 1, \"ü\" = 1, \"pong_timeout\" = 1 }",
            "F:1:32: unknown key `ü` in [limits]\nF:1:41: unknown key `pong_timeout` in [limits]; did you mean `ping_timeout`?",
        ),
    ] {
        assert_eq!(case.mistakes(content).join("\n"), wanted, "in:\n{content}");
    }
}

/// A good app, to be made worse by a test; its lines are 1 to 4.
const APP: &str = "[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\n";

/// A good webhook behind it; its lines are 5 to 7.
const WEBHOOK: &str = "[[apps.webhooks]]\nurl = \"http://127.0.0.1:9/\"\nevents = [\"client_event\"]\n";

#[test]
fn mistakes_in_an_app_are_reported_like_all_others() {
    let case = Case::new();
    for (added, wanted) in [
        (
            "client_event = true",
            "F:5:1: unknown key `client_event` in [[apps]]; did you mean `client_events`?",
        ),
        (
            "headers = 1",
            "F:5:1: unknown key `headers` in [[apps]]; it belongs in [[apps.webhooks]]",
        ),
        (
            "watchlist = 1",
            "F:5:13: `watchlist` in [[apps]] must be true or false, not a number",
        ),
        (
            "webhooks = {}",
            "F:5:1: `webhooks` must be sections, each written [[apps.webhooks]]",
        ),
        ("foo.bar = 1", "F:5:1: unknown key `foo` in [[apps]]"),
        (
            "cache_ttl = 86401",
            "F:5:13: `cache_ttl` in [[apps]] must be a whole number from 1 to 86400, not 86401",
        ),
        (
            "max_event_size = 262145",
            "F:5:18: `max_event_size` in [[apps]] must be at most a quarter of `send_queue_bytes` in [limits], so 262144, not 262145",
        ),
        (
            "[limits]\nmax_message_size = 1\nsend_queue_bytes = 40959",
            "F:7:20: `max_event_size` in [[apps]] must be at most a quarter of `send_queue_bytes` in [limits], so 10239, not 10240",
        ),
    ] {
        assert_eq!(
            case.mistakes(format!("{APP}{added}\n")).join("\n"),
            wanted,
            "with: {added}"
        );
    }
    for (line, bad, wanted) in [
        (
            2,
            "id = \"\"",
            "F:2:6: `id` in [[apps]] must be 1 to 64 letters, digits, `_` and `-`",
        ),
        (2, "id = 1", "F:2:6: `id` in [[apps]] must be a string, not a number"),
        (
            3,
            "key = \"a/b\"",
            "F:3:7: `key` in [[apps]] must be 1 to 64 letters, digits, `_` and `-`",
        ),
        (
            4,
            "secret = \"0123456789a\"",
            "F:4:10: `secret` in [[apps]] must have 12 characters or more, like the output of `openssl rand -hex 20`",
        ),
        (
            4,
            "secret = \"***\"",
            "F:4:10: `secret` in [[apps]] is ***, which stands for a secret that was masked",
        ),
        (
            4,
            "secret = \"jsocketd-secret\"",
            "F:4:10: `secret` in [[apps]] is the built-in one, which everybody knows and which works only without a \
             configuration; choose another, for example the output of `openssl rand -hex 20`",
        ),
        (
            6,
            "url = \"ftp://example.org/\"",
            "F:6:7: `url` in [[apps.webhooks]] is a bad URL: it must start with http:// or https://",
        ),
        (
            7,
            "events = [\n\"client_event\",\n\"channel_vacate\"]",
            "F:9:1: `events` in [[apps.webhooks]] cannot hold \"channel_vacate\": there is no such event; did you mean \
             `channel_vacated`?",
        ),
        (
            7,
            "events = []",
            "F:7:10: `events` in [[apps.webhooks]] must hold at least one event",
        ),
        (
            7,
            "events = [\"cache_miss\", \"cache_miss\"]",
            "F:7:25: `events` in [[apps.webhooks]] names cache_miss a second time",
        ),
        (
            7,
            "events = [\"cache_miss\"]\nheaders = [\"X-A: 1\", \"x-a: 2\"]",
            "F:8:22: `headers` in [[apps.webhooks]] names x-a a second time",
        ),
        (
            7,
            "events = [\"cache_miss\"]\nheaders = [\"X-A: 1\", \"X-B: ***\"]",
            "F:8:22: `headers` in [[apps.webhooks]] holds a header whose value is ***, which stands for a secret that was masked",
        ),
        (
            7,
            "events = [\"cache_miss\"]\nheaders = [\"Host: example.org\"]",
            "F:8:12: `headers` in [[apps.webhooks]] cannot hold the header Host, which the server writes itself",
        ),
        (
            7,
            "events = [\"cache_miss\"]\nchannel_prefix = \"private-*\"",
            "F:8:18: `channel_prefix` in [[apps.webhooks]] must be the beginning of channel names: up to 164 letters, digits \
             and `_-=@,.;`",
        ),
    ] {
        let good = format!("{APP}{WEBHOOK}");
        let mut lines: Vec<_> = good.lines().collect();
        lines[line - 1] = bad;
        assert_eq!(case.mistakes(lines.join("\n")).join("\n"), wanted, "with: {bad}");
    }
}

#[test]
fn two_apps_never_share_an_id_or_a_key() {
    let case = Case::new();
    let (same_id, same_key) = (APP.replace("\"ka\"", "\"kb\""), APP.replace("\"a\"", "\"b\""));
    assert_eq!(
        case.mistakes(format!("{APP}{same_id}{same_key}color = 1\n")),
        [
            "F:6:6: `id` in [[apps]] is \"a\" a second time",
            "F:11:7: `key` in [[apps]] is \"ka\" a second time",
            "F:13:1: unknown key `color` in [[apps]]",
        ]
    );
    // A missing or refused value does not count as a second one.
    assert_eq!(
        case.mistakes("[[apps]]\nid = \"\"\n[[apps]]\nid = \"\"\n").len(),
        4,
        "two bad ids, twice a missing key and secret"
    );
}

#[test]
fn an_app_s_credentials_come_from_the_environment_together() {
    let case = Case::new();
    let (id, key) = (("JSOCKETD_APP_ID", "shop"), ("JSOCKETD_APP_KEY", "shop-key"));
    let secret = ("JSOCKETD_APP_SECRET", TOKEN);
    let flags = ["--listen", "0.0.0.0:1"];
    let said = case.check(&flags, &[id, key, secret]);
    assert_eq!(said.value("apps", "0")["id"].as_str(), Some("shop"));
    assert_eq!(
        (said.value("apps", "0")["secret"].as_str(), said.err.as_str()),
        (Some("***"), "")
    );

    let file = case.file(
        "two.toml",
        format!("{APP}watchlist = false\n[[apps]]\nid = \"b\"\nkey = \"kb\"\nsecret = \"{TOKEN}\"\n"),
    );
    let said = case.check(&["--config", text(&file)], &[id, key, secret]);
    let (first, second) = (said.value("apps", "0"), said.value("apps", "1"));
    assert_eq!(
        (first["id"].as_str(), first["watchlist"].as_bool()),
        (Some("shop"), Some(false))
    );
    assert_eq!(second["id"].as_str(), Some("b"));

    let together = "JSOCKETD_APP_ID and JSOCKETD_APP_KEY and JSOCKETD_APP_SECRET belong together; unset: ";
    for (variables, wanted) in [
        (vec![id, secret], format!("JSOCKETD_APP_ID: {together}JSOCKETD_APP_KEY")),
        (
            vec![secret],
            format!("JSOCKETD_APP_SECRET: {together}JSOCKETD_APP_ID and JSOCKETD_APP_KEY"),
        ),
        (
            vec![id, key, ("JSOCKETD_APP_SECRET", "short")],
            "JSOCKETD_APP_SECRET: `secret` in [[apps]] must have 12 characters or more, like the output of `openssl rand -hex 20`"
                .into(),
        ),
        (
            vec![("JSOCKETD_APP_WATCHLIST", "true")],
            "JSOCKETD_APP_WATCHLIST: unknown variable".into(),
        ),
    ] {
        let said = case.check(&flags, &variables);
        assert_eq!((said.status, lines(&said.err)), (Some(1), vec![wanted]));
    }
    let said = case.check(&[], &[id, key, ("JSOCKETD_APP_SECRET", "jsocketd-secret")]);
    assert!(
        said.err
            .starts_with("jsocketd: JSOCKETD_APP_SECRET: `secret` in [[apps]] is the built-in one"),
        "{}",
        said.err
    );
    let said = case.check(&["--config", text(&file)], &[("JSOCKETD_APP_ID", "b"), key, secret]);
    assert!(
        lines(&said.err)[0].ends_with("`id` in [[apps]] is \"b\" a second time"),
        "{}",
        said.err
    );
}

#[test]
fn the_built_in_app_exists_only_under_the_embedded_defaults() {
    let apps = |sources: Sources| sources.load().expect("good sources").config.apps;
    let built_in = apps(nothing());
    assert_eq!(built_in.len(), 1);
    assert_eq!(
        (built_in[0].id.as_str(), built_in[0].key.as_str()),
        ("joomla", "jsocketd-key")
    );
    assert_eq!(
        (built_in[0].secret.as_str(), built_in[0].client_events),
        ("jsocketd-secret", true)
    );
    assert!(
        apps(Sources {
            listen: vec![address("0.0.0.0:1")],
            ..nothing()
        })
        .is_empty()
    );
    let case = Case::new();
    assert!(
        apps(Sources {
            config: Some(case.file("empty.toml", "")),
            ..nothing()
        })
        .is_empty()
    );
    assert!(Config::default().apps.is_empty());
    let loaded = nothing().load().expect("defaults");
    assert_eq!(loaded.warnings, Vec::<String>::new(), "its short secret is no mistake");
    let again =
        Sources::parse(Path::new("trace"), &loaded.config.to_toml(Secrets::Shown)).expect("a trace can be replayed");
    assert_eq!(again.apps, loaded.config.apps);
}

#[test]
fn all_mistakes_of_a_file_are_reported_at_once_in_its_order() {
    let mistakes =
        Case::new().mistakes("[server]\nlog_level = 1\nlisten = 1\n[limits]\nz = 1\nping_interval = 0\na = 1\n");
    let places: Vec<_> = mistakes
        .iter()
        .map(|line| line.split(": ").next().unwrap_or(""))
        .collect();
    assert_eq!(places, ["F:2:13", "F:3:10", "F:5:1", "F:6:17", "F:7:1"]);
}

#[test]
fn a_file_that_is_no_toml_is_refused_where_it_goes_wrong() {
    let case = Case::new();
    for (content, place) in [
        ("[server]\nlisten = [\"127.0.0.1:1\"\n", "F:"),
        ("[server\n", "F:1:"),
        ("[server]\nadmin_token = \"x\nlisten = [1\n", "F:2:"),
        ("[echo]\nenabled = true\nenabled = false\n", "F:3:1: "),
        ("[echo]\nenabled\n", "F:2:"),
    ] {
        let mistakes = case.mistakes(content);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].starts_with(place), "{mistakes:?}");
    }
    assert_eq!(
        case.mistakes(b"[echo]\n# \xc3\xbc \xff\n"),
        ["F:2:5: the configuration file is not UTF-8 here"]
    );
    assert_eq!(
        case.mistakes("#".repeat(1 + (1 << 20))),
        ["F: the configuration file is larger than 1 MiB"]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let case = Case::new();
    let missing = case.folder.path().join("missing.toml");
    for (path, why) in [(missing.as_path(), "No such file"), (case.folder.path(), "directory")] {
        for (flags, variables) in [
            (vec!["--config", text(path)], vec![]),
            (vec![], vec![("JSOCKETD_CONFIG", text(path))]),
        ] {
            let said = case.check(&flags, &variables);
            said.expect_refused();
            let start = format!("jsocketd: {}: cannot read the configuration file: ", path.display());
            assert!(said.err.starts_with(&start) && said.err.contains(why), "{}", said.err);
        }
    }
}

#[test]
fn variables_are_read_like_the_file() {
    let case = Case::new();
    let said = case.check(
        &[],
        &[
            (
                "JSOCKETD_LISTEN",
                "127.0.0.1:0, [::1]:0  plain ,unix:/run/x.sock proxy_protocol",
            ),
            ("JSOCKETD_ADMIN_LISTEN", "127.0.0.1:9"),
            ("JSOCKETD_TRUSTED_PROXIES", "172.16.0.0/12, ::1,::ffff:10.0.0.5"),
            ("JSOCKETD_UNIX_MODE", "0600"),
            ("JSOCKETD_MAX_CONNECTIONS", "5"),
            ("JSOCKETD_LOG_LEVEL", "debug"),
            ("JSOCKETD_LIMITS_DRAIN_SECONDS", "0"),
            ("JSOCKETD_ECHO_ENABLED", "false"),
            ("OTHER_JSOCKETD_X", "ignored"),
        ],
    );
    let listen = toml::Value::from(vec!["127.0.0.1:0", "[::1]:0 plain", "unix:/run/x.sock proxy_protocol"]);
    assert_eq!(said.value("server", "listen"), listen);
    assert_eq!(said.value("server", "admin_listen"), toml::Value::from("127.0.0.1:9"));
    assert_eq!(
        said.value("server", "trusted_proxies"),
        toml::Value::from(vec!["172.16.0.0/12", "::1", "10.0.0.5"])
    );
    assert_eq!(said.value("server", "unix_mode"), toml::Value::from("0600"));
    assert_eq!(said.value("server", "max_connections"), toml::Value::from(5));
    assert_eq!(said.value("server", "log_level"), toml::Value::from("debug"));
    assert_eq!(said.value("limits", "drain_seconds"), toml::Value::from(0));
    assert_eq!(said.value("echo", "enabled"), toml::Value::from(false));
    assert!(said.out.contains("so max_connections comes to 5\n"), "{}", said.out);
}

/// A container in a namespace with the services `jsocketd`, `jsocketd-admin` and `jsocketd-database`, as Kubernetes
/// starts it.
const SERVICE_LINKS: [(&str, &str); 21] = [
    ("JSOCKETD_SERVICE_HOST", "10.96.0.12"),
    ("JSOCKETD_SERVICE_PORT", "80"),
    ("JSOCKETD_SERVICE_PORT_HTTP", "80"),
    ("JSOCKETD_PORT", "tcp://10.96.0.12:80"),
    ("JSOCKETD_PORT_80_TCP", "tcp://10.96.0.12:80"),
    ("JSOCKETD_PORT_80_TCP_PROTO", "tcp"),
    ("JSOCKETD_PORT_80_TCP_PORT", "80"),
    ("JSOCKETD_PORT_80_TCP_ADDR", "10.96.0.12"),
    ("JSOCKETD_ADMIN_SERVICE_HOST", "10.96.0.13"),
    ("JSOCKETD_ADMIN_SERVICE_PORT", "9090"),
    ("JSOCKETD_ADMIN_PORT", "tcp://10.96.0.13:9090"),
    ("JSOCKETD_ADMIN_PORT_9090_TCP", "tcp://10.96.0.13:9090"),
    ("JSOCKETD_ADMIN_PORT_9090_TCP_PROTO", "tcp"),
    ("JSOCKETD_ADMIN_PORT_9090_TCP_PORT", "9090"),
    ("JSOCKETD_ADMIN_PORT_9090_TCP_ADDR", "10.96.0.13"),
    ("JSOCKETD_DATABASE_SERVICE_HOST", "10.96.0.14"),
    ("JSOCKETD_DATABASE_SERVICE_PORT", "3306"),
    ("JSOCKETD_DATABASE_PORT", "tcp://10.96.0.14:3306"),
    ("JSOCKETD_DATABASE_PORT_3306_TCP", "tcp://10.96.0.14:3306"),
    ("JSOCKETD_DATABASE_PORT_3306_TCP_PORT", "3306"),
    ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
];

#[test]
fn the_service_links_of_kubernetes_are_ignored_and_one_line_says_so() {
    let note = "variables that Kubernetes sets for a service are ignored: JSOCKETD_ADMIN_PORT, \
                JSOCKETD_ADMIN_PORT_9090_TCP, JSOCKETD_ADMIN_PORT_9090_TCP_ADDR and 17 more; \
                enableServiceLinks: false in the pod's spec keeps them away";
    let case = Case::new();
    let said = case.check(&[], &SERVICE_LINKS);
    assert!(said.out.contains(note), "{}\n{}", said.out, said.err);
    let server = Server::start_with("[limits]\n", |command, _| {
        command.envs(SERVICE_LINKS).env("JSOCKETD_LOG_LEVEL", "info");
    });
    assert_eq!(server.log().matches(note).count(), 1, "{}", server.log());
    // Beside them a variable that somebody mistyped is still a mistake.
    let mut mistyped = SERVICE_LINKS.to_vec();
    mistyped.push(("JSOCKETD_PROT", "8080"));
    let said = case.check(&[], &mistyped);
    said.expect_refused();
    assert!(said.err.contains("JSOCKETD_PROT: unknown variable"), "{}", said.err);
    let said = case.check(&[], &[("JSOCKETD_PORT", "8080")]);
    said.expect_refused();
    assert!(said.err.contains("JSOCKETD_PORT: unknown variable"), "{}", said.err);
    assert!(!case.check(&[], &[]).out.contains("Kubernetes"));
}

#[test]
fn bad_variables_are_reported_by_name() {
    let case = Case::new();
    for (name, value, wanted) in [
        (
            "JSOCKETD_LISTNE",
            "x",
            "JSOCKETD_LISTNE: unknown variable; did you mean `JSOCKETD_LISTEN`?",
        ),
        (
            "JSOCKETD_CONFIGG",
            "x",
            "JSOCKETD_CONFIGG: unknown variable; did you mean `JSOCKETD_CONFIG`?",
        ),
        (
            "JSOCKETD_SOMETHING_ELSE",
            "x",
            "JSOCKETD_SOMETHING_ELSE: unknown variable",
        ),
        (
            "JSOCKETD_LIMITS_PING_TIMEOUT",
            "soon",
            "JSOCKETD_LIMITS_PING_TIMEOUT: `ping_timeout` in [limits] must be a whole number from 1 to 3600, not \"soon\"",
        ),
        (
            "JSOCKETD_ECHO_ENABLED",
            "maybe",
            "JSOCKETD_ECHO_ENABLED: `enabled` in [echo] must be true or false, not a string",
        ),
        (
            "JSOCKETD_LISTEN",
            "",
            "JSOCKETD_LISTEN: `listen` in [server] must hold at least one address",
        ),
        (
            "JSOCKETD_LISTEN",
            "127.0.0.1:1,example.org:80",
            "JSOCKETD_LISTEN: `listen` in [server] cannot hold \"example.org:80\": the host must be an IP address or localhost; \
             names are not resolved",
        ),
    ] {
        let said = case.check(&[], &[(name, value)]);
        said.expect_refused();
        assert_eq!(lines(&said.err), [wanted]);
    }
    let mut command = jsocketd();
    command
        .arg("check")
        .env("JSOCKETD_ADMIN_TOKEN", std::ffi::OsStr::from_bytes(b"secret\xff"));
    let said = said(command.output());
    assert_eq!(lines(&said.err), ["JSOCKETD_ADMIN_TOKEN: the value is not UTF-8"]);
}

#[test]
fn a_flag_that_is_no_address_is_a_usage_error() {
    let said = Case::new().check(&["--listen", "8080"], &[]);
    assert_eq!((said.status, said.out.as_str()), (Some(2), ""));
    assert!(
        said.err
            .contains("'--listen <ADDR>': the host is missing; write 127.0.0.1:8080"),
        "{}",
        said.err
    );
    let said = Case::new().check(&["--listen", "127.0.0.1:8080 proxy"], &[]);
    assert_eq!(said.status, Some(2));
    assert!(
        said.err
            .contains("the word \"proxy\" is unknown; after an address may stand"),
        "{}",
        said.err
    );
}

#[test]
fn the_listen_flag_may_be_repeated() {
    let case = Case::new();
    let said = case.check(
        &[
            "--listen",
            "127.0.0.1:0",
            "--listen",
            "127.0.0.1:0",
            "--listen",
            "unix:/run/x",
        ],
        &[],
    );
    let wanted = toml::Value::from(vec!["127.0.0.1:0", "127.0.0.1:0", "unix:/run/x"]);
    assert_eq!(
        said.value("server", "listen"),
        wanted,
        "port 0 is another port each time"
    );
    let said = case.check(&["--listen", "127.0.0.1:1", "--listen", "127.0.0.1:1"], &[]);
    assert_eq!(
        lines(&said.err),
        ["--listen: `listen` in [server] names 127.0.0.1:1 a second time"]
    );
}

#[test]
fn a_secret_is_never_printed() {
    let case = Case::new();
    let good = format!("[server]\nadmin_token = \"{TOKEN}\"\n");
    let said = case.check(&["--config", text(&case.file("good.toml", &good))], &[]);
    assert_eq!(said.value("server", "admin_token"), toml::Value::from("***"));
    assert!(
        !said.out.contains(TOKEN) && lines(&said.err).is_empty(),
        "{}{}",
        said.out,
        said.err
    );
    let said = case.check(&[], &[("JSOCKETD_ADMIN_TOKEN", TOKEN)]);
    assert_eq!(said.value("server", "admin_token"), toml::Value::from("***"));
    assert!(!said.out.contains(TOKEN));

    for bad in [
        format!("[server]\nadmin_token = \"{TOKEN} \"\n"),
        format!("[server]\nadmin_token = [\"{TOKEN}\"]\n"),
        format!("[server]\nadmin_token = {{ \"{TOKEN}\" = 1 }}\n"),
        format!("[server]\nadmin_token = \"{TOKEN}\n"),
        format!("[server]\nadmin_token = '{TOKEN}\n"),
        format!("[server]\nadmin_token = \"{TOKEN}\\q\"\n"),
        format!("[server]\nadmin_token = {TOKEN}\n"),
        format!("[server]\nadmin_token = \"{TOKEN}\" {TOKEN}\n"),
        format!("[server]\nadmin_token \"{TOKEN}\"\n"),
        format!("[server]\nadmin_token: {TOKEN}\n"),
        format!("[server]\nadmin_token = \"{TOKEN}\"\nadmin_token = \"{TOKEN}\"\n"),
        format!("[joomla]\nsecret = [\"{TOKEN}\"]\n"),
        format!("[joomla]\nsecret = \"{TOKEN}\\n\"\n"),
        format!("[database]\npassword = \"{TOKEN}\\u0000\"\n"),
        format!("[database]\npassword = {TOKEN}\n"),
        format!("[server]\nallowed_origins = [\"https://me:{TOKEN}@example.org\"]\n"),
        format!("[[apps]]\nsecret = \"{TOKEN} \"\n"),
        format!("[[apps]]\nsecret = [\"{TOKEN}\"]\n"),
        format!("[[apps]]\nsecret = {{ \"{TOKEN}\" = 1 }}\n"),
        format!("[[apps]]\n[[apps.webhooks]]\nurl = \"http://me:{TOKEN}@example.org/\"\n"),
        format!("[[apps]]\n[[apps.webhooks]]\nheaders = [\"{TOKEN}\"]\n"),
        format!("[[apps]]\n[[apps.webhooks]]\nheaders = [\"Host: {TOKEN}\"]\n"),
        format!("[[apps]]\n[[apps.webhooks]]\nheaders = [\"X-A: {TOKEN}\\u0007\"]\n"),
    ] {
        let mistakes = case.mistakes(&bad);
        let placed = |line: &String| line.starts_with("F:2:") || line.starts_with("F:3:");
        assert!(mistakes.iter().any(placed), "{mistakes:?}");
        for word in TOKEN.split('-') {
            assert!(!mistakes.join("\n").contains(word), "{mistakes:?}\nof {bad}");
        }
    }
    let mask = case.mistakes("[server]\nadmin_token = \"***\"\n");
    assert_eq!(
        mask,
        ["F:2:15: `admin_token` in [server] is ***, which stands for a secret that was masked"]
    );
}

#[test]
fn probable_mistakes_get_a_warning() {
    let case = Case::new();
    let path = case.file("open.toml", format!("[server]\nadmin_token = \"{TOKEN}\"\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("permissions");
    // Nobody else gets into the folder.
    fs::set_permissions(case.folder.path(), fs::Permissions::from_mode(0o700)).expect("permissions");
    let said = case.check(&["--config", text(&path)], &[]);
    assert_eq!((said.status, lines(&said.err)), (Some(0), Vec::new()));
    fs::set_permissions(case.folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    let said = case.check(&["--config", text(&path)], &[]);
    let readable = |holds: &str, path: &Path| {
        let path = path.display();
        format!("warning: {path} holds {holds} and can be read by every user of this machine; chmod o-r fixes it")
    };
    assert_eq!(
        (said.status, lines(&said.err)),
        (Some(0), vec![readable("admin_token", &path)])
    );
    let path = case.file(
        "apps.toml",
        format!("[server]\nadmin_token = \"{TOKEN}\"\n{APP}{APP}")
            .replacen("\"a\"", "\"b\"", 1)
            .replacen("\"ka\"", "\"kb\"", 1),
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("permissions");
    let said = case.check(&["--config", text(&path)], &[]);
    assert_eq!(lines(&said.err), [readable("admin_token and secret", &path)]);
    let path = case.file("short.toml", APP.replace("0123456789abcdef", "0123456789abcde"));
    assert_eq!(
        lines(&case.check(&["--config", text(&path)], &[]).err),
        ["warning: the secret of the app a has fewer than 16 characters and could be guessed"]
    );
    let harmless = case.file("harmless.toml", "[server]\nadmin_token = \"\"\n");
    fs::set_permissions(&harmless, fs::Permissions::from_mode(0o644)).expect("permissions");
    assert_eq!(
        lines(&case.check(&["--config", text(&harmless)], &[]).err),
        Vec::<String>::new()
    );

    let said = case.check(&[], &[("JSOCKETD_ADMIN_TOKEN", "0123456789a")]);
    assert_eq!(
        lines(&said.err),
        [
            "JSOCKETD_ADMIN_TOKEN: `admin_token` in [server] must have 12 characters or more, like the output of \
          `openssl rand -hex 20`"
        ]
    );
    let everybody = |network: &str| {
        format!(
            "warning: trusted_proxies holds {network}, so everybody can pass for any address with X-Forwarded-For; name the \
             proxies, or their network"
        )
    };
    let said = case.check(&[], &[("JSOCKETD_TRUSTED_PROXIES", "::1,0.0.0.0/0,::/0,128.0.0.0/1")]);
    assert_eq!(lines(&said.err), [everybody("0.0.0.0/0"), everybody("::/0")]);

    let said = case.check(&[], &[("JSOCKETD_ADMIN_TOKEN", "0123456789ab")]);
    assert_eq!(
        lines(&said.err),
        ["warning: admin_token has fewer than 16 characters and could be guessed"]
    );
    let said = case.check(&[], &[("JSOCKETD_ADMIN_LISTEN", "0.0.0.0:9")]);
    assert_eq!(
        lines(&said.err),
        ["warning: admin_listen 0.0.0.0:9 answers without a token to everybody who can reach it"]
    );
    let said = case.check(&[], &[("JSOCKETD_MAX_CONNECTIONS", "10000000")]);
    assert!(
        said.err
            .starts_with("jsocketd: warning: max_connections is 10000000, but"),
        "{}",
        said.err
    );
}

#[test]
fn a_configuration_without_an_app_gets_one_warning_with_the_ways_out() {
    let case = Case::new();
    let check = |content: &str| {
        let file = case.file("apps.toml", content);
        case.check(&["--config", text(&file)], &[]).err
    };
    let said = check("[pusher]\npath = \"/prefix\"\n");
    let warnings: Vec<&str> = said.lines().collect();
    assert_eq!(warnings.len(), 1, "{said}");
    for words in [
        "nobody can connect to /prefix/app/",
        "[[apps]]",
        "JSOCKETD_APP_ID",
        "[joomla] root",
        "jsocketd setup --joomla DIR",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    assert!(!check(APP).contains("there is no app"));
    let own =
        [("ID", "a"), ("KEY", "k"), ("SECRET", TOKEN)].map(|(name, value)| (format!("JSOCKETD_APP_{name}"), value));
    let own: Vec<_> = own.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let said = case.check(&["--config", text(&case.file("none.toml", ""))], &own);
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
}

/// `check` alone, with these flags and this content of the file.
fn plain(case: &Case, flags: &[&str], content: &str) -> Said {
    let file = case.file("plain.toml", content);
    said(jsocketd().args(["check", "--config", text(&file)]).args(flags).output())
}

#[test]
fn a_summary_of_ten_lines_at_the_most_is_all_that_is_printed() {
    let case = Case::new();
    for (content, flags, status, verdict) in [
        (APP, &[][..], 0, "good"),
        (APP, &["--strict"], 0, "good"),
        ("", &[], 0, "good"),
        ("", &["--strict"], 1, "not good: 1 warning (--strict)"),
        ("[limits]\nx = 1\ny = 2\n", &[], 1, "not good: 2 faults"),
        ("[database]\nname = \"x\"\n", &[], 1, "not good: 4 faults"),
    ] {
        let said = plain(&case, flags, content);
        assert_eq!(said.status, Some(status), "{content}: {}", said.err);
        assert!(said.out.lines().count() <= 10, "{}", said.out);
        assert!(
            said.out.ends_with(&format!("\nverdict         {verdict}\n")),
            "{}",
            said.out
        );
    }
    let said = plain(&case, &[], APP);
    for line in [
        "listeners       127.0.0.1:8080; at most ",
        "page and state  closed at 127.0.0.1:8080, as ",
        "apps            a\n",
        "site            none\n",
        "warnings        none\n",
    ] {
        assert!(said.out.contains(line), "no {line:?} in\n{}", said.out);
    }
}

#[test]
fn one_object_of_json_has_everything_and_no_secret() {
    let case = Case::new();
    let object = |content: &str, flags: &[&str]| {
        let said = plain(&case, &[&["--json"], flags].concat(), content);
        assert_eq!(said.err, "");
        assert!(!said.out.contains(TOKEN), "{}", said.out);
        let object: serde_json::Value = serde_json::from_str(&said.out).expect("one object");
        (said.status, object)
    };
    let (status, good) = object(&format!("[server]\nadmin_token = \"{TOKEN}\"\n{APP}"), &[]);
    assert_eq!((status, &good["good"]), (Some(0), &serde_json::json!(true)));
    assert_eq!(
        (&good["faults"], &good["warnings"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
    assert_eq!(good["config"]["server"]["admin_token"], "***");
    assert_eq!(good["config"]["apps"][0]["id"], "a");
    assert_eq!(good["facts"]["apps"], "a");
    assert_eq!(
        good["facts"]["page_and_state"]
            .as_str()
            .map(|text| text.starts_with("open at ")),
        Some(true)
    );
    let (status, bad) = object("[limits]\nx = 1\n", &[]);
    assert_eq!(
        (status, &bad["good"], &bad["config"]),
        (Some(1), &false.into(), &serde_json::Value::Null)
    );
    let fault = bad["faults"][0].as_str().expect("a text");
    assert!(fault.ends_with(":2:1: unknown key `x` in [limits]"), "{fault}");
    let (status, strict) = object("", &["--strict"]);
    assert_eq!((status, &strict["good"]), (Some(1), &false.into()));
}

#[test]
fn mistakes_do_not_hide_other_mistakes_or_the_site() {
    let case = Case::new();
    // Contradictions are found beside an unknown key.
    let wanted = "F:2:1: unknown key `x` in [limits]\nF:3:20: `send_queue_bytes` in [limits] must be at least";
    let found = case
        .mistakes("[limits]\nx = 1\nmax_message_size = 1048576\n")
        .join("\n");
    assert!(found.starts_with(wanted), "{found}");
    let folder = case.folder.path().join("site");
    fs::create_dir(&folder).expect("a folder");
    let site = format!("root = \"{}\"", text(&folder));
    for (content, is_checked) in [
        (format!("[limits]\nx = 1\n[joomla]\n{site}\n"), true),
        (format!("[limit]\n[joomla]\n{site}\n"), true),
        (format!("[joomla]\n{site}\nlifetme = 1\n"), false),
        (format!("[joomla]\n{site}\n[database]\nprefix = \"a b\"\n"), false),
        (format!("[joomla]\n{site}\n[databse]\nname = \"a\"\n"), false),
        (format!("[joomla]\n{site}\n[limits\n"), false),
    ] {
        let said = plain(&case, &[], &content);
        assert_eq!(said.status, Some(1), "{content}");
        assert_eq!(
            said.err.contains("fault: there is no "),
            is_checked,
            "{content}{}",
            said.err
        );
        assert_eq!(said.out.contains("not checked"), !is_checked, "{content}{}", said.out);
        assert!(said.err.contains("plain.toml:"), "{content}{}", said.err);
    }
    let said = case.check(
        &["--joomla", text(&folder)],
        &[("JSOCKETD_DATABASE_NAM", "x"), ("JSOCKETD_LISTNE", "x")],
    );
    assert!(!said.err.contains("fault: "), "{}", said.err);
}

#[test]
fn the_command_line_explains_itself() {
    let version = said(jsocketd().arg("--version").output());
    assert_eq!(
        (version.status, version.out.as_str()),
        (Some(0), concat!("jsocketd ", env!("CARGO_PKG_VERSION"), "\n"))
    );
    let help = said(jsocketd().arg("--help").output());
    for word in [
        "serve",
        "check",
        "publish",
        "replay",
        "--config",
        "--listen",
        "--joomla",
        "--record",
        "--record-plain",
        "JSOCKETD_LISTEN",
    ] {
        assert!(help.out.contains(word), "{word} is missing in:\n{}", help.out);
    }
    assert_eq!(
        said(jsocketd().args(["check", "--frobnicate"]).output()).status,
        Some(2)
    );
}

/// The sources of a process without flags, variables and file, to be changed by a test.
fn nothing() -> Sources {
    Sources {
        config: None,
        listen: Vec::new(),
        joomla: None,
        environment: Vec::new(),
        default_file: "/nonexistent/jsocketd.toml".into(),
    }
}

fn address(text: &str) -> ListenEntry {
    text.parse().expect(text)
}

#[test]
fn embedded_defaults_are_for_this_machine_only() {
    let is = |sources: Sources| sources.load().expect("good sources").config.embedded_defaults;
    let variable = |name: &str, value: &str| Sources {
        environment: vec![(name.into(), value.into())],
        ..nothing()
    };
    let listen = |addresses: &[&str]| Sources {
        listen: addresses.iter().map(|a| address(a)).collect(),
        ..nothing()
    };
    let case = Case::new();
    let file = case.file("empty.toml", "");

    assert!(is(nothing()));
    assert!(is(listen(&["127.0.0.1:0", "[::1]:0"])));
    assert!(is(variable("JSOCKETD_LIMITS_PING_INTERVAL", "5")));
    assert!(!is(listen(&["127.0.0.1:0", "0.0.0.0:1"])));
    assert!(is(listen(&["127.0.0.1:0 plain"])));
    assert!(
        !is(listen(&["127.0.0.1:0 proxy_protocol"])),
        "a load balancer's clients are anywhere"
    );
    assert!(
        !is(listen(&["unix:/run/x.sock"])),
        "behind a proxy every client is local"
    );
    assert!(!is(variable("JSOCKETD_ADMIN_TOKEN", TOKEN)));
    assert!(
        !is(Sources {
            environment: ["ID", "KEY", "SECRET"]
                .map(|name| (format!("JSOCKETD_APP_{name}").into(), TOKEN.into()))
                .into(),
            ..nothing()
        }),
        "the page would show a configured secret"
    );
    assert!(!is(variable("JSOCKETD_ADMIN_LISTEN", "127.0.0.1:9")));
    assert!(!is(variable("JSOCKETD_DATABASE_NAME", "joomla")));
    assert!(!is(variable("JSOCKETD_JOOMLA_ROOT", "/")), "a site has visitors");
    assert!(!is(Sources {
        joomla: Some("/".into()),
        ..nothing()
    }));
    assert!(!is(Sources {
        config: Some(file.clone()),
        ..nothing()
    }));
    assert!(
        !is(Sources {
            default_file: file,
            ..nothing()
        }),
        "even an empty file is a configuration"
    );
}

#[test]
fn the_usual_file_is_read_if_it_exists_and_never_passed_over() {
    let case = Case::new();
    let usual = case.folder.path().join("usual.toml");
    let sources = Sources {
        default_file: usual.clone(),
        ..nothing()
    };
    assert_eq!(sources.load().expect("no file").file, None);
    case.file("usual.toml", "[limits]\nping_timeout = 7\n");
    let loaded = sources.load().expect("a good file");
    assert_eq!(
        (loaded.config.limits.ping_timeout, &loaded.file),
        (7, &Some(usual.clone()))
    );

    let pinned = sources.clone().pinned(&loaded);
    fs::remove_file(&usual).expect("removed");
    assert!(sources.load().is_ok());
    assert!(
        pinned.load().is_err(),
        "a file that vanished is no return to the defaults"
    );
    std::os::unix::fs::symlink("nowhere", &usual).expect("a link");
    assert!(
        sources.load().is_err(),
        "a dangling link is a mistake, not an absent file"
    );
}

#[test]
fn a_reload_keeps_the_sockets_and_names_the_keys_that_wait() {
    let old = nothing().load().expect("defaults").config;
    let mut new = Config::default();
    new.server.listen = vec![address("0.0.0.0:9")];
    new.server.unix_mode = 0o600;
    new.limits.ping_interval = 5;
    let reload = old.reloaded(&new);
    assert_eq!(reload.restart, ["server.listen", "server.unix_mode"]);
    assert_eq!(reload.changed, ["limits.ping_interval", "apps.joomla (removed)"]);
    assert_eq!(reload.config.server, old.server);
    assert_eq!(reload.config.limits, new.limits);
    assert!(
        old.embedded_defaults && !reload.config.embedded_defaults,
        "a file appeared: its rules hold at once"
    );
    let back = new.reloaded(&old);
    assert!(
        !back.config.embedded_defaults && back.config.apps.is_empty(),
        "the public listener goes on, so no client is local, and the built-in secret opens nothing"
    );
    let nothing_new = old.reloaded(&old);
    assert_eq!((nothing_new.changed.len(), nothing_new.restart.len()), (0, 0));
}

#[test]
fn a_reload_names_apps_and_their_keys() {
    let config = |text: &str| Sources::parse(Path::new("F"), text).expect(text);
    let other = |id: &str| {
        APP.replace("\"a\"", &format!("\"{id}\""))
            .replace("\"ka\"", &format!("\"k{id}\""))
    };
    let old = config(&format!("{APP}{WEBHOOK}{}", other("old")));
    let new = config(&format!("{}{APP}client_events = true\n", other("new")));
    let reload = old.reloaded(&new);
    assert_eq!(
        reload.changed,
        [
            "apps.a.client_events",
            "apps.a.webhooks",
            "apps.old (removed)",
            "apps.new (added)"
        ]
    );
    assert_eq!((reload.restart.len(), &reload.config.apps), (0, &new.apps));
    let turned = config(&format!("{}{APP}{WEBHOOK}", other("old")));
    assert_eq!(
        old.reloaded(&turned).changed,
        Vec::<String>::new(),
        "the order means nothing"
    );
    let secret = config(&format!(
        "{}{WEBHOOK}{}",
        APP.replace("0123456789abcdef", TOKEN),
        other("old")
    ));
    assert_eq!(old.reloaded(&secret).changed, ["apps.a.secret"]);
}

#[test]
fn a_reload_names_rules_and_item_types() {
    let rule = |pattern: &str, groups: &str| format!("[[channels]]\npattern = \"{pattern}\"\ngroups = {groups}\n");
    let item = |name: &str, state: &str| {
        format!("[[items]]\nname = \"{name}\"\ntable = \"t\"\nid = \"id\"\naccess = \"a\"\nstate = \"{state}\"\n")
    };
    let config = |parts: [String; 4]| Sources::parse(Path::new("F"), &parts.concat()).expect("good sources");
    let old = config([
        rule("private-a", "[1]"),
        rule("private-b", "[2]"),
        item("com_x.a", ""),
        item("com_x.b", ""),
    ]);
    let new = config([
        rule("private-c", "[1]"),
        rule("private-a", "[1, 2]"),
        item("com_x.c", ""),
        item("com_x.a", "state"),
    ]);
    let reload = old.reloaded(&new);
    assert_eq!(
        reload.changed,
        [
            "channels.private-a.groups",
            "channels.private-b (removed)",
            "channels.private-c (added)",
            "items.com_x.a.state",
            "items.com_x.b (removed)",
            "items.com_x.c (added)"
        ]
    );
    assert_eq!((reload.restart.len(), &reload.config), (0, &new));
    let turned = config([
        item("com_x.b", ""),
        item("com_x.a", ""),
        rule("private-b", "[2]"),
        rule("private-a", "[1]"),
    ]);
    assert_eq!(old.reloaded(&turned).changed, Vec::<String>::new());
}

#[test]
fn a_site_s_folder_comes_from_flag_variable_and_file() {
    let case = Case::new();
    let folder = |name: &str| {
        let path = case.folder.path().join(name);
        fs::create_dir(&path).expect("a folder");
        text(&path).to_owned()
    };
    let (one, two, three) = (folder("one"), folder("two"), folder("three"));
    let file = case.file("site.toml", format!("[joomla]\nroot = \"{one}\"\n"));
    let root = |flags: &[&str], variables: &[(&str, &str)]| {
        let value = case.check(flags, variables).value("joomla", "root");
        value.as_str().expect("a string").to_owned()
    };
    let (file, variable) = (["--config", text(&file)], [("JSOCKETD_JOOMLA_ROOT", two.as_str())]);
    assert_eq!(root(&file, &[]), one);
    assert_eq!(root(&file, &variable), two);
    let flag = ["--joomla", three.as_str()];
    assert_eq!(root(&[file, flag].concat(), &variable), three);
    if !default_file_exists() {
        assert_eq!(root(&flag, &variable), three);
    }
    for (flags, variables, wanted) in [
        (
            vec!["--joomla", "/nonexistent"],
            vec![],
            "--joomla: `root` in [joomla] cannot be \"/nonexistent\": ",
        ),
        (
            vec![],
            vec![("JSOCKETD_JOOMLA_ROOT", "/nonexistent")],
            "JSOCKETD_JOOMLA_ROOT: `root` in [joomla] cannot be \"/nonexistent\": ",
        ),
    ] {
        let said = case.check(&flags, &variables);
        said.expect_refused();
        assert!(lines(&said.err)[0].starts_with(wanted), "{}", said.err);
    }
    let mut command = jsocketd();
    command
        .args(["check", "--joomla"])
        .arg(std::ffi::OsStr::from_bytes(b"/\xff"));
    let said = said(command.output());
    assert_eq!(lines(&said.err), ["--joomla: the name of the folder is not UTF-8"]);
    assert!(
        self::said(jsocketd().args(["serve", "--help"]).output())
            .out
            .contains("--joomla <DIR>"),
        "`serve` has the flag too"
    );
}

#[test]
fn overrides_of_a_site_come_from_variables_too() {
    let case = Case::new();
    let file = case.file("empty.toml", "");
    let said = case.check(
        &["--config", text(&file)],
        &[
            ("JSOCKETD_DATABASE_NAME", "joomla5"),
            ("JSOCKETD_DATABASE_PASSWORD", "jo'om\\la pässword"),
            ("JSOCKETD_JOOMLA_SECRET", "jMGxFIKLjptGq9MU"),
            ("JSOCKETD_JOOMLA_SHARED_SESSION", "false"),
            ("JSOCKETD_JOOMLA_OFFLINE", ""),
            ("JSOCKETD_JOOMLA_GUESTS", "false"),
            ("JSOCKETD_JOOMLA_APP", "site"),
        ],
    );
    assert_eq!(said.value("database", "name"), toml::Value::from("joomla5"));
    assert_eq!(said.value("database", "password"), toml::Value::from("***"));
    assert_eq!(said.value("joomla", "secret"), toml::Value::from("***"));
    assert_eq!(said.value("joomla", "shared_session"), toml::Value::from(false));
    assert_eq!(said.value("joomla", "offline"), toml::Value::from(""));
    assert_eq!(said.value("joomla", "guests"), toml::Value::from(false));
    assert_eq!(said.value("apps", "0")["id"], toml::Value::from("site"));
    let said = case.check(&[], &[("JSOCKETD_CHANNELS_PATTERN", "x")]);
    assert_eq!(lines(&said.err), ["JSOCKETD_CHANNELS_PATTERN: unknown variable"]);
}

#[test]
fn a_site_has_an_app_even_without_credentials() {
    let case = Case::new();
    let site = "[database]\nname = \"joomla\"\n";
    let check = |text_of_file: &str, variables: &[(&str, &str)]| {
        let file = case.file("site.toml", text_of_file);
        case.check(&["--config", text(&file)], variables)
    };
    let said = check(site, &[]);
    let app = said.value("apps", "0");
    assert_eq!(
        (app["id"].as_str(), app["key"].as_str(), app["secret"].as_str()),
        (Some("joomla"), Some("joomla"), Some(""))
    );
    // The component may have a secret for it, so there is no warning as long as that is not known.
    assert_eq!(lines(&said.err), Vec::<String>::new());
    let again = check(&said.out, &[]);
    assert_eq!(lines(&again.err), Vec::<String>::new());
    assert_eq!(again.value("apps", ""), said.value("apps", ""));

    let own = [
        ("JSOCKETD_APP_ID", "joomla"),
        ("JSOCKETD_APP_KEY", "joomla-key"),
        ("JSOCKETD_APP_SECRET", TOKEN),
    ];
    let said = check(site, &own);
    assert_eq!(
        (said.value("apps", "").as_array().map(Vec::len), lines(&said.err)),
        (Some(1), Vec::new())
    );
    let said = check(&format!("{site}{APP}"), &[]);
    assert_eq!(
        said.value("apps", "1")["id"].as_str(),
        Some("joomla"),
        "another app is not the site's"
    );
    let said = check(&format!("[joomla]\napp = \"a\"\n{site}{APP}"), &[]);
    assert_eq!(
        (said.value("apps", "").as_array().map(Vec::len), lines(&said.err)),
        (Some(1), Vec::new())
    );

    assert_eq!(
        case.mistakes(format!("{site}{}", APP.replace("\"ka\"", "\"joomla\""))),
        ["F:5:7: `key` in [[apps]] is \"joomla\", which is the key of the site's own app as long as that has no entry"]
    );
    assert_eq!(
        case.mistakes(format!("{site}{}", APP.replace("0123456789abcdef", ""))),
        ["F:6:10: `secret` in [[apps]] must have 12 characters or more, like the output of `openssl rand -hex 20`"],
        "only the site's app may go without"
    );
    assert_eq!(
        case.mistakes(APP.replace("0123456789abcdef", "").replace("\"a\"", "\"joomla\"")),
        ["F:4:10: `secret` in [[apps]] must have 12 characters or more, like the output of `openssl rand -hex 20`"],
        "and only if there is a site"
    );
}

#[test]
fn a_secret_that_changed_is_named_and_not_shown() {
    let old = Config::default();
    let mut new = old.clone();
    new.server.admin_token = TOKEN.into();
    assert_eq!(old.reloaded(&new).changed, ["server.admin_token"]);
    assert!(!new.to_toml(Secrets::MASKED).contains(TOKEN) && new.to_toml(Secrets::Shown).contains(TOKEN));
}

#[test]
fn connections_leave_a_reserve_of_descriptors() {
    let mut config = Config::default();
    assert_eq!(config.connections_for(1024), 1024 - 128);
    assert_eq!(
        config.connections_for(16),
        12,
        "a small limit is not eaten up by the reserve"
    );
    assert_eq!(config.connections_for(u64::MAX), 10_000_000);
    config.server.max_connections = 100;
    assert_eq!((config.connections_for(1024), config.connections_for(104)), (100, 78));
}
