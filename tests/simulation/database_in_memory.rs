//! The promises of the in-memory database about its answers and its faults. The double is tested like a real database,
//! because a test that passes over a wrong double proves nothing.

use crate::memory::{Category, Item, Link, Memory, RETRY, Session, Tables};
use jsocketd::protocol::greeting::NoGreeting;
use jsocketd::protocol::position::{Place, Position};
use jsocketd::store::{
    Answer, AssetRow, CategoryRow, CategoryStep, ChannelRange, Checked, Claimed, Extensions, Failure, GroupRow,
    ItemRow, LevelRow, Look, Looked, NewRow, Old, Question, Readiness, SessionId, SessionRow, Store, Text, UserRow,
};
use jsocketd::time::{Now, Time};

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

fn place(seq: u64, mark: u64) -> Place {
    Place { seq, mark }
}

fn written(seq: u64, mark: u64) -> String {
    let place = place(seq, mark);
    Position::Table { epoch: 1, place }.to_string()
}

fn claim(look: Look) -> Question {
    let (limit, ensure) = (100, false);
    Question::Claim { look, limit, ensure }
}

fn stamp(ids: &[u64], first: u64, mark: u64) -> Question {
    let ids = ids.to_vec();
    Question::Stamp {
        ids,
        epoch: 1,
        first,
        mark,
    }
}

/// Ids that wait anywhere, and control rows among them. The transaction is ended.
fn waiting(memory: &mut Memory) -> (Vec<u64>, Vec<u64>) {
    let Answer::Claimed(Claimed { ids, control, .. }) = ask(memory, claim(Look::Behind)) else {
        panic!("it was claimed")
    };
    ask(memory, Question::Release);
    (ids, control)
}

fn look(memory: &mut Memory, look: Look) -> Looked {
    match ask(memory, Question::Look(look)) {
        Answer::Looked(looked) => looked,
        other => panic!("{other:?}"),
    }
}

/// Numbers and ids of rows.
fn rows(memory: &mut Memory, question: Question) -> Vec<(u64, u64)> {
    match ask(memory, question) {
        Answer::Rows(rows) => rows.iter().map(|row| (row.place.seq, row.id)).collect(),
        other => panic!("no rows: {other:?}"),
    }
}

fn tail(memory: &mut Memory, after: u64, limit: u32) -> Vec<(u64, u64)> {
    rows(memory, Question::Tail { after, limit })
}

/// Gives rows the next numbers.
fn number(memory: &mut Memory, ids: &[u64], mark: u64) {
    let Answer::Claimed(claimed) = ask(memory, claim(Look::Behind)) else {
        panic!("it was claimed")
    };
    let first = claimed.tables.newest.expect("a row").seq + 1;
    ask(memory, stamp(ids, first, mark));
}

// --- the outbox's tables ---------------------------------------------------------------------------------------------

#[test]
fn a_table_begins_with_a_row_and_its_position() {
    let mut memory = Memory::default();
    memory.tables.now = 5000;
    let found = |seqs: &[u64], found: &[Place]| {
        let checked = Checked {
            schema: Some("2".into()),
            position: Some(written(1, 0)),
            now_ms: 5000,
            newest: Some(place(1, 0)),
            found: found.to_vec(),
        };
        (Question::Check(seqs.to_vec()), Answer::Checked(checked))
    };
    for (question, answer) in [found(&[], &[]), found(&[0, 1, 2], &[place(1, 0)])] {
        assert_eq!(ask(&mut memory, question), answer);
    }
    assert_eq!(tail(&mut memory, 0, 10), [(1, 1)]);
    assert_eq!(waiting(&mut memory), (vec![], vec![]));
}

