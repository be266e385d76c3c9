//! What the answers and the faults of the in-memory database promise.

use super::*;
use crate::store::{
    AssetRow, CategoryRow, CategoryStep, Extensions, GroupRow, ItemRow, LevelRow, NewRow, Row, SessionId, SessionRow,
    State, Text, UserRow,
};

fn now(ms: u64) -> Now {
    Now {
        at: Time(ms * 1000),
        unix_ms: ms,
    }
}

/// Asks a database that has no faults.
fn ask(memory: &mut Memory, question: Question) -> Answer {
    let name = question.name();
    memory.ask(&question, now(0)).expect(name)
}

fn row(channel: &str, data: &str) -> NewRow {
    NewRow {
        channel: channel.into(),
        event: "saved".into(),
        data: data.into(),
        socket_id: None,
    }
}

/// The ids of the rows.
fn ids(answer: Answer) -> Vec<u64> {
    match answer {
        Answer::Rows(rows) => rows.iter().map(|row| row.id).collect(),
        Answer::Ids(ids) => ids,
        other => panic!("no rows: {other:?}"),
    }
}

fn tail(memory: &mut Memory, after: u64, runs: &[std::ops::RangeInclusive<u64>], limit: u32) -> Vec<u64> {
    let runs = runs.to_vec();
    ids(ask(memory, Question::Tail { after, runs, limit }))
}

fn state(memory: &mut Memory) -> State {
    match ask(memory, Question::State) {
        Answer::State(state) => state,
        other => panic!("no state: {other:?}"),
    }
}

#[test]
fn rows_appear_when_they_are_committed_and_their_ids_are_used_up_at_once() {
    let mut memory = Memory::default();
    let (slow, lost) = (memory.tables.begin(), memory.tables.begin());
    assert_eq!(memory.tables.insert(slow, row("a", "1")), 1);
    assert_eq!(memory.tables.insert(lost, row("a", "2")), 2);
    assert_eq!(memory.tables.publish(row("a", "3")), 3);
    assert_eq!(memory.tables.insert(slow, row("a", "4")), 4);
    assert_eq!(tail(&mut memory, 0, &[], 10), [3]);
    memory.tables.rollback(lost);
    memory.tables.commit(slow);
    assert_eq!(tail(&mut memory, 0, &[], 10), [1, 3, 4]);
    assert_eq!(memory.tables.publish(row("a", "5")), 5, "2 is lost");
}

#[test]
fn the_tail_reads_what_is_new_and_what_was_missing_by_id_up_to_its_limit() {
    let mut memory = Memory::default();
    for n in 1..=9 {
        memory.tables.publish(row("a", &n.to_string()));
    }
    assert_eq!(tail(&mut memory, 7, &[], 10), [8, 9]);
    assert_eq!(tail(&mut memory, 7, &[2..=3, 5..=5], 10), [2, 3, 5, 8, 9]);
    assert_eq!(tail(&mut memory, 7, &[2..=3, 5..=5], 4), [2, 3, 5, 8]);
    assert_eq!(tail(&mut memory, 7, &[7..=8], 10), [7, 8, 9], "once each");
    assert_eq!(tail(&mut memory, u64::MAX, &[], 10), [0; 0]);
    let channel = |channel: &str, ids, limit| Question::Channel {
        channel: channel.into(),
        ids,
        limit,
    };
    memory.tables.publish(row("A", "other"));
    memory.tables.publish(row("a", "11"));
    assert_eq!(ids(ask(&mut memory, channel("a", 8..=11, 10))), [8, 9, 11]);
    assert_eq!(ids(ask(&mut memory, channel("a", 8..=10, 1))), [8]);
    #[expect(clippy::reversed_empty_ranges, reason = "nobody may be hurt by one")]
    let reversed = 9..=8;
    assert_eq!(ids(ask(&mut memory, channel("a", reversed, 10))), [0; 0]);
}

#[test]
fn rows_are_told_as_they_are_but_long_data_are_left_out() {
    let mut memory = Memory::default();
    memory.tables.longest_data = 3;
    memory.tables.publish(row("a", "123"));
    let long = NewRow {
        socket_id: Some("1.2".into()),
        ..row("b", "1234")
    };
    memory.tables.publish(long);
    let told = |id, channel: &str, data: Option<&str>, socket_id: Option<&str>| Row {
        id,
        channel: channel.into(),
        event: "saved".into(),
        data: data.map(str::to_owned),
        socket_id: socket_id.map(str::to_owned),
    };
    let question = Question::Tail {
        after: 0,
        runs: Vec::new(),
        limit: 9,
    };
    assert_eq!(
        ask(&mut memory, question),
        Answer::Rows(vec![told(1, "a", Some("123"), None), told(2, "b", None, Some("1.2"))])
    );
}

