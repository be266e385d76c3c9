//! Thousands of random sites: values as Joomla writes them are decided as the oracle decides them, and other values are
//! never decided more generously.

use jsocketd::joomla::acl::Acl;
use jsocketd::store::{AssetRow, GroupRow, LevelRow};

use crate::joomla_acl::Dice;
use crate::joomla_acl::oracle::{Asset, Group, Site};

const ACTIONS: &[&str] = &["core.admin", "core.manage", "core.edit", "core.login.site"];

/// Names of which one begins with another, and one that is almost the root's.
const COMPONENTS: &[&str] = &["com_a", "com_ab", "com_a_b", "root"];

/// Users that rules may name.
const USERS: usize = 6;

#[derive(Clone, Copy, PartialEq)]
enum Rows {
    /// As Joomla writes them, now or long ago.
    Plain,
    /// Some of them damaged or meant to confuse.
    Odd,
}

#[test]
fn plain_sites_are_decided_as_joomla_does() {
    let (mut dice, mut yes, mut no) = (Dice(0x5eed_0001), 0, 0);
    for round in 0..3_000 {
        let site = site(&mut dice, Rows::Plain);
        let (acl, warnings) = acl(&site);
        assert!(warnings.is_empty(), "round {round}: {warnings:?}");
        for _ in 0..12 {
            let visit = Visit::any(&mut dice, &site);
            let Visit { user, mapped, root, .. } = &visit;
            let groups = if *user == 0 {
                acl.guest_groups().into()
            } else {
                acl.groups(mapped)
            };
            assert_eq!(
                *groups,
                *site.groups(*user, mapped),
                "round {round}: groups of {mapped:?}"
            );
            assert_eq!(
                *acl.levels(*user, &groups, *root),
                *site.levels(*user, &groups, *root),
                "round {round}: levels of {user} in {groups:?}, root {root}, of {:?}",
                site.levels
            );
            let own = acl.authorise(*user, &groups, false, &visit.action, &visit.asset);
            let joomla = site.authorise(*user, &groups, &visit.action, &visit.asset);
            assert_eq!(own, joomla, "round {round}: {visit:?} in {groups:?}");
            if own { yes += 1 } else { no += 1 }
        }
    }
    assert!(yes > 3_000 && no > 3_000, "{yes} times yes and {no} times no");
}

#[test]
fn odd_sites_are_never_decided_more_generously_than_joomla_does() {
    let (mut dice, mut yes, mut narrower) = (Dice(0x5eed_0002), 0, 0);
    for round in 0..4_000 {
        let site = site(&mut dice, Rows::Odd);
        let (acl, _) = acl(&site);
        for _ in 0..12 {
            let visit = Visit::any(&mut dice, &site);
            let Visit { user, mapped, root, .. } = &visit;
            let groups = site.groups(*user, mapped);
            let levels = acl.levels(*user, &groups, *root);
            let joomla = site.levels(*user, &groups, *root);
            let wider = levels.iter().find(|level| !joomla.contains(level));
            assert_eq!(wider, None, "round {round}: of {:?}", site.levels);
            let own = acl.authorise(*user, &groups, false, &visit.action, &visit.asset);
            let joomla = site.authorise(*user, &groups, &visit.action, &visit.asset);
            let rules: Vec<_> = site.assets.iter().map(|a| (&a.name, &a.rules)).collect();
            assert!(!own || joomla, "round {round}: {visit:?} in {groups:?} of {rules:?}");
            yes += usize::from(own);
            narrower += usize::from(joomla && !own);
        }
    }
    assert!(
        yes > 1_000 && narrower > 100,
        "{yes} times yes and {narrower} times narrower"
    );
}

#[derive(Debug)]
struct Visit {
    user: u32,
    mapped: Vec<u32>,
    root: bool,
    action: String,
    asset: String,
}