#[test]
fn rows_wait_when_they_are_committed_and_their_ids_are_used_up_at_once() {
    let mut memory = Memory::default();
    let outbox = &mut memory.tables.outbox;
    let (slow, lost) = (outbox.begin(), outbox.begin());
    assert_eq!(outbox.insert(slow, row("a", "2")), 2);
    assert_eq!(outbox.insert(lost, row("a", "3")), 3);
    assert_eq!(outbox.publish(row("a", "4")), 4);
    assert_eq!(outbox.insert(slow, row("a", "5")), 5);
    assert_eq!(outbox.insert(slow, row("a", "6")), 6);
    assert_eq!(waiting(&mut memory).0, [4]);
    let outbox = &mut memory.tables.outbox;
    outbox.rollback(lost);
    outbox.undo(slow, 6);
    outbox.commit(slow);
    assert_eq!(waiting(&mut memory).0, [2, 4, 5]);
    let outbox = &mut memory.tables.outbox;
    outbox.step = 10;
    assert_eq!(outbox.publish(row("a", "7")), 7, "3 and 6 are lost");
    let reserved = outbox.reserve(3);
    assert_eq!(reserved, [17, 27, 37]);
    assert!(!outbox.has(17), "a reserved id is no row");
    let chosen = outbox.begin();
    outbox.insert_at(chosen, 1000, row("a", "far above"));
    outbox.insert_at(chosen, 3, row("a", "below"));
    outbox.commit(chosen);
    assert_eq!(outbox.publish(row("a", "next")), 1010);
}

#[test]
fn a_look_finds_waiting_rows_in_their_place_and_passes_rows_in_flight() {
    let mut memory = Memory::default();
    memory.tables.now = 7000;
    for n in 2..=4 {
        memory.tables.outbox.publish(row("a", &n.to_string()));
    }
    let found = |memory: &mut Memory, place| look(memory, place).found.is_some();
    assert!(found(&mut memory, Look::Front(3)) && !found(&mut memory, Look::Front(4)));
    assert!(found(&mut memory, Look::Behind));
    let window = |after, to| Look::Window { after, to };
    assert!(found(&mut memory, window(2, 3)) && found(&mut memory, window(0, 2)));
    assert!(!found(&mut memory, window(4, 9)) && !found(&mut memory, window(0, 1)));
    number(&mut memory, &[2, 3, 4], 7000);
    assert!(!found(&mut memory, Look::Behind));
    let writer = memory.tables.outbox.begin();
    for n in 5..=9 {
        memory.tables.outbox.insert(writer, row("a", &n.to_string()));
    }
    memory.tables.outbox.most_in_flight = 10;
    let looked = look(&mut memory, Look::Behind);
    let expected = Looked {
        position: Some(written(4, 7000)),
        now_ms: 7000,
        found: None,
        highest: 9,
        next: None,
        micros: 50_050,
        pause: std::time::Duration::ZERO,
    };
    assert_eq!(looked, expected, "rows in flight have ids, and cost time");
    assert_eq!(look(&mut memory, window(0, 5)).next, Some(6));
    assert_eq!(look(&mut memory, Look::Front(9)).micros, 50);
    assert_eq!(look(&mut memory, Look::Front(0)).highest, 0, "not told");
    memory.tables.outbox.most_in_flight = 4;
    let killed = memory.ask(&Question::Look(Look::Front(0)), now(0));
    assert_eq!(killed, Err(Failure::TooLong));
    assert_eq!(memory.ask(&claim(Look::Behind), now(0)), Err(Failure::TooLong));
    assert_eq!(memory.readiness(now(0)), Readiness::Ready);
    assert!(memory.tables.outbox.is_unlocked(), "it was rolled back");
    memory.tables.outbox.state.remove("position");
    let looked = look(&mut memory, Look::Front(9));
    assert_eq!((looked.position, looked.now_ms), (None, 0));
}

#[test]
fn a_claim_reads_control_rows_last_and_a_stamp_moves_the_position() {
    let mut memory = Memory::default();
    let outbox = &mut memory.tables.outbox;
    outbox.publish(row("a", "2"));
    outbox.publish(row("#control", "3"));
    outbox.publish(row("a", "4"));
    let late = outbox.begin();
    outbox.insert(late, row("#control", "5"));
    outbox.insert(late, row("a", "6"));
    outbox.meanwhile.push(late);
    memory.tables.now = 9000;
    let claimed = ask(&mut memory, claim(Look::Front(2)));
    let tables = Checked {
        position: Some(written(1, 0)),
        now_ms: 9000,
        newest: Some(place(1, 0)),
        ..Checked::default()
    };
    let (ids, control) = (vec![3, 4], vec![3, 5]);
    assert_eq!(claimed, Answer::Claimed(Claimed { tables, ids, control }));
    assert!(memory.tables.outbox.is_open(0));
    assert_eq!(ask(&mut memory, stamp(&[3, 5, 4], 2, 9000)), Answer::Done);
    assert!(memory.tables.outbox.is_unlocked());
    assert_eq!(memory.tables.outbox.position(), Some(&*written(4, 9000)));
    assert_eq!(tail(&mut memory, 0, 10), [(1, 1), (2, 3), (3, 5), (4, 4)]);
    assert_eq!(tail(&mut memory, 1, 2), [(2, 3), (3, 5)]);
    assert_eq!(waiting(&mut memory).0, [2, 6]);
}