#[test]
fn a_probe_sees_locks_and_what_is_there() {
    let mut memory = Memory::default();
    memory.tables.publish(row("a", "1"));
    let writer = memory.tables.begin();
    // A multi-row INSERT that has come as far as its first row.
    let reserved = memory.tables.reserve(3);
    assert_eq!(reserved, [2, 3, 4]);
    memory.tables.insert_at(writer, 2, row("a", "2"));
    memory.tables.publish(row("a", "5"));
    assert_eq!(
        memory.ask(&Question::Probe(1..=5), now(0)),
        Err(Failure::Locked),
        "the whole run"
    );
    assert_eq!(
        ids(ask(&mut memory, Question::Probe(3..=4))),
        [0; 0],
        "what is reserved is not locked"
    );
    memory.tables.commit(writer);
    assert_eq!(ids(ask(&mut memory, Question::Probe(1..=5))), [1, 2, 5]);
    memory.tables.locked.push(4..=9);
    assert_eq!(memory.ask(&Question::Probe(1..=4), now(0)), Err(Failure::Locked));
    assert_eq!(ids(ask(&mut memory, Question::Probe(1..=3))), [1, 2]);
    assert_eq!(memory.readiness(now(0)), Readiness::Ready, "a lock breaks nothing");
}

#[test]
fn a_delete_takes_a_range_or_gives_up() {
    let mut memory = Memory::default();
    for n in 1..=4 {
        memory.tables.publish(row("a", &n.to_string()));
    }
    let writer = memory.tables.begin();
    memory.tables.insert(writer, row("a", "5"));
    assert_eq!(memory.ask(&Question::Delete(1..=5), now(0)), Err(Failure::Locked));
    assert_eq!(tail(&mut memory, 0, &[], 10).len(), 4, "all or nothing");
    assert_eq!(ask(&mut memory, Question::Delete(0..=3)), Answer::Done);
    assert_eq!(tail(&mut memory, 0, &[], 10), [4]);
    let after = state(&mut memory);
    assert_eq!((after.lowest, after.highest, after.next), (Some(4), Some(4), 6));
}

#[test]
fn the_state_tells_both_tables() {
    let mut memory = Memory::default();
    let made = memory.tables.made.clone();
    assert_eq!(
        state(&mut memory),
        State {
            made: made.clone(),
            next: 1,
            increment: 1,
            ..State::default()
        }
    );
    let write = |name: &str, value: &str| Question::Write {
        name: name.into(),
        value: value.into(),
    };
    memory.tables.now = 1000;
    ask(&mut memory, write("position.a", "o1:1"));
    memory.tables.now = 5000;
    ask(&mut memory, write("position.b", "o1:2"));
    ask(&mut memory, write("epoch", "1"));
    ask(&mut memory, write("epoch", "2"));
    memory.tables.step = 2;
    memory.tables.publish(row("a", "1"));
    memory.tables.publish(row("a", "2"));
    memory.tables.now = 6000;
    let entry = |name: &str, value: &str, age| (name.to_owned(), value.to_owned(), age);
    assert_eq!(
        state(&mut memory),
        State {
            entries: vec![
                entry("epoch", "2", 1000),
                entry("position.a", "o1:1", 5000),
                entry("position.b", "o1:2", 1000),
            ],
            made,
            next: 5,
            lowest: Some(1),
            highest: Some(3),
            increment: 2,
            ..State::default()
        }
    );
    ask(
        &mut memory,
        Question::Forget {
            prefix: "position.".into(),
            seconds: 5,
        },
    );
    let names: Vec<_> = state(&mut memory).entries.into_iter().map(|entry| entry.0).collect();
    assert_eq!(names, ["epoch", "position.b"]);
    for (name, value) in [
        ("n".repeat(65), "v".to_owned()),
        ("ä".into(), "v".into()),
        ("n".into(), "v".repeat(256)),
    ] {
        assert!(matches!(
            memory.ask(&write(&name, &value), now(0)),
            Err(Failure::Refused(_))
        ));
    }
    ask(&mut memory, write(&"n".repeat(64), &"ü".repeat(255)));
    memory.tables.truncate("later");
    let after = state(&mut memory);
    assert_eq!((after.made.as_str(), after.next, after.highest), ("later", 1, None));
}

