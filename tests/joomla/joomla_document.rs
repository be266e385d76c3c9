//! The commands and recipes of docs/joomla.md are run here: the privileges of a separate database user suffice for
//! every question, and nothing more is granted; the recipes for PHP write the rows that the page promises.
//! `tests/fixtures/php/joomla.php` stands in for Joomla's own database classes, over the same driver.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use crate::common::Server;
use crate::common::joomla::Site;
use jsocketd::config::{self, ItemType, ListenAddr};
use jsocketd::protocol::position::Position;
use jsocketd::store::mysql::MySql;
use jsocketd::store::{
    Answer, ChannelRange, Database, Failure, Look, NewRow, Question, Secret, SessionId, Store, Text, Tls,
};
use jsocketd::time::Now;
use mysql::prelude::Queryable;

const DOCUMENT: &str = include_str!("../../docs/joomla.md");

/// The code blocks of a language, in order.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let blocks = DOCUMENT.split(&fence).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The only block of PHP under a heading.
fn recipe(heading: &str) -> &'static str {
    let (_, section) = DOCUMENT.split_once(&format!("\n### {heading}\n")).unwrap();
    let (_, block) = section.split_once("```php\n").unwrap();
    block.split("```").next().unwrap()
}

/// A site with the tables of the outbox.
fn site() -> Site {
    let site = Site::joomla6();
    site.create_outbox();
    site
}

/// The store as the user that the document makes.
fn store(site: &Site, user: &str) -> MySql {
    let database = Database {
        host: site.server.socket.display().to_string(),
        endpoints: vec![ListenAddr::Unix(site.server.socket.clone())],
        host_name: None,
        user: user.to_owned(),
        password: Secret("a long password".into()),
        name: site.database.clone(),
        prefix: site.prefix.to_owned(),
        tls: Tls::default(),
    };
    let mut store = MySql::new(database, config::Database::default(), vec![ItemType::article()], 10_240);
    store.connect(Now::default()).expect("the user may connect");
    store
}

/// One question of each kind, but for those in the middle of others.
fn questions() -> Vec<Question> {
    let new = NewRow {
        channel: "news".into(),
        event: "e".into(),
        data: "{}".into(),
        socket_id: None,
    };
    let ids = vec![SessionId::parse("nobody").unwrap()];
    let look = Look::Front(1 << 60);
    let (process, position) = (1, Position::NOWHERE);
    let (ensure, limit) = (true, 1);
    vec![
        Question::Sessions {
            ids,
            text: Text::Always,
        },
        Question::Users(vec![1]),
        Question::Groups,
        Question::Levels,
        Question::Assets,
        Question::Extensions,
        Question::Items { kind: 0, ids: vec![1] },
        Question::Categories(vec![1]),
        Question::Publish(vec![new]),
        Question::Look(look),
        Question::Look(Look::Behind),
        Question::Look(Look::Anywhere),
        Question::Check(vec![1]),
        Question::Claim { look, limit, ensure },
        Question::Stamp {
            ids: vec![2], // the row that was published
            epoch: 1,
            first: 1 << 40,
            mark: 0,
        },
        Question::Tail { after: 0, limit },
        Question::Channel(ChannelRange {
            channel: "news".into(),
            after: 0,
            to: 10,
            limit,
        }),
        Question::Beat { process, position },
        Question::Leave(process),
        Question::Old {
            retention: 0,
            dead: 0,
            limit,
        },
        Question::Delete {
            ids: vec![1],
            processes: vec![process],
        },
        Question::State,
    ]
}

#[test]
fn the_privileges_suffice_and_are_the_least() {
    let site = site();
    let user = format!("{}_own", site.database);
    let statements = blocks("sql")[0]
        .replace("`joomla`", &format!("`{}`", site.database))
        .replace("`jos_", &format!("`{}", site.prefix))
        .replace("'jsocketd'", &format!("'{user}'"));
    site.sql(&statements);
    let ask_all = || {
        let mut store = store(&site, &user);
        let answers: Vec<_> = questions()
            .into_iter()
            .map(|question| (question.name(), store.ask(&question, Now::default())))
            .collect();
        answers
    };
    for (name, answer) in ask_all() {
        assert!(answer.is_ok(), "the question for {name}: {answer:?}");
    }
    // Without any one of them something is refused.
    let granted: Vec<&str> = statements.lines().filter(|line| line.starts_with("GRANT ")).collect();
    assert_eq!(granted.len(), 12);
    for grant in granted {
        site.sql(&grant.replacen("GRANT", "REVOKE", 1).replace(" TO ", " FROM "));
        let refused = |(_, answer): &(_, Result<Answer, Failure>)| matches!(answer, Err(Failure::Denied(_)));
        assert!(ask_all().iter().any(refused), "nothing needs {grant}");
        site.sql(grant);
    }
    let mut own = mysql::Conn::new(
        mysql::OptsBuilder::new()
            .user(Some(&user))
            .pass(Some("a long password"))
            .db_name(Some(&site.database))
            .socket(site.server.socket.to_str()),
    )
    .unwrap();
    for secret in ["password FROM #__users", "options FROM #__user_mfa", "* FROM #__users"] {
        let refused = own.query_drop(site.text(&format!("SELECT {secret}")));
        assert!(refused.unwrap_err().to_string().contains("denied"), "{secret}");
    }
}

