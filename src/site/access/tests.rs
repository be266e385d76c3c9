//! The verdicts as tables and against a slow way to the same verdicts. The facts are tested against a database in a map
//! that fails, loses questions and changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::facts::MOST;
use super::subject::Subject;
use super::*;
use crate::config::{ChannelRule, ItemType};
use crate::store::{AssetRow, CLOCK_TOLERANCE, CategoryRow, CategoryStep, GroupRow, ItemRow, LevelRow, MOST_KEYS};

/// Seconds of the wall clock at the monotonic clock's 0.
const EPOCH: i64 = 1_700_000_000;

fn at(ms: u64) -> Now {
    Now {
        at: Time(ms * 1000),
        unix_ms: EPOCH as u64 * 1000 + ms,
    }
}

/// A category as a table row. The parent is a number (1: the root).
#[derive(Clone, Debug)]
struct Category {
    parent: u64,
    extension: &'static str,
    access: u32,
    published: i8,
}

/// An item as a table row.
#[derive(Clone, Debug)]
struct Item {
    access: u32,
    state: i8,
    up: Option<i64>,
    down: Option<i64>,
    category: Option<u64>,
}

/// The site's database.
#[derive(Clone, Debug, Default)]
struct World {
    items: BTreeMap<(usize, u64), Item>,
    categories: BTreeMap<u64, Category>,
    /// A question with one of these ids fails as malformed.
    poison: BTreeSet<u64>,
    /// The number of questions.
    asked: usize,
    /// The seconds by which the database's clock is ahead of ours.
    ahead: i64,
}

impl World {
    fn chain(&self, id: u64) -> Vec<CategoryStep> {
        let mut chain = Vec::new();
        let mut next = id;
        while let Some(category) = self.categories.get(&next) {
            chain.insert(
                0,
                CategoryStep {
                    id: next,
                    access: category.access,
                    published: category.published,
                },
            );
            next = category.parent;
        }
        chain
    }

    fn ask(&mut self, question: &Question, now: Now) -> Result<Answer, Failure> {
        self.asked += 1;
        let (Question::Items { ids, .. } | Question::Categories(ids)) = question else {
            panic!("{question:?} is none of its questions")
        };
        assert!(!ids.is_empty() && ids.len() <= MOST_KEYS, "{} keys", ids.len());
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each once");
        if ids.iter().any(|id| self.poison.contains(id)) {
            return Err(Failure::Malformed("items.state".into()));
        }
        Ok(match question {
            Question::Items { kind, .. } => Answer::Items(
                ids.iter()
                    .filter_map(|id| {
                        let item = self.items.get(&(*kind, *id))?;
                        Some(ItemRow {
                            id: *id,
                            access: item.access,
                            state: item.state,
                            publish_up: item.up,
                            publish_down: item.down,
                            categories: item.category.map(|id| self.chain(id)),
                            clock: now.unix() + self.ahead,
                        })
                    })
                    .collect(),
            ),
            _ => Answer::Categories(
                ids.iter()
                    .filter_map(|id| {
                        let category = self.categories.get(id)?;
                        Some(CategoryRow {
                            id: *id,
                            extension: category.extension.into(),
                            chain: self.chain(*id),
                        })
                    })
                    .collect(),
            ),
        })
    }

    /// The result of Joomla's SQL (joomla.md 5.3) on the present tables.
    fn shows(&self, subject: &Subject, levels: &[u32], unix: i64) -> bool {
        let parents = |id: u64| {
            let mut all = Vec::new();
            let mut next = self.categories[&id].parent;
            while next != 1 {
                all.push(&self.categories[&next]);
                next = self.categories[&next].parent;
            }
            all
        };
        match subject {
            Subject::Item { kind, id } => {
                let kind = usize::from(&**kind != "com_content.article");
                let Some(a) = self.items.get(&(kind, *id)) else {
                    return false;
                };
                if !(a.state == 1 || a.state == 2) || !levels.contains(&a.access) {
                    return false;
                }
                if a.up.is_some_and(|up| up > unix) || a.down.is_some_and(|down| down < unix) {
                    return false;
                }
                let Some(category) = a.category else { return true };
                let Some(c) = self.categories.get(&category) else {
                    return false;
                };
                levels.contains(&c.access)
                    && (c.published == 1 || c.published == 2)
                    && !parents(category).iter().any(|p| p.published <= 0)
            }
            Subject::Category { extension, id } => {
                let Some(c) = self.categories.get(id) else { return false };
                let mut line = parents(*id);
                line.push(c);
                c.extension == &**extension && line.iter().all(|c| c.published == 1 && levels.contains(&c.access))
            }
            _ => panic!("no facts in {subject:?}"),
        }
    }
}

fn config() -> Config {
    Config {
        items: vec![ItemType {
            name: "com_shop.order".into(),
            table: "shop_orders".into(),
            ..ItemType::article()
        }],
        ..Config::default()
    }
}

fn access() -> Access {
    Access::new(&config())
}

fn article(id: u64) -> Subject {
    let kind = "com_content.article".into();
    Subject::Item { kind, id }
}

fn order(id: u64) -> Subject {
    let kind = "com_shop.order".into();
    Subject::Item { kind, id }
}

fn category(id: u64) -> Subject {
    let extension = "com_content".into();
    Subject::Category { extension, id }
}

/// A channel about an item or a category.
fn channel(subject: &Subject) -> Box<str> {
    match subject {
        Subject::Item { kind, id } => format!("private-{kind}.{id}").into(),
        Subject::Category { extension, id } => format!("private-{extension}.category.{id}").into(),
        other => panic!("{other:?} is about no item"),
    }
}

fn with<'a>(user: u32, groups: &'a [u32], levels: &'a [u32]) -> Visitor<'a> {
    Visitor {
        user,
        groups,
        levels,
        root: false,
    }
}

