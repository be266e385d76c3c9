//! Reads the rows of an answer. A bad row of a session, a user, an item or a category is left out, and what it
//! describes counts as missing. So a bad row affects no other visitor, and gives no visitor another identity. A bad row
//! of the rules (groups, levels, assets) makes the whole answer useless, because the missing rule may be one that
//! forbids.

use std::collections::BTreeMap;

use mysql::Value;

use super::columns::{Bad, all, bytes, manifest_version, number, optional, parsed, seconds, text};
use super::driver::Output;
use super::outbox;
use super::sql::{USER_COLUMNS, is_cut};
use crate::store::{
    Answer, AssetRow, CategoryRow, CategoryStep, Extensions, Failure, GroupRow, ItemRow, LevelRow, Question, SessionId,
    SessionRow, UserRow,
};

/// The answer to `question`. The bad columns of rows that are left out are added to `spoiled`.
pub(super) fn answer(question: &Question, output: Output, spoiled: &mut Vec<Bad>) -> Result<Answer, Failure> {
    let rows = || output.sets.first().map_or(&[][..], Vec::as_slice);
    Ok(match question {
        Question::Sessions { ids, .. } => {
            let rows = good(rows(), session, spoiled);
            let rows = unique(rows, |row| row.id.clone(), "session.session_id", spoiled);
            Answer::Sessions(rows.into_iter().filter(|row| ids.contains(&row.id)).collect())
        }
        Question::Users(ids) => {
            let rows = good(rows(), |row| user(row)?.ok_or("users.id"), spoiled);
            let rows = unique(rows, |row| row.id, "users.id", spoiled);
            Answer::Users(rows.into_iter().filter(|row| ids.contains(&row.id)).collect())
        }
        Question::Groups => Answer::Groups(all(rows(), group)?),
        Question::Levels => Answer::Levels(all(rows(), level)?),
        Question::Assets => {
            let mut rows = all(rows(), asset)?;
            // The statement may find an asset in more than one way.
            rows.sort_by(|a, b| a.name.cmp(&b.name));
            rows.dedup_by(|a, b| a.name == b.name);
            Answer::Assets(rows)
        }
        Question::Extensions => Answer::Extensions(extensions(rows())),
        Question::Items { ids, .. } => {
            let rows = good(rows(), item, spoiled);
            let rows = unique(rows, |row| row.id, "the key of the items' table", spoiled);
            Answer::Items(rows.into_iter().filter(|row| ids.contains(&row.id)).collect())
        }
        Question::Categories(ids) => {
            let rows = good(rows(), category, spoiled);
            let rows = unique(rows, |row| row.id, "categories.id", spoiled);
            Answer::Categories(rows.into_iter().filter(|row| ids.contains(&row.id)).collect())
        }
        _ => return outbox::answer(question, output),
    })
}

fn good<T>(rows: &[Vec<Value>], read: impl Fn(&[Value]) -> Result<T, Bad>, spoiled: &mut Vec<Bad>) -> Vec<T> {
    let read = rows.iter().map(|row| read(row));
    read.filter_map(|row| row.map_err(|bad| spoiled.push(bad)).ok())
        .collect()
}

/// Leaves out all rows whose key occurs more than once: such a key identifies none of them.
fn unique<T, K: Ord>(rows: Vec<T>, key: impl Fn(&T) -> K, bad: Bad, spoiled: &mut Vec<Bad>) -> Vec<T> {
    let mut by_key: BTreeMap<K, Vec<T>> = BTreeMap::new();
    for row in rows {
        by_key.entry(key(&row)).or_default().push(row);
    }
    let mut once = Vec::new();
    for mut rows in by_key.into_values() {
        match rows.len() {
            1 => once.append(&mut rows),
            _ => spoiled.push(bad),
        }
    }
    once
}

fn session(row: &[Value]) -> Result<SessionRow, Bad> {
    let id = text(row, 0).as_deref().and_then(SessionId::parse);
    let user_id = match row.get(4) {
        Some(Value::NULL) => 0,
        _ => number(row, 4).ok_or("session.userid")?,
    };
    let user = user(&row[5..5 + USER_COLUMNS])?.filter(|user| user.id == user_id);
    Ok(SessionRow {
        id: id.ok_or("session.session_id")?,
        client_id: optional(row, 1).ok_or("session.client_id")?,
        // NULL means a guest, like the column's default.
        guest: optional::<i64>(row, 2).ok_or("session.guest")? != Some(0),
        time: number(row, 3).ok_or("session.time")?,
        user_id,
        user,
        text: bytes(row, 5 + USER_COLUMNS).map(<[u8]>::to_vec),
        clock: number(row, 6 + USER_COLUMNS).ok_or("the clock")?,
    })
}