/// Runs the common beginning and a recipe on this site, and returns the output of `then`.
fn php(site: &Site, before: &str, recipe: &str, then: &str) -> String {
    let shim = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/php/joomla.php");
    let beginning = blocks("php")[0];
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("recipe.php");
    let text = format!("<?php\nrequire {shim:?};\n{beginning}\n{before}\n{recipe}\n{then}\n");
    fs::write(&script, text).unwrap();
    let run = Command::new("php")
        .args([
            "-d",
            "error_reporting=-1",
            "-d",
            "display_errors=stderr",
            "-d",
            "log_errors=0",
        ])
        .arg(&script)
        .env("SITE_SOCKET", &site.server.socket)
        .env("SITE_USER", &site.user)
        .env("SITE_PASSWORD", &site.password)
        .env("SITE_DATABASE", &site.database)
        .env("SITE_PREFIX", site.prefix)
        .output()
        .expect("php runs: apt-get install php-cli php-mysql");
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && errors.is_empty(), "{errors}");
    String::from_utf8(run.stdout).unwrap()
}

/// Everything in the outbox table.
fn rows(site: &Site) -> Vec<(String, String, String)> {
    site.rows("SELECT channel, event, data FROM #__websockets_outbox WHERE seq IS NULL ORDER BY id")
}

fn row(channel: &str, event: &str, data: &str) -> (String, String, String) {
    (channel.into(), event.into(), data.into())
}

#[test]
fn the_recipe_for_channels_writes_its_rows() {
    let site = site();
    php(&site, "", recipe("To a user, a view level, the readers of an item"), "");
    assert_eq!(
        rows(&site),
        [
            row("private-user-42", "message", r#"{"unread":3}"#),
            row("private-level-2", "notice", r#"{"id":5}"#),
            row("private-com_content.article.17", "changed", r#"{"version":8}"#),
        ]
    );
    let far: i64 =
        site.value("SELECT MAX(ABS(TIMESTAMPDIFF(SECOND, created, UTC_TIMESTAMP()))) FROM #__websockets_outbox");
    assert!(far < 60, "`created` is UTC: {far} s");
}

#[test]
fn the_recipe_for_transactions_publishes_committed_events_only() {
    let site = site();
    site.sql("CREATE TABLE #__example_orders (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(20)) ENGINE=InnoDB");
    let order = r#"$order = (object) ["note" => "it's #__ \\"];"#;
    let transaction = recipe("In a transaction of your own");
    php(&site, order, transaction, "");
    assert_eq!(rows(&site), [row("private-group-7", "order-placed", r#"{"id":1}"#)]);
    let note: String = site.value("SELECT note FROM #__example_orders");
    assert_eq!(note, r"it's #__ \");
    // Something goes wrong behind the publication.
    let broken = transaction.replace("$db->transactionCommit();", "throw new RuntimeException('no');");
    assert_ne!(broken, transaction);
    let caught = php(
        &site,
        order,
        &format!("try {{ {broken} }} catch (RuntimeException $e) {{ echo 'caught'; }}"),
        "",
    );
    assert_eq!(caught, "caught");
    let orders: i64 = site.value("SELECT COUNT(*) FROM #__example_orders");
    assert_eq!((rows(&site).len(), orders), (1, 1));
}

#[test]
fn the_recipe_for_control_rows_writes_rows_that_the_server_understands() {
    let site = site();
    php(&site, "", recipe("After something changed"), "");
    let verbs: Vec<String> = rows(&site)
        .into_iter()
        .map(|(channel, verb, data)| {
            assert_eq!(channel, "#control");
            let read = jsocketd::protocol::control::Control::read(&verb, &data);
            assert!(read.is_ok(), "{verb} {data}: {read:?}");
            verb
        })
        .collect();
    assert_eq!(
        verbs,
        ["recheck-user", "terminate-user", "recheck-item", "recheck-access"]
    );
}

#[test]
fn the_recipe_for_positions_takes_the_one_of_the_state_table() {
    let site = site();
    let position = recipe("The position of a page");
    let there: String = site.value("SELECT value FROM #__websockets_state WHERE name = 'position'");
    assert!(matches!(there.parse(), Ok(Position::Table { .. })), "{there}");
    assert_eq!(php(&site, "", position, "echo $since;"), there);
    site.sql("DELETE FROM #__websockets_state WHERE name = 'position'");
    assert_eq!(php(&site, "", position, "echo json_encode($since);"), "null");
}

#[test]
fn the_recipe_for_a_nudge_is_signed_rightly() {
    let site = site();
    let server = Server::start("[[apps]]\nid = \"joomla\"\nkey = \"the-apps-key\"\nsecret = \"0123456789abcdef\"\n");
    let nudge = recipe("A nudge")
        .replace("127.0.0.1:8080", &server.addr.to_string())
        .replace("the app\\'s key", "the-apps-key");
    let answer = |recipe: &str| {
        php(
            &site,
            "",
            &recipe.replace("@file_get_contents", "echo @file_get_contents"),
            "",
        )
    };
    assert_eq!(answer(&nudge.replace("the app\\'s secret", "0123456789abcdef")), "{}");
    assert_eq!(answer(&nudge), "", "another secret");
}