/// A user with the view levels 1 and 2.
const ANNA: Visitor<'_> = Visitor {
    user: 42,
    groups: &[1, 2],
    levels: &[1, 2],
    root: false,
};

/// Asks until no question is left.
fn pump(access: &mut Access, world: &mut World, now: Now) {
    while let Some(question) = access.question(now) {
        let answer = world.ask(&question, now);
        access.facts.answer(&question, answer, now);
    }
}

fn decide(access: &mut Access, subject: &Subject, now: Now) -> Verdict {
    access.judge_visitor(subject, &ANNA, &Acl::default(), Age::Fresh, now)
}

fn review(access: &mut Access, subject: &Subject, now: Now) -> Verdict {
    access.judge_visitor(subject, &ANNA, &Acl::default(), Age::Any, now)
}

/// The verdict once all questions are answered.
fn decided(access: &mut Access, world: &mut World, subject: &Subject, now: Now) -> Verdict {
    match decide(access, subject, now) {
        Verdict::NotYet => {
            pump(access, world, now);
            decide(access, subject, now)
        }
        verdict => verdict,
    }
}

fn open_item() -> Item {
    Item {
        access: 1,
        state: 1,
        up: None,
        down: None,
        category: Some(9),
    }
}

/// Articles 1 to `count` in category 9 below category 8.
fn site(count: u64) -> World {
    let mut world = World::default();
    for (id, parent) in [(8, 1), (9, 8)] {
        let (extension, access, published) = ("com_content", 1, 1);
        world.categories.insert(
            id,
            Category {
                parent,
                extension,
                access,
                published,
            },
        );
    }
    world.items.extend((1..=count).map(|id| ((0, id), open_item())));
    world
}