/// `None`: the join found no user.
fn user(row: &[Value]) -> Result<Option<UserRow>, Bad> {
    if matches!(row.first(), Some(Value::NULL)) {
        return Ok(None);
    }
    let groups = match bytes(row, 6) {
        None => Vec::new(),
        Some(list) if is_cut(list) => return Err("user_usergroup_map.group_id"),
        Some(list) => list
            .split(|byte| *byte == b',')
            .map(|id| parsed(id).ok_or("user_usergroup_map.group_id"))
            .collect::<Result<_, _>>()?,
    };
    Ok(Some(UserRow {
        id: number(row, 0).ok_or("users.id")?,
        name: text(row, 1).unwrap_or_default(),
        username: text(row, 2).unwrap_or_default(),
        // An unclear value counts as blocked or as a second factor, so it denies access.
        blocked: number::<i64>(row, 3) != Some(0),
        require_reset: optional::<i64>(row, 4).ok_or("users.requireReset")?.unwrap_or(0) != 0,
        mfa: number::<i64>(row, 5) != Some(0),
        groups,
    }))
}

fn group(row: &[Value]) -> Result<GroupRow, Bad> {
    Ok(GroupRow {
        id: number(row, 0).ok_or("usergroups.id")?,
        parent: optional(row, 1).ok_or("usergroups.parent_id")?.unwrap_or(0),
        lft: number(row, 2).ok_or("usergroups.lft")?,
        rgt: number(row, 3).ok_or("usergroups.rgt")?,
    })
}

fn level(row: &[Value]) -> Result<LevelRow, Bad> {
    Ok(LevelRow {
        id: number(row, 0).ok_or("viewlevels.id")?,
        rules: text(row, 1).unwrap_or_default(),
    })
}

fn asset(row: &[Value]) -> Result<AssetRow, Bad> {
    Ok(AssetRow {
        name: text(row, 0).ok_or("assets.name")?,
        rules: text(row, 1).unwrap_or_default(),
        lft: number(row, 2).ok_or("assets.lft")?,
        rgt: number(row, 3).ok_or("assets.rgt")?,
    })
}

fn extensions(rows: &[Vec<Value>]) -> Extensions {
    let mut found = Extensions::default();
    for row in rows {
        let params = || Some(text(row, 3).unwrap_or_default());
        let version = || manifest_version(&text(row, 4).unwrap_or_default());
        match (text(row, 0).as_deref(), text(row, 1).as_deref()) {
            (Some("component"), Some("com_users")) => found.com_users = params(),
            (Some("component"), Some("com_websockets")) if number::<i64>(row, 2) == Some(1) => {
                found.com_websockets = params();
                found.package_version = version();
            }
            (Some("file"), Some("joomla")) => found.joomla_version = version(),
            _ => {}
        }
    }
    found
}

fn item(row: &[Value]) -> Result<ItemRow, Bad> {
    let categories = match number::<i64>(row, 5) {
        Some(0) => None,
        _ => {
            let category: Option<u64> = optional(row, 6).ok_or("an item's category")?;
            Some(chain(category, row, 7)?)
        }
    };
    Ok(ItemRow {
        id: number(row, 0).ok_or("an item's key")?,
        access: number(row, 1).ok_or("an item's access")?,
        state: number(row, 2).ok_or("an item's state")?,
        publish_up: seconds(row, 3).ok_or("an item's publish_up")?,
        publish_down: seconds(row, 4).ok_or("an item's publish_down")?,
        categories,
        clock: number(row, 8).ok_or("the clock")?,
    })
}

fn category(row: &[Value]) -> Result<CategoryRow, Bad> {
    let id = number(row, 0).ok_or("categories.id")?;
    Ok(CategoryRow {
        id,
        extension: text(row, 1).ok_or("categories.extension")?,
        chain: chain(Some(id), row, 2)?,
    })
}

