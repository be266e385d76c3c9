//! Tests of all forms of names, of similar names, and of patterns against a slow way to match them.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn types() -> Vec<ItemType> {
    let named = |name: &str| ItemType {
        name: name.into(),
        ..ItemType::article()
    };
    vec![ItemType::article(), named("com_shop.order"), named("com_shop.category")]
}

fn of(name: &str, rules: &[ChannelRule]) -> Subject {
    subject(ChannelName::parse(name).expect(name), &types(), rules)
}

fn item(kind: &str, id: u64) -> Subject {
    Subject::Item { kind: kind.into(), id }
}

fn category(extension: &str, id: u64) -> Subject {
    let extension = extension.into();
    Subject::Category { extension, id }
}

fn rule(pattern: &str, groups: &[u32], levels: &[u32], users: &[u32]) -> ChannelRule {
    ChannelRule {
        pattern: pattern.into(),
        groups: groups.into(),
        levels: levels.into(),
        users: users.into(),
    }
}

#[test]
fn every_row_of_the_table_is_parsed_in_every_form() {
    for (rest, expected) in [
        ("user-42", Subject::User(42)),
        ("user-4294967295", Subject::User(u32::MAX)),
        ("group-8", Subject::Group(8)),
        ("level-3", Subject::Level(3)),
        ("com_content.article.17", item("com_content.article", 17)),
        (
            "com_content.article.18446744073709551615",
            item("com_content.article", u64::MAX),
        ),
        ("com_shop.order.1", item("com_shop.order", 1)),
        ("com_content.category.9", category("com_content", 9)),
        ("com_contact_2.category.9", category("com_contact_2", 9)),
        // The configuration cannot change this: Joomla's categories have parents.
        ("com_shop.category.9", category("com_shop", 9)),
        ("manage-com_content", Subject::Manage("com_content".into())),
        ("anything", Subject::Signed),
    ] {
        for prefix in ["private-", "private-cache-", "presence-", "presence-cache-"] {
            assert_eq!(of(&format!("{prefix}{rest}"), &[]), expected, "{prefix}{rest}");
        }
        for prefix in ["private-encrypted-", "private-encrypted-cache-"] {
            assert_eq!(of(&format!("{prefix}{rest}"), &[]), Subject::Signed, "{prefix}{rest}");
        }
        for prefix in ["", "cache-", "cache-private-", "Private-", "PRESENCE-", "private_"] {
            assert_eq!(of(&format!("{prefix}{rest}"), &[]), Subject::Open, "{prefix}{rest}");
        }
    }
    assert_eq!(of("#server-to-user-42", &[]), Subject::Signed);
}

#[test]
fn names_that_only_resemble_the_sites_names_need_a_signature_despite_rules() {
    let all = [rule("*", &[1], &[1], &[]), rule("private-*", &[1], &[1], &[])];
    for rest in [
        "user-0",
        "user-042",
        "user-00",
        "user-4294967296",
        "user-99999999999999999999999999999999999999999",
        "group-08",
        "level-03",
        "level-0",
        "com_content.article.0",
        "com_content.article.017",
        "com_content.article.18446744073709551616",
        "com_content.category.00",
        "com_shop.category.01",
        "manage-com_",
        "manage-com_Content",
        "manage-com_content.article.17",
        "manage-com_content-1",
    ] {
        for prefix in ["private-", "private-cache-", "presence-", "presence-cache-"] {
            assert_eq!(of(&format!("{prefix}{rest}"), &all), Subject::Signed, "{prefix}{rest}");
        }
    }
}

#[test]
fn a_misspelt_key_names_no_subject() {
    for bad in crate::id::MISSPELT {
        for form in [
            "user-",
            "group-",
            "level-",
            "com_content.article.",
            "com_content.category.",
        ] {
            // A string that is not a valid channel name is rejected before this.
            if let Ok(name) = ChannelName::parse(&format!("private-{form}{bad}")) {
                assert_eq!(subject(name, &types(), &[]), Subject::Signed, "{form}{bad:?}");
            }
        }
    }
}

#[test]
fn a_rule_does_not_open_names_that_the_site_decides() {
    let all = [rule("*", &[1], &[1], &[7])];
    for (name, expected) in [
        ("private-user-42", Subject::User(42)),
        ("presence-cache-user-1", Subject::User(1)),
        ("private-group-8", Subject::Group(8)),
        ("private-level-3", Subject::Level(3)),
        ("private-com_content.article.17", item("com_content.article", 17)),
        ("presence-com_content.category.9", category("com_content", 9)),
        ("private-manage-com_users", Subject::Manage("com_users".into())),
        ("private-encrypted-staff", Subject::Signed),
        ("news", Subject::Open),
    ] {
        assert_eq!(of(name, &all), expected, "{name}");
    }
}