#[test]
fn one_client_deletes_at_a_time_until_it_says_so_or_is_gone() {
    let mut tables = Tables::default();
    let (mut one, mut two) = (Link::new(1), Link::new(2));
    let lock = |link: &mut Link, tables: &mut Tables, question| link.ask(&question, tables, now(0));
    assert_eq!(lock(&mut one, &mut tables, Question::Lock), Ok(Answer::Lock(true)));
    assert_eq!(lock(&mut two, &mut tables, Question::Lock), Ok(Answer::Lock(false)));
    assert_eq!(
        lock(&mut one, &mut tables, Question::Lock),
        Ok(Answer::Lock(true)),
        "still"
    );
    assert_eq!(
        lock(&mut two, &mut tables, Question::Unlock),
        Ok(Answer::Done),
        "not its own"
    );
    assert_eq!(lock(&mut two, &mut tables, Question::Lock), Ok(Answer::Lock(false)));
    one.fail_next(1, Failure::Unavailable("timeout".into()));
    assert!(lock(&mut one, &mut tables, Question::Groups).is_err());
    assert_eq!(lock(&mut two, &mut tables, Question::Lock), Ok(Answer::Lock(true)));
    assert_eq!(lock(&mut two, &mut tables, Question::Unlock), Ok(Answer::Done));
    assert_eq!(tables.deleter, None);
}

#[test]
fn publish_adds_all_rows_and_tells_the_first_id() {
    let mut memory = Memory::default();
    memory.tables.publish(row("a", "1"));
    let rows = vec![row("b", "2"), row("c", "3")];
    assert_eq!(ids(ask(&mut memory, Question::Publish(rows))), [2]);
    assert_eq!(tail(&mut memory, 0, &[], 10), [1, 2, 3]);
    assert_eq!(ids(ask(&mut memory, Question::Publish(Vec::new()))), [0; 0]);
}

fn id(text: &str) -> SessionId {
    SessionId::parse(text).expect(text)
}

#[test]
fn sessions_come_with_their_users_and_texts_as_they_were_asked_for() {
    let mut memory = Memory::default();
    let user = |id, mfa| UserRow {
        id,
        mfa,
        groups: vec![2],
        ..UserRow::default()
    };
    memory.tables.users = [(7, user(7, false)), (8, user(8, true))].into();
    let session = |client_id, user_id| Session {
        client_id,
        guest: user_id == 0,
        time: 100,
        user_id,
        data: Some(b"text".to_vec()),
    };
    for (key, value) in [
        ("plain", session(Some(0), 7)),
        ("mfa", session(Some(1), 8)),
        ("guest", session(Some(0), 0)),
        ("unsaid", session(None, 0)),
        ("nobody", session(Some(0), 9)),
    ] {
        memory.tables.sessions.insert(id(key), value);
    }
    let mut rows = |text| {
        let ids = ["plain", "mfa", "guest", "unsaid", "nobody", "forged", "Plain"]
            .map(id)
            .to_vec();
        match ask(&mut memory, Question::Sessions { ids, text }) {
            Answer::Sessions(rows) => rows,
            other => panic!("no sessions: {other:?}"),
        }
    };
    let with_text = |rows: &[SessionRow]| {
        let with = rows.iter().filter(|row| row.text.is_some());
        with.map(|row| row.id.expose().to_owned()).collect::<Vec<_>>()
    };
    let found = rows(Text::Never);
    assert_eq!(found.len(), 5, "unknown ids have no row, and case matters");
    let plain = found.iter().find(|row| row.id == id("plain")).expect("a row");
    assert_eq!(
        plain,
        &SessionRow {
            id: id("plain"),
            client_id: Some(0),
            guest: false,
            time: 100,
            user_id: 7,
            user: Some(user(7, false)),
            text: None
        }
    );
    let nobody = found.iter().find(|row| row.id == id("nobody")).expect("a row");
    assert_eq!((nobody.user_id, &nobody.user), (9, &None));
    assert_eq!(with_text(&found), [""; 0]);
    assert_eq!(with_text(&rows(Text::IfNeeded)), ["mfa", "unsaid"]);
    assert_eq!(with_text(&rows(Text::Always)).len(), 5);
    for (len, fetched) in [(SessionRow::LONGEST_TEXT, true), (SessionRow::LONGEST_TEXT + 1, false)] {
        let long = Session {
            data: Some(vec![b'x'; len]),
            ..session(Some(0), 7)
        };
        memory.tables.sessions.insert(id("long"), long);
        let question = Question::Sessions {
            ids: vec![id("long")],
            text: Text::Always,
        };
        assert!(matches!(ask(&mut memory, question), Answer::Sessions(rows) if rows[0].text.is_some() == fetched));
    }
    assert_eq!(
        ask(&mut memory, Question::Users(vec![8, 9])),
        Answer::Users(vec![user(8, true)])
    );
}