/// Reads `id/access/published/lft/rgt/level,…`, from the root down to the category itself. Empty if there is no such
/// category, or if its place in the tree is not clear. The place is clear if the parents and the nested set, which
/// Joomla uses, agree.
fn chain(category: Option<u64>, row: &[Value], n: usize) -> Result<Vec<CategoryStep>, Bad> {
    const BAD: Bad = "a row of categories";
    let Some(list) = bytes(row, n) else {
        return Ok(Vec::new());
    };
    if is_cut(list) {
        return Err(BAD);
    }
    let mut steps = Vec::new();
    let mut outer = (i64::MIN, i64::MAX);
    for (level, text) in list.split(|byte| *byte == b',').enumerate() {
        let mut fields = text.split(|byte| *byte == b'/');
        let mut field = || fields.next().ok_or(BAD);
        let step = CategoryStep {
            id: parsed(field()?).ok_or(BAD)?,
            access: parsed(field()?).ok_or(BAD)?,
            published: parsed(field()?).ok_or(BAD)?,
        };
        let [lft, rgt, depth]: [i64; 3] = [field()?, field()?, field()?].map(|text| parsed(text).unwrap_or(i64::MIN));
        if depth != level as i64 || lft <= outer.0 || rgt >= outer.1 || lft >= rgt {
            return Ok(Vec::new());
        }
        outer = (lft, rgt);
        // The root is not a category of any item.
        if level > 0 {
            steps.push(step);
        }
    }
    match steps.last().map(|last| last.id) == category {
        true => Ok(steps),
        false => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unclear_chain_is_empty() {
        let read = |text: &str, category| chain(category, &[text.into()], 0);
        let steps = read("1/1/1/0/99/0,2/1/1/1/8/1,9/3/-2/2/3/2", Some(9)).expect("well written");
        assert_eq!(steps.len(), 2);
        assert_eq!(
            (steps[0].id, steps[1].id, steps[1].access, steps[1].published),
            (2, 9, 3, -2)
        );
        assert_eq!(chain(Some(9), &[Value::NULL], 0), Ok(Vec::new()));
        for (odd, why) in [
            ("1/1/1/0/99/0,2/1/1/1/8/1", "the chain ends with another category"),
            ("1/1/1/0/99/0", "the chain has only the root"),
            ("2/1/1/1/8/1,9/3/1/2/3/2", "the chain does not begin with the root"),
            ("1/1/1/0/99/0,9/3/1/2/3/2", "a level is missing"),
            (
                "1/1/1/0/99/0,2/1/1/1/8/1,9/3/1/10/11/2",
                "the category is not within its parent",
            ),
            (
                "1/1/1/0/99/0,2/1/1/1/8/1,9/3/1/2/9/2",
                "the category ends after its parent",
            ),
            ("1/1/1/0/99/0,9/3/1/3/2/1", "the category ends before it begins"),
        ] {
            assert_eq!(read(odd, Some(9)), Ok(Vec::new()), "{why}");
        }
        for bad in [
            "",
            "2/1",
            "2/1/300/0/1/0",
            "1/1/1/0/9/0,",
            "x/1/1/0/1/0",
            "2/-1/1/0/1/0",
            "2/1/1/0",
        ] {
            assert!(read(bad, Some(2)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_that_may_have_been_cut_is_rejected() {
        let cut = "1,".repeat(super::super::session::GROUP_CONCAT / 2);
        let row = [
            1.into(),
            "n".into(),
            "u".into(),
            0.into(),
            0.into(),
            0.into(),
            cut.into(),
        ];
        assert_eq!(user(&row), Err("user_usergroup_map.group_id"));
    }

    #[test]
    fn an_unclear_value_counts_as_blocked_or_as_a_second_factor() {
        let row = |block: Value, mfa: Value| {
            let row = [7.into(), "n".into(), "u".into(), block, Value::NULL, mfa, "2,8".into()];
            user(&row).expect("a row").expect("a user")
        };
        assert!(!row(0.into(), 0.into()).blocked && !row("0".into(), 0.into()).mfa);
        for block in [Value::NULL, 1.into(), 2.into(), "yes".into()] {
            assert!(row(block, 0.into()).blocked);
        }
        for mfa in [Value::NULL, 1.into(), 2.into()] {
            assert!(row(0.into(), mfa).mfa);
        }
        assert_eq!(row(0.into(), 0.into()).groups, [2, 8]);
        assert_eq!(user(&vec![Value::NULL; USER_COLUMNS]), Ok(None));
    }

    #[test]
    fn rows_with_a_duplicate_key_are_left_out_and_the_rest_stays() {
        let mut spoiled = Vec::new();
        let rows = unique(vec![(1, 'a'), (2, 'b'), (1, 'c')], |row| row.0, "key", &mut spoiled);
        assert_eq!((rows, spoiled), (vec![(2, 'b')], vec!["key"]));
    }
}
