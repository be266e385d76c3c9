//! Joomla's own answers, asked in PHP on running sites: groups, view levels and permissions of a guest and five users.

use std::collections::BTreeMap;

use jsocketd::joomla::acl::Acl;
use serde::Deserialize;

use crate::joomla_acl::sql::Dump;

#[derive(Deserialize)]
struct Answers {
    groups: Vec<u32>,
    levels: Vec<u32>,
    /// `action|asset`
    auth: BTreeMap<String, bool>,
}

#[test]
fn joomla_3_agrees() {
    compare("tables-j3.sql", "acl-j3.json", 6, 8);
}

#[test]
fn joomla_4_agrees() {
    compare("tables-j6.sql", "acl-j4.json", 6, 14);
}

#[test]
fn joomla_5_agrees() {
    compare("tables-j6.sql", "acl-j5.json", 6, 14);
}

#[test]
fn joomla_6_agrees() {
    compare("tables-j6.sql", "acl-j6.json", 6, 14);
}

/// The users of the answers are those of the tables in the same order; only their ids may differ.
fn compare(tables: &str, answers: &str, visitors: usize, questions: usize) {
    let dump = Dump::read(tables);
    let answers: BTreeMap<u32, Answers> = serde_json::from_slice(&super::fixture(answers)).unwrap();
    assert_eq!(answers.len(), visitors);
    let (acl, warnings) = Acl::new(&dump.groups(), &dump.levels(), &dump.assets(), dump.guest_group());
    assert_eq!(warnings, Vec::<String>::new());
    let users = std::iter::once(0).chain(dump.users());
    for (user, (asked, joomla)) in users.zip(&answers) {
        let groups: Box<[u32]> = match user {
            0 => acl.guest_groups().into(),
            user => acl.groups(&dump.mapped(user)),
        };
        assert_eq!(*groups, *joomla.groups, "groups of {asked}");
        let levels = acl.levels(user, &groups, false);
        assert_eq!(*levels, *joomla.levels, "levels of {asked}");
        assert_eq!(joomla.auth.len(), questions);
        for (question, may) in &joomla.auth {
            let (action, asset) = question.split_once('|').unwrap();
            let own = acl.authorise(user, &groups, false, action, asset);
            assert_eq!(own, *may, "{question} of {asked}");
        }
    }
}

#[test]
fn the_tables_are_read_whole() {
    let dump = Dump::read("tables-j6.sql");
    assert_eq!(dump.groups().len(), 12);
    assert_eq!(dump.levels().len(), 8);
    assert_eq!(dump.users(), [290, 291, 292, 293, 294]);
    assert_eq!(dump.mapped(293), [4, 11]);
    assert_eq!(dump.guest_group(), Some(9));
    let assets = dump.assets();
    let article = assets.iter().find(|row| row.name == "com_content.article.1").unwrap();
    assert_eq!(
        (article.lft, article.rgt, article.rules.as_str()),
        (39, 40, r#"{"core.edit":{"4":0},"core.delete":{"2":1}}"#)
    );
}
