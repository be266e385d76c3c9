//! Presence, counts, users and channels: one answer, whichever process is asked; and every join and leave once.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::cluster::{processes, together, wait_for_standing, wait_for_what_is_shared};
use crate::common::engine::Engine;
use crate::common::pusher::{Session, Site, decoded};
use crate::common::wait_until;

const ROOM: &str = "presence-room";

/// The ids of the members, as the API of a process lists them.
fn users(site: &Site) -> BTreeSet<String> {
    let answer = site.api().get(&format!("/channels/{ROOM}/users"), &[]);
    let users = answer["users"].as_array().expect("a list").iter();
    users
        .map(|user| user["id"].as_str().expect("a string").to_owned())
        .collect()
}

fn wait_for_users(site: &Site, count: usize) {
    wait_until(
        "the number of members is right",
        || users(site).len() == count,
        || format!("{:?}", users(site)),
    );
}

/// The members' ids in a confirmation.
fn ids(presence: &Value) -> BTreeSet<&str> {
    let ids = presence["ids"].as_array().expect("a list").iter();
    ids.filter_map(Value::as_str).collect()
}

/// The ids of the next `count` users who come or go.
fn changes(session: &mut Session, event: &str, count: usize) -> Vec<String> {
    let one = |_| {
        let message = session.next();
        assert_eq!(message["event"], event, "{message}");
        decoded(&message)["user_id"].as_str().expect("a string").to_owned()
    };
    (0..count).map(one).collect()
}

#[test]
fn members_come_and_go_once_on_four_processes() {
    let engine = Engine::start();
    let sites = processes::<4>(&engine.url());
    let mut members: Vec<Session> = Vec::new();
    for (number, site) in sites.iter().enumerate() {
        let mut session = site.connect();
        let presence = session.join(ROOM, &format!("u{number}"));
        assert_eq!(ids(&presence).len(), number + 1, "{presence}");
        for (before, other) in members.iter_mut().zip(&sites) {
            before.expect_added(ROOM, &format!("u{number}"), Value::Null);
            assert_eq!(users(other).len(), number + 1);
        }
        members.push(session);
        sites.iter().for_each(|site| wait_for_users(site, number + 1));
    }
    // A second connection of the same user on another process is no new member, and its end removes none.
    let mut tab = sites[3].connect();
    assert_eq!(ids(&tab.join(ROOM, "u0")), BTreeSet::from(["u0", "u1", "u2", "u3"]));
    wait_for_what_is_shared(&sites[3], &sites[0]);
    drop(tab);
    let mut first = members.remove(0);
    first.unsubscribe(ROOM).expect_nothing();
    for session in &mut members {
        session.expect_removed(ROOM, "u0");
        session.expect_nothing();
    }
    for site in &sites {
        wait_for_users(site, 3);
        let answer = site.api().get(
            &format!("/channels/{ROOM}"),
            &[("info", "user_count,subscription_count")],
        );
        let wanted = json!({"occupied": true, "user_count": 3, "subscription_count": 3});
        assert_eq!(answer, wanted);
        let answer = site.api().get(
            "/channels",
            &[("filter_by_prefix", "presence-"), ("info", "user_count")],
        );
        assert_eq!(answer, json!({"channels": {ROOM: {"user_count": 3}}}));
    }
}

#[test]
fn the_members_of_a_killed_process_leave_once_when_its_lease_ends() {
    const MANY: usize = 500;
    let engine = Engine::start();
    let [a, b] = processes(&engine.url());
    let mut stays = a.connect();
    stays.join(ROOM, "stays");
    let mut crowd: Vec<Session> = (0..MANY)
        .map(|n| {
            let mut session = b.connect();
            session.ask_member(ROOM, &json!({"user_id": format!("u{n}")}).to_string());
            session
        })
        .collect();
    let added = changes(&mut stays, "pusher_internal:member_added", MANY);
    assert_eq!(added.iter().collect::<BTreeSet<_>>().len(), MANY);
    assert_eq!(users(&a).len(), MANY + 1);
    assert_eq!(users(&b).len(), MANY + 1);
    let mut b = b;
    b.server.signal(Signal::KILL);
    b.server.ended();
    let removed = changes(&mut stays, "pusher_internal:member_removed", MANY);
    assert_eq!(removed.iter().collect::<BTreeSet<_>>(), added.iter().collect());
    stays.expect_nothing();
    assert_eq!(users(&a), BTreeSet::from(["stays".to_owned()]));
    wait_for_standing(&a, "together", 1);
    crowd.clear();
}

#[test]
fn a_process_that_ends_in_order_takes_its_members_along_at_once() {
    let engine = Engine::start();
    let [a, mut b] = processes(&engine.url());
    let mut stays = a.connect();
    stays.join(ROOM, "stays");
    let mut leaves = b.connect();
    leaves.join(ROOM, "leaves");
    stays.expect_added(ROOM, "leaves", Value::Null);
    b.server.signal(Signal::TERM);
    stays.expect_removed(ROOM, "leaves");
    stays.expect_nothing();
    drop(leaves);
    b.server.ended();
    wait_for_standing(&a, "together", 1);
    assert!(!a.server.log().contains("taken for dead"), "{}", a.server.log());
}

#[test]
fn a_process_that_was_taken_for_dead_comes_back_with_its_members() {
    let engine = Engine::start();
    let sites = processes::<2>(&engine.url());
    let [a, b] = &sites;
    let (mut stays, mut sleeps) = (a.connect(), b.connect());
    stays.join(ROOM, "stays");
    wait_for_users(b, 1);
    sleeps.join(ROOM, "sleeps");
    stays.expect_added(ROOM, "sleeps", Value::Null);
    b.server.signal(Signal::STOP);
    stays.expect_removed(ROOM, "sleeps");
    // Meanwhile somebody else comes, and the one who was there leaves.
    let mut comes = a.connect();
    comes.join(ROOM, "comes");
    stays.expect_added(ROOM, "comes", Value::Null);
    stays.unsubscribe(ROOM).expect_nothing();
    comes.expect_removed(ROOM, "stays");
    b.server.signal(Signal::CONT);
    comes.expect_added(ROOM, "sleeps", Value::Null);
    let mut seen =
        [sleeps.next(), sleeps.next()].map(|message| message["event"].as_str().unwrap_or_default().to_owned());
    seen.sort();
    assert_eq!(seen, ["pusher_internal:member_added", "pusher_internal:member_removed"]);
    together(&sites);
    for site in &sites {
        assert_eq!(users(site), ["comes", "sleeps"].map(str::to_owned).into());
    }
    comes.expect_nothing();
    sleeps.expect_nothing();
}