#[test]
fn a_stamp_is_all_or_nothing() {
    let mut memory = Memory::default();
    memory.tables.outbox.publish(row("a", "2"));
    memory.tables.outbox.publish(row("a", "3"));
    memory.tables.outbox.locked.push(3..=9);
    ask(&mut memory, claim(Look::Behind));
    assert_eq!(memory.ask(&stamp(&[2, 3], 2, 1), now(0)), Err(Failure::Locked));
    ask(&mut memory, claim(Look::Behind));
    let refused = memory.ask(&stamp(&[2, 77], 2, 1), now(0));
    assert!(matches!(refused, Err(Failure::Refused(_))), "there is no row 77");
    assert_eq!(waiting(&mut memory).0, [2, 3]);
    number(&mut memory, &[2], 1);
    ask(&mut memory, claim(Look::Behind));
    let refused = memory.ask(&stamp(&[2], 3, 1), now(0));
    assert!(matches!(refused, Err(Failure::Refused(_))), "it has a number");
    assert_eq!(memory.tables.outbox.position(), Some(&*written(2, 1)));
}

#[test]
fn one_client_stamps_at_a_time_until_its_transaction_ends() {
    let mut tables = Tables::default();
    let (mut one, mut two) = (Link::new(1), Link::new(2));
    let claims = |link: &mut Link, tables: &mut Tables| link.ask(&claim(Look::Behind), tables, now(0)).map(drop);
    assert_eq!(claims(&mut one, &mut tables), Ok(()));
    assert_eq!(claims(&mut two, &mut tables), Err(Failure::Locked));
    assert!(two.ask(&Question::Groups, &mut tables, now(0)).is_ok(), "it has none");
    assert_eq!(one.ask(&Question::Release, &mut tables, now(0)), Ok(Answer::Done));
    assert_eq!(claims(&mut two, &mut tables), Ok(()));
    // The server ends the connection of a silent process.
    tables.end(2);
    assert_eq!(claims(&mut one, &mut tables), Ok(()));
    let gone = two.ask(&Question::Release, &mut tables, now(0));
    assert!(matches!(gone, Err(Failure::Unavailable(_))), "{gone:?}");
    two.probed(Ok(0), &tables, now(2000));
    assert_eq!(claims(&mut two, &mut tables), Err(Failure::Locked));
    one.fail_next(1, Failure::Unavailable("timeout".into()));
    assert!(one.ask(&Question::Release, &mut tables, now(0)).is_err());
    assert_eq!(
        claims(&mut two, &mut tables),
        Ok(()),
        "a transaction goes with its connection"
    );
    one.probed(Ok(0), &tables, now(2000));
    let gone = one.ask(&Question::Release, &mut tables, now(2000));
    assert!(matches!(gone, Err(Failure::Unavailable(_))), "{gone:?}");
    assert_eq!(one.readiness(now(2000)), Readiness::Ready, "nothing is wrong with it");
}

#[test]
#[should_panic(expected = "groups is asked while a transaction is open")]
fn nothing_is_asked_within_a_transaction_but_its_end() {
    let mut memory = Memory::default();
    ask(&mut memory, claim(Look::Behind));
    ask(&mut memory, Question::Groups);
}

#[test]
#[should_panic(expected = "a number is left out")]
fn numbers_have_no_holes() {
    let mut memory = Memory::default();
    memory.tables.outbox.publish(row("a", "2"));
    ask(&mut memory, claim(Look::Behind));
    ask(&mut memory, stamp(&[2], 3, 1));
}