#[test]
fn items_and_categories_come_with_their_chains() {
    let mut memory = Memory::default();
    let category = |parent, access| Category {
        parent,
        extension: "com_content".into(),
        access,
        published: 1,
    };
    memory.tables.categories = [
        (1, category(0, 1)),
        (5, category(1, 2)),
        (6, category(5, 3)),
        (9, category(9, 1)),
    ]
    .into();
    let item = |category| Item {
        access: 4,
        state: 1,
        publish_up: Some(10),
        publish_down: None,
        category,
    };
    memory.tables.items = vec![
        [(1, item(Some(6))), (2, item(Some(404))), (3, item(Some(9)))].into(),
        [(1, item(None))].into(),
    ];
    let step = |id, access| CategoryStep {
        id,
        access,
        published: 1,
    };
    let told = |id, categories| ItemRow {
        id,
        access: 4,
        state: 1,
        publish_up: Some(10),
        publish_down: None,
        categories,
    };
    let ask_for = |kind, ids: &[u64]| Question::Items {
        kind,
        ids: ids.to_vec(),
    };
    assert_eq!(
        ask(&mut memory, ask_for(0, &[3, 1, 2, 7])),
        Answer::Items(vec![
            told(1, Some(vec![step(5, 2), step(6, 3)])),
            told(2, Some(vec![])),
            // Its own ancestor: broken, but no reason to hang.
            told(3, Some(vec![step(9, 1); 4])),
        ])
    );
    assert_eq!(ask(&mut memory, ask_for(1, &[1])), Answer::Items(vec![told(1, None)]));
    assert!(matches!(
        memory.ask(&ask_for(2, &[1]), now(0)),
        Err(Failure::Refused(_))
    ));
    assert_eq!(
        ask(&mut memory, Question::Categories(vec![6, 404])),
        Answer::Categories(vec![CategoryRow {
            id: 6,
            extension: "com_content".into(),
            chain: vec![step(5, 2), step(6, 3)]
        }])
    );
}

#[test]
fn facts_are_told_as_they_are() {
    let mut memory = Memory::default();
    let group = GroupRow {
        id: 1,
        parent: 0,
        lft: 1,
        rgt: 2,
    };
    let level = LevelRow {
        id: 1,
        rules: "[1]".into(),
    };
    let asset = AssetRow {
        name: "root.1".into(),
        rules: "{}".into(),
        lft: 0,
        rgt: 1,
    };
    let extensions = Extensions {
        com_users: Some("{}".into()),
        ..Extensions::default()
    };
    memory.tables.groups = vec![group.clone()];
    memory.tables.levels = vec![level.clone()];
    memory.tables.assets = vec![asset.clone()];
    memory.tables.extensions = extensions.clone();
    assert_eq!(ask(&mut memory, Question::Groups), Answer::Groups(vec![group]));
    assert_eq!(ask(&mut memory, Question::Levels), Answer::Levels(vec![level]));
    assert_eq!(ask(&mut memory, Question::Assets), Answer::Assets(vec![asset]));
    assert_eq!(ask(&mut memory, Question::Extensions), Answer::Extensions(extensions));
}