impl Visit {
    fn any(dice: &mut Dice, site: &Site) -> Self {
        let mapped = (0..dice.below(4)).map(|_| match dice.below(12) {
            0 => 999,
            _ => site.groups[dice.below(site.groups.len())].id,
        });
        let mapped = mapped.collect();
        let known = site.assets[dice.below(site.assets.len())].name.clone();
        let asset = match dice.below(8) {
            0 => "com_a.article.777".to_owned(),
            1 => "com_nosuch".to_owned(),
            2 => String::new(),
            _ => known,
        };
        Visit {
            user: u32::try_from(dice.below(USERS)).unwrap(),
            mapped,
            root: dice.once_in(5),
            action: dice.pick(ACTIONS).to_owned(),
            asset,
        }
    }
}

fn site(dice: &mut Dice, rows: Rows) -> Site {
    let mut groups = vec![Group { id: 1, parent: 0 }];
    for id in 2..2 + dice.below(10) {
        let parent = groups[dice.below(groups.len())].id;
        let id = u32::try_from(id).unwrap();
        groups.push(Group { id, parent });
    }
    let mut names = vec![("root.1".to_owned(), None)];
    for component in COMPONENTS.iter().take(1 + dice.below(COMPONENTS.len())) {
        let top = names.len();
        names.push(((*component).to_owned(), Some(0)));
        for n in 0..dice.below(6) {
            let parent = top + dice.below(names.len() - top);
            let kind = dice.pick(&["article", "category"]);
            names.push((format!("{component}.{kind}.{n}"), Some(parent)));
        }
    }
    let assets = names.into_iter().map(|(name, parent)| Asset {
        name,
        parent,
        rules: rules(dice, rows),
    });
    let assets = assets.collect();
    let levels = (1..=u32::try_from(1 + dice.below(8)).unwrap()).map(|id| (id, members(dice, rows)));
    let levels = levels.collect();
    let guest_group = u32::try_from(1 + dice.below(12)).unwrap();
    Site {
        groups,
        levels,
        assets,
        guest_group,
    }
}

/// A group, a user or, seldom, a guest.
fn identity(dice: &mut Dice) -> i64 {
    match dice.below(10) {
        0 => 0,
        1 | 2 => -i64::try_from(1 + dice.below(USERS)).unwrap(),
        _ => i64::try_from(1 + dice.below(11)).unwrap(),
    }
}