#[test]
fn a_new_epoch_goes_on_behind_the_newest_row_or_makes_one() {
    let mut memory = Memory::default();
    memory.tables.outbox.state.remove("position");
    let Answer::Claimed(claimed) = ask(&mut memory, claim(Look::Front(0))) else {
        panic!("it is claimed")
    };
    assert_eq!((claimed.tables.position, claimed.tables.now_ms), (None, 0));
    ask(&mut memory, Question::Release);
    let (look, limit, ensure) = (Look::Front(0), 1, true);
    let Answer::Claimed(claimed) = ask(&mut memory, Question::Claim { look, limit, ensure }) else {
        panic!("it is claimed")
    };
    assert_eq!(claimed.tables.position.as_deref(), Some(""));
    let renew = |newest| Question::Renew {
        epoch: 2,
        newest,
        mark: 700,
    };
    ask(&mut memory, renew(Some(place(1, 0))));
    assert_eq!(memory.tables.outbox.position(), Some("o00000002:1.0"));
    memory.tables.outbox.truncate();
    ask(&mut memory, claim(Look::Front(0)));
    ask(&mut memory, renew(None));
    assert_eq!(memory.tables.outbox.position(), Some("o00000002:1.jg"));
    assert_eq!(tail(&mut memory, 0, 10), [(1, 1)]);
}

#[test]
fn rows_are_read_as_they_are_but_long_data_are_left_out() {
    let mut memory = Memory::default();
    memory.tables.outbox.longest_data = 3;
    memory.tables.outbox.publish(row("a", "123"));
    let long = NewRow {
        socket_id: Some("1.2".into()),
        ..row("b", "1234")
    };
    memory.tables.outbox.publish(long);
    number(&mut memory, &[3, 2], 50);
    let Answer::Rows(rows) = ask(&mut memory, Question::Tail { after: 1, limit: 9 }) else {
        panic!("rows")
    };
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.place, row.data.as_deref(), row.socket_id.as_deref()))
        .collect();
    assert_eq!(
        told,
        [(place(2, 50), None, Some("1.2")), (place(3, 50), Some("123"), None)]
    );
    assert_eq!((&*rows[1].channel, &*rows[1].event), ("a", "saved"));
}

#[test]
fn a_channel_is_read_from_its_newest_row_down() {
    let mut memory = Memory::default();
    let ids: Vec<u64> = (0..6)
        .map(|n| memory.tables.outbox.publish(row(["a", "A"][n % 2], "1")))
        .collect();
    number(&mut memory, &ids, 50);
    let mut read = |after, to, limit| {
        let channel = "a".into();
        rows(
            &mut memory,
            Question::Channel(ChannelRange {
                channel,
                after,
                to,
                limit,
            }),
        )
    };
    assert_eq!(read(0, 99, 10), [(6, 6), (4, 4), (2, 2)]);
    assert_eq!(read(2, 6, 10), [(6, 6), (4, 4)]);
    assert_eq!(read(0, 5, 1), [(4, 4)]);
    assert_eq!(read(6, 5, 10), []);
}

#[test]
fn old_rows_are_deleted_in_order_but_never_the_newest_row() {
    let mut memory = Memory::default();
    let old = |limit| Question::Old {
        retention: 100,
        dead: 50,
        limit,
    };
    let beat = |process| Question::Beat {
        process,
        position: Position::NOWHERE,
    };
    memory.tables.now = 1_000_000;
    for (id, mark) in [(2, 1_000_000), (3, 1_000_001), (4, 1_000_002)] {
        assert_eq!(memory.tables.outbox.publish(row("a", "1")), id);
        number(&mut memory, &[id], mark);
    }
    ask(&mut memory, beat(7));
    memory.tables.now = 1_100_001;
    ask(&mut memory, beat(8));
    let (ids, processes) = (vec![1, 2], vec![7]);
    assert_eq!(ask(&mut memory, old(10)), Answer::Old(Old { ids, processes }));
    memory.tables.outbox.locked.push(2..=2);
    let delete = |ids: &[u64], processes: &[u32]| Question::Delete {
        ids: ids.to_vec(),
        processes: processes.to_vec(),
    };
    assert_eq!(memory.ask(&delete(&[1, 2], &[7]), now(0)), Err(Failure::Locked));
    assert_eq!(tail(&mut memory, 0, 10).len(), 4, "all or nothing");
    memory.tables.outbox.locked.clear();
    ask(&mut memory, old(10));
    assert_eq!(ask(&mut memory, delete(&[1, 2], &[7])), Answer::Done);
    assert_eq!(tail(&mut memory, 0, 10), [(3, 3), (4, 4)]);
    let Answer::State(state) = ask(&mut memory, Question::State) else {
        panic!("the state table")
    };
    let names: Vec<_> = state.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["deleter", "position", "process.00000008", "schema"]);
    assert_eq!(state[2], ("process.00000008".into(), "o00000000:0.0".into(), 0));
    memory.tables.now = 2_000_000;
    assert_eq!(
        ask(&mut memory, old(10)),
        Answer::Old(Old {
            ids: vec![3],
            processes: vec![8]
        })
    );
    ask(&mut memory, delete(&[], &[]));
    memory.tables.outbox.trim(99);
    assert_eq!(tail(&mut memory, 0, 10), [(4, 4)]);
}

