//! Masks the site and its database's answers in a trace. The users of sessions, groups, levels, rules and channels
//! stay, because they decide. Session ids become tokens. Names, session texts and payloads are masked.

use serde_json::{Value, json};

use super::words::{Words, mask};
use crate::joomla::site::SiteConfig;
use crate::protocol::control::CHANNEL;
use crate::site::parameters;
use crate::store::{Answer, Extensions, Failure, Question, Row, Secret, SessionId, SessionRow, UserRow};

/// Joomla's secret.
const MASKED_SITE_SECRET: &str = "a-masked-secret1";

/// A site without its secret.
pub fn site(site: &SiteConfig) -> SiteConfig {
    SiteConfig {
        secret: Secret(MASKED_SITE_SECRET.to_owned()),
        ..site.clone()
    }
}

/// The header `Cookie`: the cookies with these names, which are the site's sessions, and nothing else.
pub fn cookie(header: &str, names: &[String], words: &mut Words) -> String {
    let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
    let own: Vec<String> = pairs
        .filter(|(name, _)| names.iter().any(|own| own == name))
        .map(|(name, value)| match crate::site::session_id(value) {
            Some(id) => format!("{name}={}", words.token(id.expose())),
            // A value that is no session id stays invalid.
            None => format!("{name}=!"),
        })
        .collect();
    own.join("; ")
}

/// An answer of the database.
pub fn answer(answer: &Result<Answer, Failure>, words: &mut Words) -> Result<Answer, Failure> {
    Ok(match answer.clone()? {
        Answer::Sessions(rows) => Answer::Sessions(rows.into_iter().filter_map(|row| session(row, words)).collect()),
        Answer::Users(rows) => Answer::Users(rows.into_iter().map(user).collect()),
        Answer::Extensions(extensions) => Answer::Extensions(masked_extensions(extensions)),
        Answer::Rows(rows) => Answer::Rows(rows.into_iter().map(|row| outbox_row(row, words)).collect()),
        other => other,
    })
}

/// A question of the service. Its session ids are masked as in the answer.
pub fn question(question: &Question, words: &mut Words) -> Question {
    match question {
        Question::Sessions { ids, text } => Question::Sessions {
            ids: ids.iter().filter_map(|id| session_id(id, words)).collect(),
            text: *text,
        },
        other => other.clone(),
    }
}

fn session_id(id: &SessionId, words: &mut Words) -> Option<SessionId> {
    SessionId::parse(&words.token(id.expose()))
}

fn session(row: SessionRow, words: &mut Words) -> Option<SessionRow> {
    Some(SessionRow {
        id: session_id(&row.id, words)?,
        user: row.user.map(user),
        // The text may hold anything that the site's extensions put there. A user whose second factor is recorded in it
        // is a guest in the trace.
        text: None,
        ..row
    })
}

fn outbox_row(row: Row, words: &Words) -> Row {
    if row.channel == CHANNEL {
        // A control row holds only ids, and the ids decide.
        return row;
    }
    Row {
        data: row.data.map(|data| words.payload(&data)),
        ..row
    }
}

fn user(row: UserRow) -> UserRow {
    UserRow {
        name: mask(&row.name),
        username: mask(&row.username),
        ..row
    }
}

fn masked_extensions(extensions: Extensions) -> Extensions {
    let switch = |params: &Value, name: &str| parameters::switch(params.as_object()?, name);
    let read = |params: Option<String>| params.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let com_users = read(extensions.com_users).map(|params| json!({"guest_usergroup": params["guest_usergroup"]}));
    let com_websockets = read(extensions.com_websockets).map(|params| {
        json!({
            "app_id": params["app_id"],
            "app_key": params["app_key"],
            "enabled": switch(&params, "enabled"),
            "guests": switch(&params, "guests"),
            "presence_names": switch(&params, "presence_names"),
        })
    });
    Extensions {
        com_users: com_users.map(|params| params.to_string()),
        com_websockets: com_websockets.map(|params| params.to_string()),
        ..extensions
    }
}