/// The column `rules` of an asset.
fn rules(dice: &mut Dice, rows: Rows) -> String {
    if dice.once_in(4) {
        return dice.pick(&["{}", "[]", "", "null", r#""""#]).to_owned();
    }
    let mut actions = Vec::new();
    for action in ACTIONS {
        if dice.once_in(3) {
            continue;
        }
        let odd = rows == Rows::Odd && dice.once_in(6);
        let value = if odd { odd_action(dice) } else { plain_action(dice) };
        actions.push(format!("{action:?}:{value}"));
    }
    let text = format!("{{{}}}", actions.join(","));
    if rows == Rows::Odd && dice.once_in(6) {
        return damaged(dice, text);
    }
    text
}

fn plain_action(dice: &mut Dice) -> String {
    if dice.once_in(10) {
        return dice.pick(&["[]", "{}", r#""""#, "null", "[1,0,1]"]).to_owned();
    }
    let entries: Vec<String> = (0..1 + dice.below(4))
        .map(|_| {
            let identity = identity(dice);
            let key = if dice.once_in(12) && identity > 0 {
                format!("0{identity}")
            } else {
                identity.to_string()
            };
            let value = dice.pick(&["1", "1", "1", "0", "true", "false", r#""1""#, r#""0""#, r#""""#, "null"]);
            format!("\"{key}\":{value}")
        })
        .collect();
    format!("{{{}}}", entries.join(","))
}

fn odd_action(dice: &mut Dice) -> String {
    let odd = [
        r#""{\"2\":1}""#,
        r#""{\"2\":0}""#,
        r#"{"2abc":1,"3":1}"#,
        r#"{"2abc":0,"3":1}"#,
        r#"{"":0}"#,
        r#"{"x":1}"#,
        r#"{" 2":0,"2":1}"#,
        r#"{"2":[0]}"#,
        r#"{"2":[],"3":1}"#,
        r#"{"2":{"3":1}}"#,
        r#"{"99999999999999999999":0,"2":1}"#,
        r#"[[1],[1],[1]]"#,
        "17",
        "true",
        r#""yes""#,
    ];
    dice.pick(&odd).to_owned()
}

/// The text with some of its bytes changed, or cut off.
fn damaged(dice: &mut Dice, text: String) -> String {
    let mut bytes = text.into_bytes();
    for _ in 0..1 + dice.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = dice.below(bytes.len());
        match dice.below(3) {
            0 => bytes.truncate(at),
            1 => {
                bytes[at] = *dice
                    .pick(&[b"{", b"}", b"\"", b":", b",", b"0", b"1", b"[", b"]"])
                    .first()
                    .unwrap()
            }
            _ => drop(bytes.remove(at)),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The column `rules` of a view level.
fn members(dice: &mut Dice, rows: Rows) -> String {
    let list: Vec<String> = (0..dice.below(4))
        .map(|_| {
            let identity = identity(dice);
            if dice.once_in(4) {
                format!("\"{identity}\"")
            } else {
                identity.to_string()
            }
        })
        .collect();
    let text = match dice.below(8) {
        0 => {
            let entries: Vec<String> = list.iter().enumerate().map(|(n, m)| format!("\"{n}\":{m}")).collect();
            format!("{{{}}}", entries.join(","))
        }
        1 if list.is_empty() => String::new(),
        _ => format!("[{}]", list.join(",")),
    };
    if rows == Rows::Plain || !dice.once_in(3) {
        return text;
    }
    match dice.below(6) {
        0 => "5".to_owned(),
        1 => r#"["x",[2],{"3":3},null,true,2]"#.to_owned(),
        2 => r#"{"a":"-2","b":[1]}"#.to_owned(),
        3 => r#""2""#.to_owned(),
        _ => damaged(dice, text),
    }
}

/// The same site as rows: the nested sets are numbered by walking the trees.
fn acl(site: &Site) -> (Acl, Vec<String>) {
    let above = |group: &Group| site.groups.iter().position(|g| g.id == group.parent);
    let parents = site.groups.iter().map(above);
    let groups: Vec<GroupRow> = numbered(&parents.collect::<Vec<_>>())
        .into_iter()
        .zip(&site.groups)
        .map(|((lft, rgt), group)| GroupRow {
            id: group.id,
            parent: group.parent,
            lft,
            rgt,
        })
        .collect();
    let parents: Vec<_> = site.assets.iter().map(|asset| asset.parent).collect();
    let assets: Vec<AssetRow> = numbered(&parents)
        .into_iter()
        .zip(&site.assets)
        .map(|((lft, rgt), asset)| AssetRow {
            name: asset.name.clone(),
            rules: asset.rules.clone(),
            lft,
            rgt,
        })
        .collect();
    let levels = site.levels.iter().map(|(id, rules)| LevelRow {
        id: *id,
        rules: rules.clone(),
    });
    let levels: Vec<LevelRow> = levels.collect();
    Acl::new(&groups, &levels, &assets, Some(site.guest_group))
}

/// `lft` and `rgt` of each node of a tree.
fn numbered(parents: &[Option<usize>]) -> Vec<(i64, i64)> {
    fn walk(node: usize, parents: &[Option<usize>], next: &mut i64, spans: &mut [(i64, i64)]) {
        spans[node].0 = *next;
        *next += 1;
        for child in (0..parents.len()).filter(|&child| parents[child] == Some(node)) {
            walk(child, parents, next, spans);
        }
        spans[node].1 = *next;
        *next += 1;
    }
    let (mut spans, mut next) = (vec![(0, 0); parents.len()], 0);
    walk(0, parents, &mut next, &mut spans);
    spans
}
