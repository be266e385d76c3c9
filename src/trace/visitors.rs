//! What of the site and of its database's answers may stand in a trace: which session is whose, groups, levels, rules and
//! channels stay, for they decide; names, session ids, texts and payloads do not.

use serde_json::{Value, json};

use super::masker::Masker;
use crate::joomla::site::Site;
use crate::protocol::control::CHANNEL;
use crate::site::{self, parameters};
use crate::store::{Answer, Extensions, Failure, Question, Row, SessionId, SessionRow, UserRow};

/// Joomla's secret.
const MASKED_SITE_SECRET: &str = "a-masked-secret1";

impl Masker {
    /// A site without its secret. The masker knows its cookies from here on.
    pub fn site(&mut self, site: &Site) -> Site {
        self.cookies = site.cookies.iter().map(|(_, name)| name.clone()).collect();
        Site {
            secret: MASKED_SITE_SECRET.to_owned(),
            ..site.clone()
        }
    }

    /// The header `Cookie`: the site's sessions and nothing else.
    pub fn cookie(&mut self, header: &str) -> String {
        let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
        let own: Vec<String> = pairs
            .filter(|(name, _)| self.cookies.iter().any(|own| own == name))
            .map(|(name, value)| match site::session_id(value) {
                Some(id) => format!("{name}={}", self.tokens.text(id.expose())),
                // It is none for the shadow either.
                None => format!("{name}=!"),
            })
            .collect();
        own.join("; ")
    }

    /// An answer of the database.
    pub fn answer(&mut self, answer: &Result<Answer, Failure>) -> Result<Answer, Failure> {
        Ok(match answer.clone()? {
            Answer::Sessions(rows) => Answer::Sessions(rows.into_iter().filter_map(|row| self.session(row)).collect()),
            Answer::Users(rows) => Answer::Users(rows.into_iter().map(|row| self.user(row)).collect()),
            Answer::Extensions(extensions) => Answer::Extensions(self.extensions(extensions)),
            Answer::Rows(rows) => Answer::Rows(rows.into_iter().map(|row| self.row(row)).collect()),
            other => other,
        })
    }

    /// A question's session ids are compared with those of the shadow's own question.
    pub fn question(&mut self, question: &Question) -> Question {
        match question {
            Question::Sessions { ids, text } => Question::Sessions {
                ids: ids.iter().filter_map(|id| self.session_id(id)).collect(),
                text: *text,
            },
            other => other.clone(),
        }
    }

    fn session_id(&mut self, id: &SessionId) -> Option<SessionId> {
        SessionId::parse(&self.tokens.text(id.expose()))
    }

    fn session(&mut self, row: SessionRow) -> Option<SessionRow> {
        Some(SessionRow {
            id: self.session_id(&row.id)?,
            user: row.user.map(|user| self.user(user)),
            // It holds whatever the site's extensions put there. Who needs it for a second factor is a guest in a replay.
            text: None,
            ..row
        })
    }

    fn user(&mut self, row: UserRow) -> UserRow {
        UserRow {
            name: self.tokens.text(&row.name),
            username: self.tokens.text(&row.username),
            ..row
        }
    }

    fn extensions(&mut self, extensions: Extensions) -> Extensions {
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

    fn row(&mut self, row: Row) -> Row {
        if row.channel == CHANNEL {
            // Ids and nothing else, and they decide.
            return row;
        }
        Row {
            data: row.data.map(|data| self.tokens.payload(&data)),
            ..row
        }
    }
}