#[test]
fn publish_adds_all_rows_and_returns_the_first_id() {
    let mut memory = Memory::default();
    let rows = vec![row("b", "2"), row("c", "3")];
    assert_eq!(ask(&mut memory, Question::Publish(rows)), Answer::Added(2));
    assert_eq!(waiting(&mut memory).0, [2, 3]);
    assert_eq!(ask(&mut memory, Question::Publish(Vec::new())), Answer::Added(0));
}

#[test]
fn a_lagging_node_reads_the_old_state_and_stamps_in_the_new_one() {
    let mut memory = Memory::default();
    for ms in [1000, 2000, 3000] {
        memory.tables.now = ms;
        let id = memory.tables.outbox.publish(row("a", "1"));
        number(&mut memory, &[id], ms as u64);
        memory.tables.outbox.remember(ms);
    }
    memory.link.lag = 500;
    assert_eq!(tail(&mut memory, 0, 10).len(), 3);
    assert_eq!(look(&mut memory, Look::Behind).position, Some(written(3, 2000)));
    memory.tables.now = 3499;
    assert_eq!(tail(&mut memory, 0, 10).len(), 3);
    memory.tables.now = 3500;
    assert_eq!(tail(&mut memory, 0, 10).len(), 4);
    memory.link.lag = 1200;
    let Answer::Claimed(claimed) = ask(&mut memory, claim(Look::Behind)) else {
        panic!("it is claimed")
    };
    assert_eq!(claimed.tables.newest, Some(place(4, 3000)));
}

// --- Joomla's tables -------------------------------------------------------------------------------------------------

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
            text: None,
            clock: 0,
        }
    );
    let nobody = found.iter().find(|row| row.id == id("nobody")).expect("a row");
    assert_eq!((nobody.user_id, &nobody.user), (9, &None));
    assert_eq!(with_text(&found), [""; 0]);
    assert_eq!(with_text(&rows(Text::IfNeeded)), ["mfa", "unsaid"]);
    assert_eq!(with_text(&rows(Text::OfUsers)), ["mfa", "nobody", "plain"]);
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
        clock: 0,
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
fn facts_are_read_as_they_are() {
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

// --- faults ----------------------------------------------------------------------------------------------------------

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
    assert_eq!(memory.tables.outbox.len(), 1, "nothing of it was carried out");
    let retry_at = now(50).at + RETRY;
    assert_eq!(memory.readiness(now(50)), Readiness::Closed(retry_at));
    assert!(matches!(memory.ask(&publish, now(51)), Err(Failure::Unavailable(_))));
    assert_eq!(
        memory.link.asked("publish"),
        3,
        "the last one did not leave the process"
    );
    assert_eq!(memory.readiness(now(1050)), Readiness::Probe);
    let refused = NoGreeting {
        why: "refused".to_owned(),
        taken: false,
    };
    memory.probed(Err(refused), now(1050));
    assert_eq!(memory.readiness(now(1051)), Readiness::Closed(now(2050).at));
    memory.probed(Ok(0), now(2050));
    assert_eq!(memory.readiness(now(2050)), Readiness::Ready);
    assert!(memory.ask(&publish, now(2050)).is_ok());
    memory.link.count_anew();
    assert_eq!(memory.link.asked("publish"), 0);
}

#[test]
fn a_kind_of_question_can_rest_while_the_connection_is_good() {
    let mut memory = Memory::default();
    memory.link.resting.insert("levels");
    assert!(matches!(
        memory.ask(&Question::Levels, now(0)),
        Err(Failure::Unavailable(_))
    ));
    assert_eq!(memory.readiness(now(0)), Readiness::Ready);
    ask(&mut memory, Question::Groups);
}

#[test]
fn an_answer_can_be_lost_although_the_question_was_carried_out() {
    let mut memory = Memory::default();
    memory.link.lose_next(1);
    let publish = Question::Publish(vec![row("a", "1")]);
    assert!(matches!(memory.ask(&publish, now(0)), Err(Failure::Unavailable(_))));
    assert_eq!(memory.tables.outbox.len(), 2);
    assert_eq!(memory.readiness(now(0)), Readiness::Closed(Time(0) + RETRY));

    let mut memory = Memory::default();
    memory.link.lose_next(1);
    assert!(memory.ask(&claim(Look::Behind), now(0)).is_err());
    assert!(memory.tables.outbox.is_unlocked(), "the lock went with the connection");
}