/// Joomla's own groups, levels and rules, as far as the tests need them.
fn acl() -> Acl {
    let group = |id, parent, lft, rgt| GroupRow { id, parent, lft, rgt };
    let level = |id, rules: &str| LevelRow {
        id,
        rules: rules.into(),
    };
    let asset = |name: &str, rules: &str, lft, rgt| AssetRow {
        name: name.into(),
        rules: rules.into(),
        lft,
        rgt,
    };
    let (acl, warnings) = Acl::new(
        &[
            group(1, 0, 1, 10),
            group(2, 1, 2, 3),
            group(6, 1, 4, 7),
            group(7, 6, 5, 6),
            group(8, 1, 8, 9),
        ],
        &[level(1, "[1]"), level(2, "[6,2,8]"), level(3, "[6,8]")],
        &[
            asset("root.1", r#"{"core.admin":{"8":1},"core.manage":{"7":1}}"#, 1, 6),
            asset("com_content", r#"{"core.manage":{"6":1}}"#, 2, 3),
            asset("com_users", r#"{"core.manage":{"7":0}}"#, 4, 5),
        ],
        None,
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    acl
}

#[test]
fn verdicts_without_facts_follow_from_the_name_and_the_visitor() {
    let rules = [ChannelRule {
        pattern: "private-staff-*".into(),
        groups: vec![7],
        levels: vec![9],
        users: vec![0, 45],
    }];
    let guest = with(0, &[1, 9], &[1, 5]);
    let anna = with(42, &[1, 2], &[1, 2]);
    let manager = with(43, &[1, 6], &[1, 2, 3]);
    let administrator = with(44, &[1, 6, 7], &[1, 2, 3]);
    let chief = with(45, &[1, 8], &[1, 2, 3]);
    let root = Visitor { root: true, ..anna };
    let all = [guest, anna, manager, administrator, chief, root];
    let (acl, mut access) = (acl(), access());
    for (name, expected) in [
        // In order: guest, anna, manager, administrator, chief, root.
        ("news", "++++++"),
        ("cache-news", "++++++"),
        ("private-user-42", "-+---+"),
        ("private-user-45", "----+-"),
        ("private-user-0", "------"),
        ("presence-cache-user-42", "-+---+"),
        ("private-group-1", "++++++"),
        ("private-group-2", "-+---+"),
        ("private-group-6", "--++--"),
        ("private-group-8", "----+-"),
        ("private-group-9", "+-----"),
        ("private-level-1", "++++++"),
        ("private-level-2", "-+++++"),
        ("private-level-3", "--+++-"),
        ("private-level-5", "+-----"),
        ("presence-level-4", "------"),
        ("private-manage-com_content", "--++++"),
        ("private-manage-com_users", "----++"),
        ("presence-manage-com_nobody", "---+++"),
        ("private-staff-1", "---++-"),
        ("presence-staff-1", "------"),
        ("private-other", "------"),
        ("private-encrypted-user-42", "------"),
        ("#server-to-user-42", "------"),
    ] {
        let name = crate::protocol::channel::ChannelName::parse(name).expect(name);
        let subject = subject(name, &config().item_types(), &rules);
        let verdicts: String = all
            .iter()
            .map(
                |visitor| match access.judge_visitor(&subject, visitor, &acl, Age::Fresh, at(0)) {
                    Verdict::Yes(()) => '+',
                    Verdict::No(why) => {
                        assert!(!why.is_empty());
                        '-'
                    }
                    Verdict::NotYet => '?',
                },
            )
            .collect();
        assert_eq!(verdicts, expected, "{}", name.as_str());
        for visitor in &all {
            let again = access.judge_visitor(&subject, visitor, &acl, Age::Any, at(0));
            assert_eq!(again, access.judge_visitor(&subject, visitor, &acl, Age::Fresh, at(0)));
        }
    }
    assert_eq!(access.question(at(0)), None, "no verdict needed a fact");
    assert_eq!(access.question_due(), Time::NEVER);
}

#[test]
fn guests_can_be_denied_channels_without_a_prefix() {
    let mut config = config();
    config.joomla.guests = Some(false);
    let mut access = Access::new(&config);
    let guest = with(0, &[1], &[1]);
    assert_eq!(
        access.judge_visitor(&Subject::Open, &guest, &Acl::default(), Age::Fresh, at(0)),
        GUEST
    );
    assert_eq!(decide(&mut access, &Subject::Open, at(0)), Verdict::Yes(()));
    access.open_to_guests(true);
    assert_eq!(
        access.judge_visitor(&Subject::Open, &guest, &Acl::default(), Age::Fresh, at(0)),
        Verdict::Yes(())
    );
}

#[test]
fn an_articles_channel_admits_visitors_who_may_see_the_article() {
    type Change = fn(&mut World);
    fn item(world: &mut World) -> &mut Item {
        world.items.get_mut(&(0, 17)).unwrap()
    }
    fn filed(world: &mut World, id: u64) -> &mut Category {
        world.categories.get_mut(&id).unwrap()
    }
    let cases: &[(&str, bool, Change)] = &[
        ("as it is", true, |_| {}),
        ("archived", true, |w| item(w).state = 2),
        ("unpublished", false, |w| item(w).state = 0),
        ("in the trash", false, |w| item(w).state = -2),
        ("in no state that there is", false, |w| item(w).state = 3),
        ("for registered users", true, |w| item(w).access = 2),
        ("for special users", false, |w| item(w).access = 3),
        ("for no level", false, |w| item(w).access = 0),
        ("from now on", true, |w| item(w).up = Some(EPOCH)),
        ("from the next second on", false, |w| item(w).up = Some(EPOCH + 1)),
        ("up to this second", true, |w| item(w).down = Some(EPOCH)),
        ("up to the last second", false, |w| item(w).down = Some(EPOCH - 1)),
        ("in a category that does not exist", false, |w| {
            item(w).category = Some(99)
        }),
        ("in no category", true, |w| item(w).category = None),
        ("in a category for others", false, |w| filed(w, 9).access = 3),
        ("in an archived category", true, |w| filed(w, 9).published = 2),
        ("in an unpublished category", false, |w| filed(w, 9).published = 0),
        ("in a category in the trash", false, |w| filed(w, 9).published = -2),
        ("below a category for others", true, |w| filed(w, 8).access = 3),
        ("below an archived category", true, |w| filed(w, 8).published = 2),
        ("below an unpublished category", false, |w| filed(w, 8).published = 0),
        ("below a category in the trash", false, |w| filed(w, 8).published = -2),
        ("nowhere", false, |w| w.items.clear()),
        ("an item of another type", false, |w| {
            let item = w.items.remove(&(0, 17)).unwrap();
            w.items.insert((1, 17), item);
        }),
    ];
    for (what, seen, change) in cases {
        let mut world = site(20);
        change(&mut world);
        let expected = if *seen { Verdict::Yes(()) } else { HIDDEN };
        assert_eq!(
            decided(&mut access(), &mut world, &article(17), at(0)),
            expected,
            "{what}"
        );
        assert_eq!(world.asked, 1, "{what}");
    }
}

#[test]
fn a_categorys_channel_admits_visitors_who_may_see_it_and_all_above() {
    type Change = fn(&mut World);
    fn filed(world: &mut World, id: u64) -> &mut Category {
        world.categories.get_mut(&id).unwrap()
    }
    let cases: &[(&str, bool, Change)] = &[
        ("as it is", true, |_| {}),
        ("for registered users", true, |w| filed(w, 9).access = 2),
        ("for others", false, |w| filed(w, 9).access = 3),
        ("below one for others", false, |w| filed(w, 8).access = 3),
        ("unpublished", false, |w| filed(w, 9).published = 0),
        ("archived", false, |w| filed(w, 9).published = 2),
        ("below an archived one", false, |w| filed(w, 8).published = 2),
        ("below one in the trash", false, |w| filed(w, 8).published = -2),
        ("of another component", false, |w| filed(w, 9).extension = "com_contact"),
        ("of one that is spelled alike", false, |w| {
            filed(w, 9).extension = "com_contenT"
        }),
        ("nowhere", false, |w| w.categories.retain(|id, _| *id != 9)),
    ];
    for (what, seen, change) in cases {
        let mut world = site(0);
        change(&mut world);
        let expected = if *seen { Verdict::Yes(()) } else { HIDDEN };
        assert_eq!(
            decided(&mut access(), &mut world, &category(9), at(0)),
            expected,
            "{what}"
        );
    }
}

/// A random state with few categories and levels, so that all combinations occur.
fn random_world(rng: &mut StdRng) -> World {
    let mut world = World::default();
    let states = |rng: &mut StdRng| [1, 1, 1, 1, 2, 0, -2][rng.random_range(0..7)];
    for id in 2..12_u64 {
        world.categories.insert(
            id,
            Category {
                parent: rng.random_range(1..id),
                extension: ["com_content", "com_content", "com_contact"][rng.random_range(0..3)],
                access: rng.random_range(1..4),
                published: states(rng),
            },
        );
    }
    for kind in 0..2 {
        for id in 1..30_u64 {
            let date = |rng: &mut StdRng| rng.random_bool(0.3).then(|| EPOCH + rng.random_range(-20..20));
            let item = Item {
                access: rng.random_range(1..4),
                state: states(rng),
                up: date(rng),
                down: date(rng),
                category: (!rng.random_bool(0.2)).then(|| rng.random_range(2..14)),
            };
            world.items.insert((kind, id), item);
        }
    }
    world
}

fn random_subject(rng: &mut StdRng) -> Subject {
    match rng.random_range(0..4) {
        0 => Subject::Category {
            extension: ["com_content", "com_contact"][rng.random_range(0..2)].into(),
            id: rng.random_range(1..14),
        },
        1 => order(rng.random_range(1..32)),
        _ => article(rng.random_range(1..32)),
    }
}

#[test]
fn verdicts_are_those_of_joomlas_sql() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut seen = [0, 0];
    for _ in 0..1000 {
        let (mut world, mut access) = (random_world(&mut rng), access());
        let now = at(rng.random_range(0..20_000));
        let levels: Vec<u32> = (1..4).filter(|_| rng.random_bool(0.7)).collect();
        let visitor = with(42, &[1], &levels);
        for _ in 0..20 {
            let subject = random_subject(&mut rng);
            let mut verdict = access.judge_visitor(&subject, &visitor, &Acl::default(), Age::Fresh, now);
            if verdict == Verdict::NotYet {
                pump(&mut access, &mut world, now);
                verdict = access.judge_visitor(&subject, &visitor, &Acl::default(), Age::Fresh, now);
            }
            let shown = world.shows(&subject, &levels, now.unix());
            assert_eq!(
                verdict,
                if shown { Verdict::Yes(()) } else { HIDDEN },
                "{subject:?} {levels:?} {world:?}"
            );
            seen[usize::from(shown)] += 1;
        }
    }
    assert!(seen[0] > 2000 && seen[1] > 2000, "both verdicts occur: {seen:?}");
}

#[test]
fn many_facts_are_read_with_few_questions() {
    let (mut world, mut access) = (site(250), access());
    for _ in 0..3 {
        for id in 1..=250 {
            assert_eq!(decide(&mut access, &article(id), at(0)), Verdict::NotYet);
        }
        assert_eq!(decide(&mut access, &category(9), at(0)), Verdict::NotYet);
        assert_eq!(decide(&mut access, &order(1), at(0)), Verdict::NotYet);
    }
    assert!(access.question_due() <= at(0).at, "now");
    pump(&mut access, &mut world, at(0));
    assert_eq!(world.asked, 3 + 1 + 1);
    for id in 1..=250 {
        assert_eq!(decide(&mut access, &article(id), at(0)), Verdict::Yes(()));
    }
    assert_eq!(decide(&mut access, &category(9), at(0)), Verdict::Yes(()));
    assert_eq!(decide(&mut access, &order(1), at(0)), HIDDEN);
    assert_eq!(world.asked, 5);
    assert_eq!(access.question_due(), Time::NEVER, "no entry is watched");
}

#[test]
fn a_kind_with_many_waiting_entries_does_not_starve_the_others() {
    let mut access = access();
    for id in 1..=1000 {
        decide(&mut access, &article(id), at(0));
    }
    decide(&mut access, &category(9), at(0));
    decide(&mut access, &order(1), at(0));
    let first: Vec<&str> = (0..3).map(|_| access.question(at(0)).unwrap().name()).collect();
    assert_eq!(first.iter().filter(|name| **name == "items").count(), 2);
    assert!(first.contains(&"categories"));
}

#[test]
fn a_fact_admits_visitors_for_five_seconds() {
    let (mut world, mut access) = (site(2), access());
    assert_eq!(Access::FRESH, 5);
    assert_eq!(decided(&mut access, &mut world, &article(1), at(0)), Verdict::Yes(()));
    world.items.get_mut(&(0, 1)).unwrap().state = 0;
    assert_eq!(decide(&mut access, &article(1), at(5000)), Verdict::Yes(()));
    let late = at(5001);
    assert_eq!(
        review(&mut access, &article(1), late),
        Verdict::Yes(()),
        "the subscriber may stay"
    );
    assert_eq!(decide(&mut access, &article(1), late), Verdict::NotYet);
    assert_eq!(decided(&mut access, &mut world, &article(1), late), HIDDEN);
    assert_eq!(world.asked, 2);
    // Unwatched entries are dropped.
    assert_eq!(access.facts.count(), (1, 0));
    assert_eq!(access.question(at(11_000)), None);
    assert_eq!(access.facts.count(), (0, 0));
}

#[test]
fn the_age_of_a_fact_counts_from_the_question() {
    let (mut world, mut access) = (site(1), access());
    decide(&mut access, &article(1), at(0));
    let question = access.question(at(0)).unwrap();
    access.facts.answer(&question, world.ask(&question, at(4000)), at(4000));
    assert_eq!(decide(&mut access, &article(1), at(5000)), Verdict::Yes(()));
    assert_eq!(decide(&mut access, &article(1), at(5001)), Verdict::NotYet);
}

#[test]
fn without_the_database_there_is_no_verdict_and_the_question_is_repeated() {
    let (mut world, mut access) = (site(1), access());
    decide(&mut access, &article(1), at(0));
    for failure in [Failure::Unavailable("gone".into()), Failure::Locked] {
        for round in 0..3 {
            let now = access.question_due().0.div_ceil(1000);
            let question = access.question(at(now)).expect("the question is repeated");
            access.facts.answer(&question, Err(failure.clone()), at(now));
            assert_eq!(decide(&mut access, &article(1), at(now)), Verdict::NotYet, "{round}");
            assert_eq!(
                access.question(at(now + 999)),
                None,
                "the question is not repeated at once"
            );
            assert_eq!(access.question_due(), at(now + 1000).at);
        }
    }
    let now = at(access.question_due().0 / 1000);
    assert_eq!(decided(&mut access, &mut world, &article(1), now), Verdict::Yes(()));
}

#[test]
fn subscribers_stay_while_the_database_is_away() {
    let (mut world, mut access) = (site(1), access());
    decided(&mut access, &mut world, &article(1), at(0));
    access.occupied(&channel(&article(1)));
    for second in 0..600 {
        let now = at(second * 1000);
        if let Some(question) = access.question(now) {
            access
                .facts
                .answer(&question, Err(Failure::Unavailable("gone".into())), now);
        }
        assert_eq!(access.facts.take_changed(now), []);
        assert_eq!(review(&mut access, &article(1), now), Verdict::Yes(()));
    }
    assert_eq!(
        decide(&mut access, &article(1), at(600_000)),
        Verdict::NotYet,
        "a new subscriber is not admitted"
    );
}

#[test]
fn a_question_that_the_database_refuses_denies_access() {
    let (mut world, mut access) = (site(1), access());
    decide(&mut access, &article(1), at(0));
    for (n, failure) in [Failure::Refused("no such table".into()), Failure::Malformed("x".into())]
        .into_iter()
        .enumerate()
    {
        let now = at(n as u64 * 10_000);
        decide(&mut access, &article(1), now);
        let question = access.question(now).unwrap();
        access.facts.answer(&question, Err(failure), now);
        assert_eq!(decide(&mut access, &article(1), now), UNKNOWABLE);
        assert_eq!(access.question(now), None, "a refusal is an answer");
    }
    assert_eq!(
        decided(&mut access, &mut world, &article(1), at(20_000)),
        Verdict::Yes(()),
        "the database answers again"
    );
}

#[test]
fn a_malformed_row_denies_access_to_no_other_item() {
    let (mut world, mut access) = (site(100), access());
    world.poison.insert(50);
    for id in 1..=100 {
        decide(&mut access, &article(id), at(0));
        access.occupied(&channel(&article(id)));
    }
    pump(&mut access, &mut world, at(0));
    for id in 1..=100 {
        let expected = if id == 50 { UNKNOWABLE } else { Verdict::Yes(()) };
        assert_eq!(decide(&mut access, &article(id), at(0)), expected, "{id}");
    }
    assert_eq!(world.asked, 101);
    // From here on the item is asked for by itself, and the others together.
    world.asked = 0;
    access.recheck_all();
    pump(&mut access, &mut world, at(1000));
    assert!(world.asked <= 3, "{}", world.asked);
    world.poison.clear();
    access.recheck_all();
    pump(&mut access, &mut world, at(2000));
    assert_eq!(decide(&mut access, &article(50), at(2000)), Verdict::Yes(()));
    world.asked = 0;
    access.recheck_all();
    pump(&mut access, &mut world, at(3000));
    assert_eq!(world.asked, 1, "the item is asked for together with the others again");
}

#[test]
fn a_lost_question_is_asked_again() {
    let (mut world, mut access) = (site(1), access());
    decide(&mut access, &article(1), at(0));
    let lost = access.question(at(0)).unwrap();
    assert_eq!(access.question(at(10_000)), None);
    assert_eq!(access.question_due(), Time(10_000_001));
    let again = access.question(at(10_001)).unwrap();
    assert_eq!(again, lost);
    access.facts.answer(&again, world.ask(&again, at(10_001)), at(10_001));
    // The answer to the first question arrives late: it does not count.
    access.facts.answer(&lost, Ok(Answer::Items(Vec::new())), at(10_002));
    assert_eq!(decide(&mut access, &article(1), at(10_002)), Verdict::Yes(()));
}

#[test]
fn unrequested_rows_and_answers_to_other_questions_change_nothing() {
    let (mut world, mut access) = (site(2), access());
    decide(&mut access, &article(1), at(0));
    access
        .facts
        .answer(&Question::Groups, Ok(Answer::Groups(Vec::new())), at(0));
    access.facts.answer(
        &Question::Categories(vec![1]),
        Ok(Answer::Categories(Vec::new())),
        at(0),
    );
    let question = access.question(at(0)).unwrap();
    let both = Question::Items {
        kind: 0,
        ids: vec![1, 2],
    };
    access.facts.answer(&question, world.ask(&both, at(0)), at(0));
    assert_eq!(decide(&mut access, &article(1), at(0)), Verdict::Yes(()));
    assert_eq!(decide(&mut access, &article(2), at(0)), Verdict::NotYet);
}

#[test]
fn a_changed_item_is_asked_for_at_once() {
    let (mut world, mut access) = (site(2), access());
    for id in 1..=2 {
        decided(&mut access, &mut world, &article(id), at(0));
    }
    access.occupied(&channel(&article(1)));
    world.items.get_mut(&(0, 1)).unwrap().state = 0;
    world.asked = 0;
    access.recheck("com_content.article", 1);
    access.recheck("com_content.article", 2);
    access.recheck("com_content.article", 3);
    access.recheck("com_unknown.thing", 1);
    assert!(access.question_due() <= at(100).at, "now");
    assert_eq!(
        review(&mut access, &article(1), at(100)),
        Verdict::NotYet,
        "the old facts do not count"
    );
    let question = access.question(at(100)).unwrap();
    assert_eq!(
        question,
        Question::Items { kind: 0, ids: vec![1] },
        "unwatched items are not asked for"
    );
    access.facts.answer(&question, world.ask(&question, at(100)), at(100));
    assert_eq!(access.facts.take_changed(at(100)), [channel(&article(1))]);
    assert_eq!(access.facts.take_changed(at(100)), []);
    assert_eq!(review(&mut access, &article(1), at(100)), HIDDEN);
    assert_eq!(decide(&mut access, &article(2), at(100)), Verdict::NotYet);
}

#[test]
fn a_recheck_between_question_and_answer_asks_again() {
    let (mut world, mut access) = (site(2), access());
    for watched in [true, false] {
        let subject = article(1 + u64::from(watched));
        if watched {
            access.occupied(&channel(&subject));
        }
        decide(&mut access, &subject, at(0));
        let question = access.question(at(0)).unwrap();
        let old = world.ask(&question, at(0));
        access.recheck("com_content.article", 1 + u64::from(watched));
        access.facts.answer(&question, old, at(0));
        assert_eq!(decide(&mut access, &subject, at(0)), Verdict::NotYet);
        assert_eq!(decided(&mut access, &mut world, &subject, at(0)), Verdict::Yes(()));
    }
}

#[test]
fn a_changed_category_rechecks_everything_below_it() {
    let (mut world, mut access) = (site(3), access());
    let elsewhere = Category {
        parent: 1,
        ..world.categories[&9].clone()
    };
    world.categories.insert(7, elsewhere);
    world.items.get_mut(&(0, 3)).unwrap().category = Some(7);
    let all = [
        article(1),
        article(2),
        article(3),
        category(7),
        category(8),
        category(9),
    ];
    for subject in &all {
        assert_eq!(decided(&mut access, &mut world, subject, at(0)), Verdict::Yes(()));
        access.occupied(&channel(subject));
    }
    world.categories.get_mut(&8).unwrap().published = 0;
    world.asked = 0;
    for _ in 0..5000 {
        access.recheck("com_content.category", 8);
    }
    pump(&mut access, &mut world, at(100));
    assert_eq!(world.asked, 2, "one question about articles, one about categories");
    assert_eq!(
        access.facts.take_changed(at(100)),
        [category(8), category(9), article(1), article(2)].map(|subject| channel(&subject))
    );
    for (subject, expected) in all
        .iter()
        .zip([HIDDEN, HIDDEN, Verdict::Yes(()), Verdict::Yes(()), HIDDEN, HIDDEN])
    {
        assert_eq!(review(&mut access, subject, at(100)), expected, "{subject:?}");
    }
    // Too many rechecks become a recheck of everything.
    for id in 0..5000 {
        access.recheck("com_content.category", 1_000_000 + id);
        access.facts.assert_consistent();
    }
    world.asked = 0;
    pump(&mut access, &mut world, at(200));
    assert_eq!(world.asked, 2);
    assert_eq!(access.facts.take_changed(at(200)), [], "nothing has changed");
}

#[test]
fn everything_can_be_rechecked() {
    let (mut world, mut access) = (site(200), access());
    for id in 1..=200 {
        decide(&mut access, &article(id), at(0));
    }
    pump(&mut access, &mut world, at(0));
    (1..=100).for_each(|id| access.occupied(&channel(&article(id))));
    world.items.values_mut().for_each(|item| item.access = 3);
    world.asked = 0;
    access.recheck_all();
    access.recheck_all();
    pump(&mut access, &mut world, at(100));
    assert_eq!(world.asked, 1, "only watched items are asked for");
    assert_eq!(access.facts.take_changed(at(100)).len(), 100);
    assert_eq!(review(&mut access, &article(1), at(100)), HIDDEN);
    assert_eq!(review(&mut access, &article(200), at(100)), Verdict::NotYet);
}

#[test]
fn watches_are_counted() {
    let (mut world, mut access) = (site(1), access());
    decided(&mut access, &mut world, &article(1), at(0));
    let names = ["private-", "presence-", "private-cache-"].map(|form| format!("{form}com_content.article.1"));
    names.iter().for_each(|name| access.occupied(name));
    access.vacated(&names[0]);
    access.vacated(&names[1]);
    assert_eq!(access.facts.count(), (1, 1));
    assert_ne!(access.question_due(), Time::NEVER);
    access.vacated(&names[2]);
    assert_eq!(access.facts.count(), (1, 0));
    assert_eq!(access.question_due(), Time::NEVER);
    access.occupied("private-user-1");
    access.vacated("private-user-1");
    access.question(at(6000));
    assert_eq!(access.facts.count(), (0, 0));
    access.facts.assert_consistent();
}

#[test]
fn a_watched_item_without_a_fact_is_asked_for_and_reported() {
    let (mut world, mut access) = (site(1), access());
    access.occupied(&channel(&article(1)));
    access.facts.assert_consistent();
    pump(&mut access, &mut world, at(0));
    assert_eq!(access.facts.take_changed(at(0)), [channel(&article(1))]);
    assert_eq!(review(&mut access, &article(1), at(0)), Verdict::Yes(()));
}

/// The seconds of our clock in which an article appears and disappears. Its dates are 30 and 70 s from the start.
/// `ahead`: the seconds by which the database's clock is ahead.
fn shown(ahead: i64) -> (i64, i64) {
    let (mut world, mut access) = (site(1), access());
    world.ahead = ahead;
    let item = world.items.get_mut(&(0, 1)).unwrap();
    (item.up, item.down) = (Some(EPOCH + 30), Some(EPOCH + 70));
    let visible = |second: &i64| {
        let verdict = decided(&mut access, &mut world, &article(1), at(*second as u64 * 1000));
        verdict == Verdict::Yes(())
    };
    let seconds: Vec<i64> = (0..120).filter(visible).collect();
    (seconds[0], seconds[seconds.len() - 1] + 1)
}

#[test]
fn an_item_is_shown_only_while_both_clocks_are_within_its_dates() {
    for ahead in -CLOCK_TOLERANCE..=CLOCK_TOLERANCE {
        assert_eq!(shown(ahead), (30, 71), "a few seconds do not matter: {ahead}");
    }
    for ahead in [6, 7, 10, 20] {
        // A database clock behind ours decides when the article opens; one ahead of ours decides when it closes.
        let (opens, closes) = (shown(-ahead).0, shown(ahead).1);
        assert!(
            (30 + ahead..=30 + ahead + CLOCK_TOLERANCE).contains(&opens),
            "{ahead}: {opens}"
        );
        assert!(
            (71 - ahead - CLOCK_TOLERANCE..=71 - ahead).contains(&closes),
            "{ahead}: {closes}"
        );
        assert_eq!((shown(ahead).0, shown(-ahead).1), (30, 71), "{ahead}");
    }
}

#[test]
fn a_difference_of_the_clocks_is_no_change_of_the_item() {
    let row = |clock| {
        let item = ItemRow {
            id: 1,
            access: 1,
            state: 1,
            publish_up: Some(EPOCH),
            publish_down: Some(EPOCH),
            categories: None,
            clock,
        };
        visible::by_our_clock(item, at(0))
    };
    assert_eq!(row(EPOCH), row(EPOCH + CLOCK_TOLERANCE));
    assert_eq!(row(EPOCH + 61), row(EPOCH + 64));
    assert_ne!(row(EPOCH), row(EPOCH + 61));
    for clock in [i64::MIN, i64::MAX] {
        row(clock);
    }
}

#[test]
fn a_date_changes_an_item_without_a_question() {
    let (mut world, mut access) = (site(1), access());
    let item = world.items.get_mut(&(0, 1)).unwrap();
    (item.up, item.down) = (Some(EPOCH + 3), Some(EPOCH + 7));
    decided(&mut access, &mut world, &article(1), at(500));
    access.occupied(&channel(&article(1)));
    let mut changes = Vec::new();
    let mut now = at(500);
    while now.at < at(15_000).at {
        now = at(access.deadline().0.div_ceil(1000).min(15_000));
        assert_eq!(access.question(now), None, "a date needs no question");
        if !access.facts.take_changed(now).is_empty() {
            changes.push((now.at.0 / 1000, review(&mut access, &article(1), now)));
        }
    }
    assert_eq!(changes, [(3000, Verdict::Yes(())), (8000, HIDDEN)]);
    access.vacated(&channel(&article(1)));
    access.facts.assert_consistent();
}

#[test]
fn the_sweep_asks_for_every_item_within_its_interval_and_spreads_the_questions() {
    const COUNT: u64 = 5000;
    let (mut world, mut access) = (site(COUNT), access());
    let interval = Duration::from_secs(config().joomla.sweep_interval);
    // All entries come at once, as after a restart.
    for id in 1..=COUNT {
        access.occupied(&channel(&article(id)));
    }
    access.occupied(&channel(&category(9)));
    let mut last: BTreeMap<u64, Time> = BTreeMap::new();
    let mut per_second: BTreeMap<u64, usize> = BTreeMap::new();
    let mut now = at(0);
    while now.at < at(200_000).at {
        while let Some(question) = access.question(now) {
            if let Question::Items { ids, .. } = &question {
                for id in ids {
                    let before = last.insert(*id, now.at).unwrap_or(now.at);
                    assert!(
                        now.at.since(before) <= interval,
                        "{id} waited {:?}",
                        now.at.since(before)
                    );
                }
            }
            *per_second.entry(now.at.seconds()).or_default() += 1;
            let answer = world.ask(&question, now);
            access.facts.answer(&question, answer, now);
        }
        access.facts.take_changed(now);
        now = at(access.question_due().0.div_ceil(1000).max(now.at.0 / 1000 + 1));
    }
    assert_eq!(last.len() as u64, COUNT);
    assert!(last.values().all(|seen| at(200_000).at.since(*seen) <= interval));
    // At least fifty full questions are needed in an interval. Half as many again are allowed for the spread, and as
    // many for incomplete batches.
    let later: usize = per_second.range(50..200).map(|(_, count)| count).sum();
    assert!(later <= 2 * 150 / 30 * 50, "{later} questions");
    let worst = per_second.range(50..).map(|(_, count)| *count).max();
    assert!(worst <= Some(10), "{worst:?} in a second");
}

#[test]
fn neither_the_sweep_nor_newcomers_starve_the_other() {
    let (mut world, mut access) = (site(5000), access());
    for id in 1..=500 {
        access.occupied(&channel(&article(id)));
    }
    pump(&mut access, &mut world, at(0));
    for id in 501..=5000 {
        decide(&mut access, &article(id), at(30_000));
    }
    let mut sweeps = 0;
    for _ in 0..10 {
        let Some(Question::Items { ids, .. }) = access.question(at(30_000)) else {
            panic!("no question is due")
        };
        sweeps += usize::from(ids[0] <= 500);
    }
    assert_eq!(sweeps, 5);
}

#[test]
fn the_number_of_entries_is_limited() {
    let mut access = access();
    for id in 1..=MOST as u64 * 3 {
        assert_eq!(decide(&mut access, &article(id), at(0)), Verdict::NotYet);
    }
    assert_eq!(access.facts.count(), (MOST, 0));
    access.facts.assert_consistent();
    // The newest entries are still asked for, oldest first, and no others.
    let Some(Question::Items { ids, .. }) = access.question(at(0)) else {
        panic!("no question is due")
    };
    assert_eq!(ids[0], MOST as u64 * 2 + 1);
    access.facts.assert_consistent();
}

#[test]
fn watched_entries_are_never_dropped_and_no_visitor_is_admitted_without_room() {
    let mut access = access();
    for id in 1..=MOST as u64 {
        access.occupied(&channel(&article(id)));
    }
    assert_eq!(access.facts.count(), (MOST, MOST));
    assert_eq!(decide(&mut access, &article(1_000_000), at(0)), FULL);
    assert_eq!(decide(&mut access, &article(1), at(0)), Verdict::NotYet);
    access.vacated(&channel(&article(7)));
    assert_eq!(decide(&mut access, &article(1_000_000), at(0)), Verdict::NotYet);
    assert_eq!(access.facts.count(), (MOST, MOST - 1));
    access.facts.assert_consistent();
}

#[test]
fn other_item_types_drop_all_facts() {
    let (mut world, mut access) = (site(1), access());
    decided(&mut access, &mut world, &order(1), at(0));
    access.occupied(&channel(&order(1)));
    let mut other = config();
    access.reconfigure(&other);
    assert_eq!(access.facts.count(), (1, 1), "nothing has changed");
    other.items.clear();
    access.reconfigure(&other);
    assert_eq!(access.facts.count(), (0, 0));
    assert_eq!(
        decide(&mut access, &order(1), at(0)),
        SIGNATURE,
        "the item type is unknown now"
    );
    assert_eq!(access.question(at(0)), None);
}

#[test]
fn two_channels_about_one_item_are_both_watched_after_a_change_of_the_types() {
    let mut access = access();
    let names = ["private-com_content.article.1", "presence-com_content.article.1"];
    names.iter().for_each(|name| access.occupied(name));
    let mut other = config();
    other.items.clear();
    access.reconfigure(&other);
    assert_eq!(access.facts.count(), (1, 1));
    access.vacated(names[0]);
    assert_eq!(access.facts.count(), (1, 1), "the other channel has subscribers");
    access.vacated(names[1]);
    assert_eq!(access.facts.count(), (1, 0));
}

/// A subscriber, and the verdict that holds for it.
struct Subscriber {
    subject: Subject,
    levels: Vec<u32>,
    in_force: Verdict,
}

/// A site that changes and a database that fails, with rechecks or without. In the end every subscriber has the right
/// verdict.
#[test]
fn in_the_end_every_subscriber_has_the_verdict_of_joomla() {
    let interval = config().joomla.sweep_interval * 1000;
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut world, mut access) = (random_world(&mut rng), access());
        let mut subscribers: Vec<Subscriber> = Vec::new();
        let mut ms = 0;
        let mut pending: Vec<Box<str>> = Vec::new();
        let until = 120_000;
        // The last interval and two seconds are quiet: nothing changes except by dates, and the database answers.
        while ms < until + interval + 2000 {
            let (now, quiet) = (at(ms), ms > until);
            if !quiet {
                pending.extend(live(&mut rng, &mut world, &mut access, &mut subscribers, now));
            }
            while let Some(question) = access.question(now) {
                if !quiet && rng.random_bool(0.1) {
                    match rng.random_range(0..3) {
                        // The question gets no answer.
                        0 => {}
                        1 => access.facts.answer(&question, Err(Failure::Refused("no".into())), now),
                        _ => access
                            .facts
                            .answer(&question, Err(Failure::Unavailable("gone".into())), now),
                    }
                } else {
                    let answer = world.ask(&question, now);
                    access.facts.answer(&question, answer, now);
                }
            }
            access.facts.assert_consistent();
            pending.extend(access.facts.take_changed(now));
            let mut left = Vec::new();
            for name in std::mem::take(&mut pending) {
                for subscriber in subscribers
                    .iter_mut()
                    .filter(|subscriber| channel(&subscriber.subject) == name)
                {
                    let visitor = with(42, &[1], &subscriber.levels);
                    match access.judge_visitor(&subscriber.subject, &visitor, &Acl::default(), Age::Any, now) {
                        Verdict::NotYet => left.push(name.clone()),
                        verdict => subscriber.in_force = verdict,
                    }
                }
            }
            left.dedup();
            pending = left;
            let step = if quiet { 50 } else { rng.random_range(1..1500) };
            ms += step;
        }
        let unix = EPOCH + (ms / 1000) as i64;
        assert!(pending.is_empty());
        for subscriber in &subscribers {
            let shown = world.shows(&subscriber.subject, &subscriber.levels, unix);
            let expected = if shown { Verdict::Yes(()) } else { HIDDEN };
            assert_eq!(subscriber.in_force, expected, "seed {seed}: {:?}", subscriber.subject);
        }
        // When all subscribers leave, nothing is left.
        while !subscribers.is_empty() {
            leave(&mut access, &mut subscribers, 0);
        }
        access.question(at(ms + 20_000));
        access.facts.assert_consistent();
        assert_eq!(access.facts.count(), (0, 0), "seed {seed}");
    }
}

/// A subscriber leaves; the last one of a channel leaves it empty.
fn leave(access: &mut Access, subscribers: &mut Vec<Subscriber>, index: usize) {
    let gone = subscribers.swap_remove(index).subject;
    if !subscribers.iter().any(|subscriber| subscriber.subject == gone) {
        access.vacated(&channel(&gone));
    }
}

/// A random event of a site. Returns the channel of a visitor who waits for a verdict.
fn live(
    rng: &mut StdRng,
    world: &mut World,
    access: &mut Access,
    subscribers: &mut Vec<Subscriber>,
    now: Now,
) -> Option<Box<str>> {
    let mut waiting = None;
    let subject = random_subject(rng);
    let levels: Vec<u32> = (1..4).filter(|_| rng.random_bool(0.7)).collect();
    let verdict = access.judge_visitor(&subject, &with(42, &[1], &levels), &Acl::default(), Age::Fresh, now);
    if verdict == Verdict::Yes(()) || rng.random_bool(0.1) {
        // Some subjects are watched already while their visitors wait.
        if !subscribers.iter().any(|subscriber| subscriber.subject == subject) {
            access.occupied(&channel(&subject));
        }
        waiting = (verdict == Verdict::NotYet).then(|| channel(&subject));
        let in_force = verdict;
        subscribers.push(Subscriber {
            subject,
            levels,
            in_force,
        });
    }
    if !subscribers.is_empty() && rng.random_bool(0.1) {
        leave(access, subscribers, rng.random_range(0..subscribers.len()));
    }
    if rng.random_bool(0.5) {
        let (kind, id) = (rng.random_range(0..2), rng.random_range(1..32));
        let mut other = random_world(rng);
        match other.items.remove(&(kind, id)).filter(|_| rng.random_bool(0.9)) {
            Some(item) => drop(world.items.insert((kind, id), item)),
            None => drop(world.items.remove(&(kind, id))),
        }
        if rng.random_bool(0.5) {
            access.recheck(["com_content.article", "com_shop.order"][kind], id);
        }
    }
    if rng.random_bool(0.2) {
        let id = rng.random_range(2..12);
        let mut other = random_world(rng);
        world.categories.extend(other.categories.remove_entry(&id));
        if rng.random_bool(0.5) {
            access.recheck("com_content.category", id);
        }
    }
    if rng.random_bool(0.02) {
        access.recheck_all();
    }
    waiting
}
