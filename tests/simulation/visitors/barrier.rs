//! A control row is a barrier: rows that were committed with it or after it wait for the connections that it may
//! concern, until the site has answered. Nothing else waits.

use std::time::Duration;

use jsocketd::store::NewRow;
use serde_json::json;

use super::{Published, Speaks, Stage, State, Visitor, scene};
use crate::tables::control;

/// How long a subscription is held at the most.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

const ITEM: &str = "private-com_content.article.3";
const OTHER: &str = "private-com_content.article.1";

/// A scene with two items that every visitor may see; the page subscribes to both, and to `news`.
fn at_the_item(speaks: Speaks) -> Stage {
    let mut stage = scene(speaks);
    for article in stage.base.borrow_mut().tables.items[0].values_mut() {
        article.access = 1;
    }
    for channel in [ITEM, OTHER, "news"] {
        assert!(stage.enters(channel), "{channel}");
    }
    stage
}

impl Stage {
    /// Commits rows of these channels, behind a control row if there is one. Their keys.
    fn commit(&mut self, control: Option<NewRow>, channels: &[&'static str]) -> Vec<u64> {
        let mut base = self.base.borrow_mut();
        let outbox = &mut base.tables.outbox;
        let transaction = outbox.begin();
        let mut keys = Vec::new();
        for channel in channels {
            let k = self.published.len() as u64;
            let row = Published {
                padding: self.padding,
                channel: (*channel).into(),
                committed: Some(self.commits),
            };
            outbox.insert(transaction, row.row(k));
            self.published.push(row);
            self.commits += 1;
            keys.push(k);
        }
        // Where it stands in its transaction does not count.
        control.into_iter().for_each(|row| _ = outbox.insert(transaction, row));
        outbox.commit(transaction);
        keys
    }

    fn heard(&self, who: usize, channel: &str) -> Vec<u64> {
        self.people[who].watches[channel].handled.iter().copied().collect()
    }

    /// Questions for these are left alone.
    fn rests(&self, kinds: &[&'static str]) {
        self.base.borrow_mut().lines[0].link.resting = kinds.iter().copied().collect();
    }

    fn passes(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }
}

fn recheck_item() -> Option<NewRow> {
    Some(control(
        "recheck-item",
        &json!({"type": "com_content.article", "id": 3}),
    ))
}

fn user(verb: &str) -> Option<NewRow> {
    Some(control(verb, &json!({"user_id": 42})))
}

#[test]
fn rows_of_an_item_wait_until_it_was_looked_at_and_nothing_else_waits() {
    for speaks in [Speaks::Stock, Speaks::Recovering] {
        for down in [false, true] {
            let mut stage = at_the_item(speaks);
            stage.rests(&["items"]);
            let rows = stage.commit(recheck_item(), &[ITEM, OTHER, "news", ITEM]);
            stage.run(Duration::from_millis(300));
            assert_eq!(stage.heard(0, ITEM), [0; 0]);
            assert_eq!(stage.heard(0, OTHER), [rows[1]], "another item");
            assert_eq!(stage.heard(0, "news"), [rows[2]]);
            let position = stage.people[0].watches[ITEM].positions.get("o").cloned();
            let later = stage.commit(None, &[OTHER, ITEM]);
            stage.run(Duration::from_millis(300));
            if down {
                stage.rests(&[]);
                stage.base.borrow_mut().go_down(true, false);
                stage.passes(10);
            }
            stage.send(0, &json!({"event": "pusher:ping", "data": {}}));
            stage.passes(2);
            assert_eq!(stage.heard(0, ITEM), [0; 0]);
            assert_eq!(stage.heard(0, OTHER), [rows[1], later[0]]);
            assert_eq!(
                stage.people[0].watches[ITEM].positions.get("o").cloned(),
                position,
                "it has not got so far"
            );
            stage.rests(&[]);
            if down {
                stage.base.borrow_mut().come_up();
            }
            stage.passes(5);
            assert_eq!(
                stage.heard(0, ITEM),
                [rows[0], rows[3], later[1]],
                "it may receive them"
            );
            let last = stage.commit(None, &[ITEM]);
            stage.passes(1);
            assert_eq!(stage.heard(0, ITEM).last(), last.last());
        }
    }
}

#[test]
fn rows_of_an_item_that_is_not_shown_any_more_never_come() {
    for speaks in [Speaks::Stock, Speaks::Recovering] {
        for rests in [false, true] {
            let mut stage = at_the_item(speaks);
            if rests {
                stage.rests(&["items"]);
            }
            let before = stage.commit(None, &[ITEM]);
            stage.run(Duration::from_millis(300));
            stage.base.borrow_mut().tables.items[0].get_mut(&3).unwrap().state = 0;
            stage.commit(recheck_item(), &[ITEM, ITEM]);
            stage.commit(None, &[ITEM]);
            stage.passes(2);
            stage.rests(&[]);
            stage.passes(3);
            assert_eq!(stage.people[0].watches[ITEM].state, State::Out, "it is turned out");
            assert_eq!(stage.heard(0, ITEM), before);
            assert!(stage.people[0].alive && stage.is_in(OTHER));
            // Nor by recovery.
            assert!(!stage.enters(ITEM));
            stage.base.borrow_mut().tables.items[0].get_mut(&3).unwrap().state = 1;
            stage.commit(recheck_item(), &[]);
            stage.passes(1);
            assert!(stage.enters(ITEM));
            assert_eq!(stage.heard(0, ITEM), [0; 0], "it begins anew");
        }
    }
}

#[test]
fn rows_for_a_user_wait_until_it_was_looked_at_and_others_get_theirs() {
    for speaks in [Speaks::Stock, Speaks::Recovering] {
        let mut stage = at_the_item(speaks);
        let cookie = stage.base.borrow_mut().log_in(None, 43);
        stage.visitors.push(Visitor {
            cookie: Some(cookie),
            user: 43,
            own: true,
        });
        stage.come();
        stage.people[1].visitor = 1;
        stage.people[1].speaks = speaks;
        stage.end(1);
        stage.connect(1);
        stage.passes(1);
        stage.subscribe(1, "news");
        stage.passes(1);
        stage.rests(&["sessions"]);
        let rows = stage.commit(user("recheck-user"), &["news", OTHER]);
        stage.passes(3);
        assert_eq!((stage.heard(0, "news"), stage.heard(0, OTHER)), (vec![], vec![]));
        assert_eq!(stage.heard(1, "news"), [rows[0]]);
        stage.rests(&[]);
        stage.passes(1);
        assert_eq!(
            (stage.heard(0, "news"), stage.heard(0, OTHER)),
            (vec![rows[0]], vec![rows[1]])
        );
        // The session is gone.
        stage
            .base
            .borrow_mut()
            .tables
            .sessions
            .retain(|_, session| session.user_id != 42);
        let rows = stage.commit(user("recheck-user"), &["news"]);
        stage.passes(1);
        assert!(!stage.people[0].alive);
        assert_eq!(stage.heard(1, "news").last(), rows.last());
    }
}

#[test]
fn a_terminated_user_receives_no_row_committed_with_the_control_row() {
    for speaks in [Speaks::Stock, Speaks::Recovering] {
        for rests in [false, true] {
            let mut stage = at_the_item(speaks);
            assert!(stage.enters("private-user-42"));
            stage.base.borrow_mut().tables.users.get_mut(&42).unwrap().blocked = true;
            if rests {
                stage.rests(&["sessions", "users", "items"]);
            }
            stage.commit(user("terminate-user"), &["private-user-42", ITEM, "news"]);
            stage.passes(1);
            assert!(!stage.people[0].alive, "it is closed");
            for channel in ["private-user-42", ITEM, "news"] {
                assert_eq!(stage.people[0].watches[channel].handled.len(), 0, "{channel}");
            }
            stage.rests(&[]);
        }
    }
}

#[test]
fn while_the_rights_are_read_all_channels_wait_but_the_signed_ones() {
    for speaks in [Speaks::Stock, Speaks::Recovering] {
        let mut stage = at_the_item(speaks);
        while !stage.is_in("private-x") {
            // The dice say when it signs.
            stage.enters("private-x");
        }
        stage.rests(&["levels"]);
        let rows = stage.commit(
            Some(control("recheck-access", &json!({}))),
            &["news", "private-x", ITEM],
        );
        stage.passes(3);
        assert_eq!((stage.heard(0, "news"), stage.heard(0, ITEM)), (vec![], vec![]));
        assert_eq!(stage.heard(0, "private-x"), [rows[1]]);
        stage.rests(&[]);
        stage.passes(2);
        assert_eq!(
            (stage.heard(0, "news"), stage.heard(0, ITEM)),
            (vec![rows[0]], vec![rows[2]])
        );
    }
}

#[test]
fn a_connection_that_is_held_for_too_long_must_reconnect() {
    for speaks in [Speaks::Stock, Speaks::Recovering] {
        let mut stage = at_the_item(speaks);
        let before = stage.commit(None, &[ITEM]);
        stage.passes(1);
        stage.rests(&["items"]);
        let rows = stage.commit(recheck_item(), &[ITEM, "news"]);
        let most = LONGEST_HOLD.as_secs();
        stage.passes(most / 2);
        // Others that are doubted later do not begin its time anew.
        stage.commit(recheck_item(), &[ITEM]);
        stage.passes(most / 2 - 1);
        assert!(stage.people[0].alive);
        stage.passes(3);
        assert!(!stage.people[0].alive, "it is closed with 4200");
        assert_eq!(stage.heard(0, "news"), [rows[1]]);
        stage.connect(0);
        stage.passes(10);
        assert!(!stage.is_in(ITEM), "no client is admitted before its rights are known");
        stage.rests(&[]);
        stage.passes(2);
        if speaks == Speaks::Recovering {
            assert_eq!(stage.heard(0, ITEM), before, "it was held at the row before");
        }
        assert!(stage.enters(ITEM));
    }
}

#[test]
fn a_returning_client_is_judged_by_answers_from_after_the_control_row() {
    for shown in [true, false] {
        let mut stage = at_the_item(Speaks::Recovering);
        let before = stage.commit(None, &[ITEM]);
        stage.passes(1);
        stage.end(0);
        stage.rests(&["items"]);
        stage.base.borrow_mut().tables.items[0].get_mut(&3).unwrap().state = i8::from(shown);
        let rows = stage.commit(recheck_item(), &[ITEM]);
        stage.connect(0);
        stage.passes(3);
        assert_eq!(stage.heard(0, ITEM), before, "it waits at the door");
        stage.rests(&[]);
        stage.passes(2);
        assert_eq!(stage.is_in(ITEM), shown);
        let all = if shown { [before, rows].concat() } else { before };
        assert_eq!(stage.heard(0, ITEM), all);
    }
}

#[test]
fn a_locked_control_row_delays_the_rows_behind_it_and_no_client_receives_too_much() {
    let mut stage = at_the_item(Speaks::Stock);
    let next = stage.base.borrow().tables.outbox.next;
    stage.base.borrow_mut().tables.outbox.locked.push(next + 1..=next + 1);
    stage.base.borrow_mut().tables.items[0].get_mut(&3).unwrap().state = 0;
    stage.commit(recheck_item(), &[ITEM]);
    stage.commit(None, &[ITEM]);
    stage.passes(1);
    assert_eq!(stage.heard(0, ITEM), [0; 0]);
    stage.base.borrow_mut().tables.outbox.locked.clear();
    stage.passes(2);
    assert_eq!((stage.heard(0, ITEM), stage.is_in(ITEM)), (vec![], false));
}

#[test]
fn a_client_that_signs_in_receives_no_row_before_the_new_user_is_known() {
    for shown in [true, false] {
        let mut stage = at_the_item(Speaks::Stock);
        stage.rests(&["users"]);
        stage.signs_in(41);
        stage.passes(1);
        stage.base.borrow_mut().tables.items[0].get_mut(&3).unwrap().state = i8::from(shown);
        let rows = stage.commit(recheck_item(), &[ITEM]);
        stage.passes(2);
        assert_eq!(stage.heard(0, ITEM), [0; 0]);
        stage.rests(&[]);
        stage.passes(2);
        assert_eq!(stage.is_in(ITEM), shown);
        assert_eq!(stage.heard(0, ITEM), if shown { rows } else { vec![] });
    }
}

/// The missed events are sent in parts, each when the one before has left. A control row can come between two of them.
#[test]
fn a_recovery_that_is_under_way_stops_at_the_barrier() {
    for shown in [true, false] {
        let mut stage = at_the_item(Speaks::Recovering);
        stage.padding = 8000;
        stage.end(0);
        let missed = stage.commit(None, &[ITEM; 40]);
        stage.passes(1);
        stage.connect(0);
        while stage.people[0].watches[ITEM].state != State::Asked {
            stage.run(Duration::from_micros(300));
        }
        // It stops reading, so only the first part leaves the server, or less.
        let n = std::mem::replace(&mut stage.people[0].n, usize::MAX);
        stage.people[0].alive = false;
        stage.passes(1);
        stage.rests(&["items"]);
        stage.base.borrow_mut().tables.items[0].get_mut(&3).unwrap().state = i8::from(shown);
        let rows = stage.commit(recheck_item(), &[ITEM]);
        stage.passes(1);
        (stage.people[0].n, stage.people[0].alive) = (n, true);
        stage.passes(2);
        let heard = stage.heard(0, ITEM);
        assert!(!heard.is_empty() && heard.len() < 40, "{} rows", heard.len());
        stage.rests(&[]);
        stage.passes(3);
        assert_eq!(stage.is_in(ITEM), shown);
        match shown {
            true => assert_eq!(stage.heard(0, ITEM), [missed, rows].concat()),
            false => assert_eq!(stage.heard(0, ITEM), heard),
        }
    }
}

#[test]
fn no_client_is_admitted_by_answers_from_before_a_control_row() {
    let access = || Some(control("recheck-access", &json!({})));
    for (kinds, told) in [("levels", access()), ("sessions", user("recheck-user"))] {
        for shown in [true, false] {
            let mut stage = at_the_item(Speaks::Stock);
            stage.base.borrow_mut().tables.users.get_mut(&42).unwrap().groups = vec![2];
            stage.commit(user("recheck-user"), &[]);
            stage.passes(13);
            if !stage.people[0].alive {
                stage.connect(0);
                stage.passes(1);
            }
            stage.rests(&[kinds]);
            if !shown {
                let mut base = stage.base.borrow_mut();
                base.tables.levels.iter_mut().find(|level| level.id == 2).unwrap().rules = "[8]".into();
                base.tables.users.get_mut(&42).unwrap().groups = vec![1];
            }
            stage.commit(told.clone(), &[]);
            stage.run(Duration::from_millis(300));
            stage.subscribe(0, "presence-level-2");
            stage.passes(1);
            assert_eq!(
                stage.people[0].watches["presence-level-2"].state,
                State::Asked,
                "{kinds}"
            );
            stage.rests(&[]);
            stage.passes(2);
            let is_in = stage.people[0].alive && stage.is_in("presence-level-2");
            assert_eq!(is_in, shown, "{kinds}");
        }
    }
}

/// The lost rows may have included control rows.
#[test]
fn after_a_gap_all_connections_are_checked_again() {
    let mut stage = at_the_item(Speaks::Stock);
    stage.base.borrow_mut().tables.items[0].get_mut(&3).unwrap().state = 0;
    stage.base.borrow_mut().tables.outbox.state.remove("position");
    stage.passes(1);
    assert_eq!(stage.people[0].watches[ITEM].state, State::Out);
    assert!(stage.people[0].alive && stage.is_in(OTHER));
}