#[test]
fn names_outside_the_table_follow_the_rules_or_need_a_signature() {
    let all = [rule("*", &[6], &[], &[])];
    let expected = Subject::Ruled(Box::new(Allowed {
        groups: [6].into(),
        ..Allowed::default()
    }));
    for name in [
        "private-level-3.cache",
        "private-level-=3",
        "private-level--3",
        "private-level-3,4",
        "private-LEVEL-3",
        "private-user-",
        "private-user-42-notes",
        "private-user-42.1",
        "private-user-4e2",
        "private-user-0x2a",
        "private-users-42",
        "private-cache-cache-user-42",
        "private-private-user-42",
        "private-presence-user-42",
        "presence-private-user-42",
        "private-com_content.article.",
        "private-com_content.article.-1",
        "private-com_content.article.1.",
        "private-com_content.article.1.2",
        "private-com_content..article.1",
        "private-com_content.articles.1",
        "private-com_content.Article.1",
        "private-com_other.item.1",
        "private-.category.1",
        "private-com_.category.1",
        "private-com_Content.category.1",
        "private-com_content.section.category.1",
        "private-category.1",
        "private-manage-content",
        "private-manage-",
        "private-",
        "presence-cache-",
    ] {
        assert_eq!(of(name, &[]), Subject::Signed, "{name}");
        assert_eq!(of(name, &all), expected, "{name}");
    }
    for name in [
        "private-level-3 ",
        "private-level-+3",
        "private-user-４２",
        "private-user-42\0",
        "private-user-42\n",
    ] {
        assert!(ChannelName::parse(name).is_err(), "{name:?} never gets so far");
    }
}

#[test]
fn matching_rules_are_united() {
    let rules = [
        rule("private-staff-*", &[8, 6], &[3], &[]),
        rule("private-*-notes", &[7, 6], &[], &[42, 41]),
        rule("presence-staff-*", &[1], &[], &[]),
    ];
    let Subject::Ruled(both) = of("private-staff-notes-notes", &rules) else {
        panic!("no rule matched")
    };
    assert_eq!(*both.groups, [6, 7, 8]);
    assert_eq!(*both.levels, [3]);
    assert_eq!(*both.users, [41, 42]);
    assert!(matches!(of("presence-staff-1", &rules), Subject::Ruled(one) if *one.groups == [1]));
    assert_eq!(of("private-staf", &rules), Subject::Signed);
}

#[test]
fn a_rule_matches_the_whole_name_with_its_prefixes() {
    let rules = [rule("private-staff", &[6], &[], &[])];
    assert!(matches!(of("private-staff", &rules), Subject::Ruled(_)));
    for name in [
        "private-cache-staff",
        "presence-staff",
        "private-staff-",
        "private-staff2",
    ] {
        assert_eq!(of(name, &rules), Subject::Signed, "{name}");
    }
}

/// The simple way, which is slow.
fn slow(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => slow(rest, name),
        (Some((b'*', rest)), Some((_, tail))) => slow(rest, name) || slow(pattern, tail),
        (Some((wanted, rest)), Some((byte, tail))) => wanted == byte && slow(rest, tail),
        _ => false,
    }
}

#[test]
fn patterns_match_like_the_simple_way() {
    let mut rng = StdRng::seed_from_u64(5);
    let mut text = |alphabet: &[u8], most: usize| -> String {
        let length = rng.random_range(0..=most);
        (0..length)
            .map(|_| alphabet[rng.random_range(0..alphabet.len())] as char)
            .collect()
    };
    let mut matched = 0;
    for _ in 0..100_000 {
        let (pattern, name) = (text(b"ab**", 8), text(b"ab", 10));
        let expected = slow(pattern.as_bytes(), name.as_bytes());
        assert_eq!(matches(&pattern, &name), expected, "{pattern:?} {name:?}");
        matched += u32::from(expected);
    }
    assert!((5_000..95_000).contains(&matched), "both answers occur: {matched}");
}

#[test]
fn a_hostile_pattern_takes_little_time() {
    let name = "a".repeat(100_000);
    // The simple way would not end in any reasonable time.
    assert!(!matches(&format!("{}b", "a*".repeat(10_000)), &name));
    assert!(!matches(&format!("*{}b*", "a".repeat(5_000)), &name));
    assert!(matches(&"*a".repeat(10_000), &name));
}

#[test]
fn every_subject_has_one_name_and_no_name_causes_a_panic() {
    let mut rng = StdRng::seed_from_u64(6);
    let parts = [
        "private-",
        "presence-",
        "cache-",
        "encrypted-",
        "user-",
        "group-",
        "level-",
        "manage-",
        "com_",
        "content",
        ".",
        "article",
        "category",
        "0",
        "1",
        "42",
        "99999999999",
        "_",
        "=",
        "@",
        ",",
        ";",
        "-",
    ];
    let rules = [rule("private-*user*", &[1], &[], &[])];
    for _ in 0..50_000 {
        let name: String = (0..rng.random_range(1..9))
            .map(|_| parts[rng.random_range(0..parts.len())])
            .collect();
        let Ok(parsed) = ChannelName::parse(&name) else {
            continue;
        };
        let found = subject(parsed, &types(), &rules);
        // Each subject can be written in exactly one way.
        let again = match &found {
            Subject::User(id) => format!("user-{id}"),
            Subject::Group(id) => format!("group-{id}"),
            Subject::Level(id) => format!("level-{id}"),
            Subject::Item { kind, id } => format!("{kind}.{id}"),
            Subject::Category { extension, id } => format!("{extension}.category.{id}"),
            Subject::Manage(component) => format!("manage-{component}"),
            Subject::Open | Subject::Signed | Subject::Ruled(_) => continue,
        };
        let forms = ["private-", "private-cache-", "presence-", "presence-cache-"];
        assert!(
            forms.iter().any(|form| name == format!("{form}{again}")),
            "{name}: {found:?}"
        );
    }
}
