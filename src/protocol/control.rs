//! Rows on the channel `#control`: messages of PHP for the server, not for visitors. Their data is parsed strictly.
//! Wrong data is a bug of the writer; a guess at the meaning could close the wrong connections.

use serde::Deserialize;

/// The channel of control rows. No client can subscribe to it, because its name is not a valid channel name.
pub const CHANNEL: &str = "#control";

/// The event of a table's first row. The row requests nothing; it exists so that a position can always be compared with
/// a row.
pub const BEGIN: &str = "begin";

/// The most characters of an item type's name.
const LONGEST_TYPE: usize = 100;

/// The request in a control row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A user logged out, or has a new password or other groups: check the user's sessions again.
    RecheckUser(u32),
    /// A user was blocked, deleted or kicked out: close the user's connections.
    TerminateUser(u32),
    /// A value on which the access to an item or a category depends has changed.
    RecheckItem {
        /// `com_content.article`, `com_content.category`, …
        kind: String,
        /// The id of the item or category.
        id: u64,
    },
    /// Groups, view levels or permissions changed.
    RecheckAccess,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    user_id: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    id: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Control {
    /// Parses the event and data of a row. `None`: there is nothing to do.
    ///
    /// # Errors
    /// A sentence that contains none of the data.
    pub fn read(verb: &str, data: &str) -> Result<Option<Self>, String> {
        Ok(Some(match verb {
            BEGIN => return Ok(None),
            "recheck-user" => Control::RecheckUser(user(verb, data)?),
            "terminate-user" => Control::TerminateUser(user(verb, data)?),
            "recheck-item" => item(verb, data)?,
            "recheck-access" => parse::<Nothing>(verb, data).map(|Nothing {}| Control::RecheckAccess)?,
            _ => return Err("its event is no control verb".into()),
        }))
    }
}

fn parse<'a, T: Deserialize<'a>>(verb: &str, data: &'a str) -> Result<T, String> {
    // Serde would accept a list in place of an object.
    if !data.trim_start().starts_with('{') {
        return Err(format!("the data of {verb} is no object"));
    }
    serde_json::from_str(data).map_err(|error| {
        // Serde's message of a data error would quote the value.
        let place = (error.line(), error.column());
        format!("the data of {verb} is wrong at line {} column {}", place.0, place.1)
    })
}

fn user(verb: &str, data: &str) -> Result<u32, String> {
    match parse::<User>(verb, data)?.user_id {
        0 => Err(format!("the user_id of {verb} is 0")),
        id => Ok(id),
    }
}

fn item(verb: &str, data: &str) -> Result<Control, String> {
    let Item { kind, id } = parse(verb, data)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if kind.is_empty() || kind.len() > LONGEST_TYPE || !kind.bytes().all(plain) {
        return Err(format!("the type of {verb} is no name of an item type"));
    }
    if id == 0 {
        return Err(format!("the id of {verb} is 0"));
    }
    Ok(Control::RecheckItem { kind, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_its_data() {
        let article = Control::RecheckItem {
            kind: "com_content.article".into(),
            id: 17,
        };
        for (verb, data, control) in [
            ("recheck-user", r#"{"user_id":42}"#, Control::RecheckUser(42)),
            ("terminate-user", r#" { "user_id" : 42 } "#, Control::TerminateUser(42)),
            ("recheck-item", r#"{"type":"com_content.article","id":17}"#, article),
            ("recheck-access", "{}", Control::RecheckAccess),
        ] {
            assert_eq!(Control::read(verb, data), Ok(Some(control)), "{verb} {data}");
        }
    }

    #[test]
    fn the_first_row_of_a_table_requests_nothing() {
        assert_eq!(Control::read("begin", "{}"), Ok(None));
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        for bad in crate::id::MISSPELT.into_iter().filter(|bad| bad.trim() != "42") {
            for (verb, data) in [
                ("recheck-user", format!(r#"{{"user_id":{bad}}}"#)),
                ("terminate-user", format!(r#"{{"user_id":{bad}}}"#)),
                (
                    "recheck-item",
                    format!(r#"{{"type":"com_content.article","id":{bad}}}"#),
                ),
            ] {
                assert!(Control::read(verb, &data).is_err(), "{verb} {data}");
            }
        }
    }

    #[test]
    fn invalid_data_is_refused_without_quoting_it() {
        for (verb, data) in [
            ("recheck-user", ""),
            ("recheck-user", "{}"),
            ("recheck-user", "[42]"),
            ("recheck-user", r#"{"user_id":"secret"}"#),
            ("recheck-user", r#"{"user_id":-1}"#),
            ("recheck-user", r#"{"user_id":0}"#),
            ("recheck-user", r#"{"user_id":4294967296}"#),
            ("recheck-user", r#"{"user_id":1.5}"#),
            ("recheck-user", r#"{"user_id":1,"secret":1}"#),
            ("recheck-user", r#"{"user_id":1,"user_id":2}"#),
            ("recheck-user", r#"{"user_id":1} x"#),
            ("recheck-item", r#"{"type":"","id":1}"#),
            ("recheck-item", r#"{"type":"a b","id":1}"#),
            ("recheck-item", r#"{"type":"com_content.article","id":0}"#),
            ("recheck-item", r#"{"type":"com_content.article"}"#),
            ("recheck-access", "null"),
            ("recheck-access", r#"{"secret":1}"#),
            ("Recheck-User", r#"{"user_id":42}"#),
            ("secret", "{}"),
        ] {
            let error = Control::read(verb, data).expect_err(data);
            assert!(!error.contains("secret"), "{error}");
        }
        let long = format!(r#"{{"type":"{}","id":1}}"#, "x".repeat(LONGEST_TYPE + 1));
        assert!(Control::read("recheck-item", &long).is_err());
    }
}
