//! Checks the outbox's tables: asks every question that the server will ask, about rows that do not exist. So nothing
//! changes.

use jsocketd::protocol::position::Position;
use jsocketd::store::mysql::package::try_package;
use jsocketd::store::schema::{HEARTBEAT, objection, schema};
use jsocketd::store::{Answer, ChannelRange, Checked, Failure, Look, NewRow, Question, Store};

use super::super::now;
use super::report::Report;
use super::site::Inspection;

/// A server whose heartbeat is older than this many milliseconds has ended.
const FRESH_MS: i64 = 60_000;

/// Reports whether the tables exist and whether the server has the privileges that it needs for them.
pub(super) fn inspect(inspection: &mut Inspection<'_>, report: &mut Report) {
    let rows = match inspection.store.ask(&Question::State, now()) {
        Ok(Answer::State(rows)) => Some(rows),
        Ok(_) => return,
        // The tables may exist: the privilege to read them is missing, and perhaps others.
        Err(failure @ Failure::Denied(_)) => {
            inspection.note(&Question::State, &failure);
            None
        }
        Err(Failure::Refused(why)) => {
            report.note("tables", "cannot be read");
            report.fault(format!(
                "the outbox's tables cannot be read ({why}); `jsocketd schema` prints the SQL that makes them"
            ));
            report.say(schema(&inspection.database.prefix));
            return;
        }
        Err(failure) => {
            report.note("tables", "cannot be read now");
            return inspection.note(&Question::State, &failure);
        }
    };
    let state = rows.as_deref().unwrap_or_default();
    let version = state.iter().find(|(name, ..)| name == "schema");
    let version = version.map(|(_, value, _)| value.as_str());
    if let Some(why) = rows.as_ref().and_then(|_| objection(version)) {
        report.note("tables", "of another version");
        return report.fault(why);
    }
    let newest = reads(inspection).map(|checked| match checked.newest {
        Some(newest) => format!("the newest row has the number {}", newest.seq),
        None => "no row has a number yet".to_owned(),
    });
    writes(inspection);
    match try_package(&mut inspection.store) {
        Ok(true) => {}
        Ok(false) => drop(inspection.locked.insert("the package's statements")),
        Err(why) => inspection.refuse("the Joomla package", why),
    }
    let beats: Vec<_> = state.iter().filter(|(name, ..)| name.starts_with(HEARTBEAT)).collect();
    for (name, position, age) in &beats {
        report.say(format!("    {name} was at {position} {} s ago", age / 1000));
    }
    if let Some(newest) = &newest {
        report.say(format!("outbox table: {newest}"));
    }
    let running = match beats.iter().filter(|(.., age)| *age < FRESH_MS).count() {
        0 => "no server reads them".to_owned(),
        1 => "one server reads them".to_owned(),
        many => format!("{many} servers read them"),
    };
    report.note(
        "tables",
        match (version, newest) {
            (Some(version), Some(newest)) => format!("version {version}; {newest}; {running}"),
            _ => "cannot be read".to_owned(),
        },
    );
}

/// Asks for all that the server reads, behind the last row.
fn reads(inspection: &mut Inspection<'_>) -> Option<Checked> {
    const BEYOND: u64 = u64::MAX - 1;
    let window = Look::Window {
        after: BEYOND,
        to: u64::MAX,
    };
    for look in [Look::Front(BEYOND), Look::Anywhere, Look::Behind, window] {
        inspection.ask(&Question::Look(look));
    }
    inspection.ask(&Question::Tail {
        after: BEYOND,
        limit: 1,
    });
    inspection.ask(&Question::Channel(ChannelRange {
        channel: "check".to_owned(),
        after: BEYOND,
        to: u64::MAX,
        limit: 1,
    }));
    match inspection.ask(&Question::Check(vec![1]))? {
        Answer::Checked(checked) => Some(checked),
        _ => None,
    }
}

/// Asks for all that the server writes, about rows that do not exist.
fn writes(inspection: &mut Inspection<'_>) {
    const NOBODY: u64 = u64::MAX;
    let look = Look::Front(NOBODY);
    let (limit, ensure) = (1, true);
    if inspection.ask(&Question::Claim { look, limit, ensure }).is_some() {
        stamp_nothing(inspection, NOBODY);
    }
    let ensure = false;
    if inspection.ask(&Question::Claim { look, limit, ensure }).is_some() {
        inspection.ask(&Question::Release);
    }
    publish_nothing(inspection);
    let (process, position) = (0, Position::NOWHERE);
    inspection.ask(&Question::Beat { process, position });
    inspection.ask(&Question::Leave(process));
    let old = Question::Old {
        retention: 7 * 24 * 3600,
        dead: 7 * 24 * 3600,
        limit: 1,
    };
    if inspection.ask(&old).is_some() {
        let (ids, processes) = (vec![NOBODY], vec![process]);
        inspection.ask(&Question::Delete { ids, processes });
    }
}

/// Publishes a row that is longer than its column. The database checks the privilege first, so nothing is written.
fn publish_nothing(inspection: &mut Inspection<'_>) {
    let row = NewRow {
        channel: "x".repeat(201),
        event: "check".to_owned(),
        data: "{}".to_owned(),
        socket_id: None,
    };
    let publish = Question::Publish(vec![row]);
    let is_right = |failure: &Failure| matches!(failure, Failure::Refused(why) if why.contains("too long"));
    expect_failure(inspection, &publish, is_right, "a row was written that is too long");
}

/// Stamps a row that does not exist: the position would be NULL, so everything is rolled back. Any other refusal
/// counts.
fn stamp_nothing(inspection: &mut Inspection<'_>, nobody: u64) {
    let stamp = Question::Stamp {
        ids: vec![nobody],
        epoch: 1,
        first: 1,
        mark: 0,
    };
    let is_right = |failure: &Failure| *failure == Failure::Locked;
    expect_failure(inspection, &stamp, is_right, "a row was changed that is not there");
}

/// Asks a question that must fail, in the way that `is_right` accepts; `otherwise` says what happened if it did not.
fn expect_failure(
    inspection: &mut Inspection<'_>,
    question: &Question,
    is_right: impl Fn(&Failure) -> bool,
    otherwise: &str,
) {
    match inspection.store.ask(question, now()) {
        Err(failure) if is_right(&failure) => {}
        Err(failure) => inspection.note(question, &failure),
        Ok(_) => inspection.refuse(question.name(), otherwise.to_owned()),
    }
}