#[test]
fn the_end_of_a_transaction_can_come_after_its_connection() {
    let mut memory = Memory::default();
    memory.tables.outbox.publish(row("a", "2"));
    ask(&mut memory, claim(Look::Behind));
    memory.link.delay_next(300);
    assert!(memory.ask(&stamp(&[2], 2, 5), now(0)).is_err());
    memory.probed(Ok(0), now(1000));
    assert_eq!(tail(&mut memory, 1, 10), []);
    assert_eq!(memory.ask(&claim(Look::Behind), now(1000)), Err(Failure::Locked));
    memory.tables.now = 300;
    assert_eq!(tail(&mut memory, 1, 10), [(2, 2)]);
    assert_eq!(waiting(&mut memory).0, [0; 0]);
}

#[test]
fn a_server_that_is_down_is_noticed_by_asking() {
    let mut memory = Memory::default();
    memory.tables.down = true;
    assert_eq!(
        memory.readiness(now(0)),
        Readiness::Ready,
        "the failure has not shown yet"
    );
    assert!(matches!(
        memory.ask(&Question::Groups, now(0)),
        Err(Failure::Unavailable(_))
    ));
    memory.probed(Ok(0), now(1000));
    assert_eq!(
        memory.readiness(now(1000)),
        Readiness::Closed(now(2000).at),
        "greeted, but then nothing"
    );
    memory.tables.down = false;
    assert_eq!(memory.readiness(now(2000)), Readiness::Probe);
    memory.probed(Ok(1), now(2000));
    assert_ne!(
        memory.readiness(now(2000)),
        Readiness::Ready,
        "there is no second endpoint"
    );
    memory.probed(Ok(0), now(3000));
    assert!(memory.ask(&Question::Groups, now(3000)).is_ok());
    assert_eq!(memory.endpoints().len(), 1);
}

#[test]
fn a_crash_ends_connections_transactions_and_locks_and_may_forget_commits() {
    for forgets in [false, true] {
        let mut memory = Memory::default();
        memory.tables.outbox.publish(row("a", "2"));
        memory.tables.outbox.flush();
        memory.tables.outbox.publish(row("a", "3"));
        number(&mut memory, &[2], 5);
        ask(&mut memory, claim(Look::Behind));
        let writer = memory.tables.outbox.begin();
        memory.tables.outbox.insert(writer, row("a", "4"));
        memory.tables.outbox.locked.push(1..=9);
        memory.tables.crash(forgets);
        assert!(
            matches!(memory.ask(&Question::Release, now(0)), Err(Failure::Unavailable(_))),
            "the old connection is dead although the server is back"
        );
        memory.probed(Ok(0), now(1000));
        assert!(memory.tables.outbox.is_unlocked());
        let left = waiting(&mut memory).0;
        match forgets {
            true => assert_eq!(left, [2], "its number is forgotten too"),
            false => assert_eq!(left, [3]),
        }
        let next = memory.tables.outbox.publish(row("a", "next"));
        assert_eq!(next, if forgets { 3 } else { 5 });
        number(&mut memory, &left, 6);
    }
}

#[test]
fn tables_can_be_emptied_and_set_back() {
    let mut memory = Memory::default();
    for n in 2..=3 {
        memory.tables.outbox.publish(row("a", &n.to_string()));
    }
    number(&mut memory, &[2], 5);
    let backup = memory.tables.outbox.copy();
    number(&mut memory, &[3], 6);
    memory.tables.outbox.publish(row("a", "4"));
    memory.tables.outbox.restore(backup);
    assert_eq!(memory.tables.outbox.position(), Some(&*written(2, 5)));
    assert_eq!(waiting(&mut memory).0, [3]);
    assert_eq!(memory.tables.outbox.next, 4);
    memory.tables.outbox.truncate();
    assert_eq!((tail(&mut memory, 0, 9), waiting(&mut memory).0), (vec![], vec![]));
    assert_eq!(memory.tables.outbox.position(), Some(&*written(2, 5)), "its row stays");
    assert_eq!(memory.tables.outbox.publish(row("a", "1")), 1);
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
