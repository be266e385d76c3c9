//! Decides from a row of the session table, its user row and its text (if there is one) whether a visitor is a user, or
//! a guest with a reason. When the identity cannot be determined, the visitor is a guest. Groups and rights are
//! determined in `acl`; cookies and origins were checked before.

use std::fmt;

use serde::Serialize;

use crate::joomla::session::{self, BadText, SessionText};
use crate::joomla::site::{Client, Handler, SiteConfig};
use crate::store::{SessionRow, UserRow};

/// Seconds for which a session of Joomla 3 is valid if its row keeps only the time of its start.
const LONGEST_WITHOUT_TIME: i64 = 24 * 60 * 60;

/// A visitor, according to the row of the session.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// This user, logged in to this application; `None`: to both applications.
    User(UserRow, Option<Client>),
    /// The row does not name its user, but the text does: look up the user with this id and call [`judge_user`].
    AskUser(u32, Option<Client>, SessionText),
    /// A guest.
    Guest(Reason),
}

/// Why a visitor is a guest. Programs read the name of the reason in kebab case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// There was no session cookie.
    NoCookie,
    /// The page belongs to another site or sends no origin, so its cookie was not read.
    ForeignOrigin,
    /// The session does not exist: it has ended, or the cookie was invented.
    NoRow,
    /// The session has expired, although its row still exists.
    Expired,
    /// The session belongs to a guest.
    GuestSession,
    /// The session's user does not exist.
    NoUser,
    /// The site keeps neither metadata nor texts in its database.
    UserUnknown,
    /// The user is blocked.
    Blocked,
    /// The user must set a new password first.
    MustReset,
    /// The user has not given the second factor yet, or must set it up first.
    SecondFactorPending,
    /// Only the session's text records whether the second factor was given, and the text cannot be read.
    SecondFactorUnknown,
    /// The session's text cannot be read.
    BadText,
    /// The session's text names another user than its row.
    TextDisagrees,
    /// The session belongs to another application than its cookie.
    OtherClient,
    /// The cookie's value cannot be a session id.
    BadCookie,
    /// The form token is missing, but the configuration demands one.
    NoFormToken,
    /// The form token that was sent does not belong to the session.
    WrongFormToken,
    /// The user's rights changed, so the connection is being closed.
    RightsChanged,
    /// The database did not answer in time.
    DatabaseUnavailable,
}

/// The name in kebab case.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Judges the row of a session whose id came in the cookie of `asked_as`. `now_unix` is the time in seconds by our
/// clock. If the database's clock is ahead of ours, its time is used instead: a session must not be valid longer than
/// in Joomla because our clock is slow.
pub fn judge(row: &SessionRow, asked_as: Client, site: &SiteConfig, joomla3: bool, now_unix: i64) -> Judgement {
    judge_row(row, asked_as, site, joomla3, now_unix).unwrap_or_else(Judgement::Guest)
}

/// Completes a [`Judgement::AskUser`]: `user` is the row of the user who was looked up, if it exists.
pub fn judge_user(asked: u32, client: Option<Client>, text: &SessionText, user: Option<&UserRow>) -> Judgement {
    let judged = match user {
        Some(user) if user.id == asked && asked > 0 => may_be(user, Some(Ok(text))),
        _ => Err(Reason::NoUser),
    };
    judged.map_or_else(Judgement::Guest, |user| Judgement::User(user.clone(), client))
}

fn judge_row(
    row: &SessionRow,
    asked_as: Client,
    site: &SiteConfig,
    joomla3: bool,
    now: i64,
) -> Result<Judgement, Reason> {
    let client = client(row, asked_as, site)?;
    if now.max(row.clock) > ends(row, site, joomla3) {
        return Err(Reason::Expired);
    }
    if !site.metadata {
        return user_in_text(text(row, site)).map(|(user, text)| Judgement::AskUser(user, client, text));
    }
    if row.guest || row.user_id == 0 {
        return Err(Reason::GuestSession);
    }
    let text = text(row, site);
    let user = row.user.as_ref().filter(|user| user.id == row.user_id);
    let user = may_be(user.ok_or(Reason::NoUser)?, text.as_ref().map(Result::as_ref))?;
    Ok(Judgement::User(user.clone(), client))
}

/// The user, if only the session's text names the user.
fn user_in_text(text: Option<Result<SessionText, BadText>>) -> Result<(u32, SessionText), Reason> {
    let text = text.ok_or(Reason::UserUnknown)?.map_err(|_| Reason::BadText)?;
    let user = text.user_id.ok_or(Reason::GuestSession)?;
    Ok((user, text))
}

/// The application that the session belongs to.
fn client(row: &SessionRow, asked_as: Client, site: &SiteConfig) -> Result<Option<Client>, Reason> {
    let is_cookie_of = |client| {
        let name = |of| site.cookies.iter().find(|(c, _)| *c == of).map(|(_, name)| name);
        client == asked_as || name(client).is_some_and(|own| name(asked_as) == Some(own))
    };
    let one_cookie = site.cookies.windows(2).all(|pair| pair[0].1 == pair[1].1);
    let written = match row.client_id {
        Some(0) => Some(Client::Site),
        Some(1) => Some(Client::Administrator),
        // The installer, the API and the command line have no cookies.
        Some(_) => return Err(Reason::OtherClient),
        None => None,
    };
    if site.shared && one_cookie {
        return Ok(None);
    }
    match written {
        Some(client) if !is_cookie_of(client) => Err(Reason::OtherClient),
        Some(client) => Ok(Some(client)),
        None => Ok(Some(asked_as)),
    }
}

/// The last second of a session's life, in Unix seconds. In Joomla 3, only the handler `database` keeps the time of the
/// last request.
fn ends(row: &SessionRow, site: &SiteConfig, joomla3: bool) -> i64 {
    let keeps_time = !joomla3 || site.handler == Handler::Database;
    let life = match site.lifetime {
        // Joomla takes the seconds of a negative lifetime away, so a session has expired as soon as it is there.
        0 => return i64::MIN,
        lifetime if keeps_time => i64::try_from(lifetime).unwrap_or(i64::MAX),
        _ => LONGEST_WITHOUT_TIME,
    };
    row.time.saturating_add(life)
}

/// The session's text, read, if the database has it. With another handler, the column may still hold a text from before
/// the handler was changed, so it is ignored. An empty text means that none was written yet.
fn text(row: &SessionRow, site: &SiteConfig) -> Option<Result<SessionText, BadText>> {
    let text = row.text.as_ref().filter(|text| !text.is_empty());
    text.filter(|_| site.handler == Handler::Database)
        .map(|text| session::read(text))
}

/// The user, unless the user's own row or the session's text says that the visitor must be a guest.
fn may_be<'u>(user: &'u UserRow, text: Option<Result<&SessionText, &BadText>>) -> Result<&'u UserRow, Reason> {
    if user.blocked {
        return Err(Reason::Blocked);
    }
    if user.require_reset {
        return Err(Reason::MustReset);
    }
    match text {
        // Joomla itself ends a session whose text it cannot read.
        Some(Err(_)) if !user.mfa => Err(Reason::BadText),
        Some(Err(_)) => Err(Reason::SecondFactorUnknown),
        Some(Ok(text)) if text.user_id != Some(user.id) => Err(Reason::TextDisagrees),
        Some(Ok(text)) if text.mfa_setup_pending || (user.mfa && !text.mfa_checked) => Err(Reason::SecondFactorPending),
        None if user.mfa => Err(Reason::SecondFactorUnknown),
        Some(Ok(_)) | None => Ok(user),
    }
}