#[test]
fn a_failure_is_given_as_often_as_it_was_ordered_and_only_a_broken_connection_stays_broken() {
    let mut memory = Memory::default();
    memory.link.fail_next(2, Failure::Locked);
    memory.link.fail_next(1, Failure::Unavailable("timeout".into()));
    let publish = Question::Publish(vec![row("a", "1")]);
    for _ in 0..2 {
        assert_eq!(memory.ask(&publish, now(0)), Err(Failure::Locked));
        assert_eq!(memory.readiness(now(0)), Readiness::Ready);
    }
    assert_eq!(
        memory.ask(&publish, now(50)),
        Err(Failure::Unavailable("timeout".into()))
    );
    assert!(memory.tables.outbox.is_empty(), "nothing of it was carried out");
    let retry_at = now(50).at + RETRY;
    assert_eq!(memory.readiness(now(50)), Readiness::Closed(retry_at));
    assert!(matches!(memory.ask(&publish, now(51)), Err(Failure::Unavailable(_))));
    assert_eq!(
        memory.link.asked("publish"),
        3,
        "the last one did not leave the process"
    );
    assert_eq!(memory.readiness(now(1050)), Readiness::Knock);
    memory.reached(Err("refused".into()), now(1050));
    assert_eq!(memory.readiness(now(1051)), Readiness::Closed(now(2050).at));
    memory.reached(Ok(0), now(2050));
    assert_eq!(memory.readiness(now(2050)), Readiness::Ready);
    assert!(memory.ask(&publish, now(2050)).is_ok());
    memory.link.count_anew();
    assert_eq!(memory.link.asked("publish"), 0);
}

#[test]
fn an_answer_can_be_lost_although_the_question_was_carried_out() {
    let mut memory = Memory::default();
    memory.link.lose_next(1);
    let publish = Question::Publish(vec![row("a", "1")]);
    assert!(matches!(memory.ask(&publish, now(0)), Err(Failure::Unavailable(_))));
    assert_eq!(memory.tables.outbox.len(), 1);
    assert_eq!(memory.readiness(now(0)), Readiness::Closed(Time(0) + RETRY));

    let mut memory = Memory::default();
    memory.link.lose_next(1);
    assert!(memory.ask(&Question::Lock, now(0)).is_err());
    assert_eq!(memory.tables.deleter, None, "the lock went with the connection");
}

#[test]
fn a_server_that_is_down_is_noticed_by_asking() {
    let mut memory = Memory::default();
    memory.tables.down = true;
    assert_eq!(memory.readiness(now(0)), Readiness::Ready, "nobody knows yet");
    assert!(matches!(
        memory.ask(&Question::Groups, now(0)),
        Err(Failure::Unavailable(_))
    ));
    memory.reached(Ok(0), now(1000));
    assert_eq!(
        memory.readiness(now(1000)),
        Readiness::Closed(now(2000).at),
        "greeted, but then nothing"
    );
    memory.tables.down = false;
    assert_eq!(memory.readiness(now(2000)), Readiness::Knock);
    memory.reached(Ok(1), now(2000));
    assert_ne!(
        memory.readiness(now(2000)),
        Readiness::Ready,
        "there is no second endpoint"
    );
    memory.reached(Ok(0), now(3000));
    assert!(memory.ask(&Question::Groups, now(3000)).is_ok());
    assert_eq!(memory.endpoints().len(), 1);
}

#[test]
fn a_crash_ends_connections_transactions_and_locks() {
    let mut memory = Memory::default();
    ask(&mut memory, Question::Lock);
    let writer = memory.tables.begin();
    memory.tables.insert(writer, row("a", "1"));
    memory.tables.publish(row("a", "2"));
    memory.tables.locked.push(1..=9);
    memory.tables.crash();
    assert!(
        matches!(
            memory.ask(&Question::Probe(1..=9), now(0)),
            Err(Failure::Unavailable(_))
        ),
        "the old connection is dead although the server is back"
    );
    memory.reached(Ok(0), now(1000));
    assert_eq!(ids(ask(&mut memory, Question::Probe(1..=9))), [2]);
    assert_eq!(memory.tables.deleter, None);
    assert_eq!(memory.tables.publish(row("a", "3")), 3);
}

#[test]
fn a_missing_privilege_refuses_one_question_and_no_other() {
    let mut memory = Memory::default();
    memory.tables.refused.insert("levels", "SELECT command denied".into());
    assert_eq!(
        memory.ask(&Question::Levels, now(0)),
        Err(Failure::Refused("SELECT command denied".into()))
    );
    assert_eq!(ask(&mut memory, Question::Groups), Answer::Groups(Vec::new()));
}
