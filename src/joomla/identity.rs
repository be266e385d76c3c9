//! Who a session says that its visitor is: from a row of the session table, with its user and maybe its text, to a user
//! or a guest with a reason. What cannot be known is a guest, never somebody. Groups and rights are `acl`'s; cookies
//! and origins were looked at before.

use crate::joomla::session::{self, BadText, SessionText};
use crate::joomla::site::{Client, Handler, SiteConfig};
use crate::store::{SessionRow, UserRow};

/// Seconds that a session of Joomla 3 is believed in whose row keeps the time of its start.
const LONGEST_WITHOUT_TIME: i64 = 24 * 60 * 60;

/// What a session's row is good for.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// This user, logged in to this application; `None`: to both.
    User(UserRow, Option<Client>),
    /// The row does not tell its user, but the text does: look up this one and ask [`judge_user`].
    AskUser(u32, Option<Client>, SessionText),
    /// Nobody in particular.
    Guest(Reason),
}

/// Why a visitor is a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There was no session cookie.
    NoCookie,
    /// The page is of another site, or does not say of which, so its cookie was not read.
    ForeignOrigin,
    /// There is no such session: it ended, or the cookie was made up.
    NoRow,
    /// The session is over, although its row is still there.
    Expired,
    /// The session is a guest's.
    GuestSession,
    /// The session's user does not exist.
    NoUser,
    /// The site keeps neither metadata nor texts in its database.
    UserUnknown,
    /// The user is blocked.
    Blocked,
    /// The user has to set a new password first.
    MustReset,
    /// The second factor was not given yet, or has to be set up first.
    SecondFactorPending,
    /// Whether the second factor was given stands in the session's text, which is out of reach.
    SecondFactorUnknown,
    /// The session's text cannot be read.
    BadText,
    /// The session's text names another user than its row.
    TextDisagrees,
    /// The session is of another application than its cookie.
    OtherClient,
    /// The cookie's value cannot be a session id.
    BadCookie,
    /// The form token is missing where it is demanded.
    NoFormToken,
    /// A form token was shown that is not the session's.
    WrongFormToken,
    /// The user's rights changed, and the connection is being closed for that.
    RightsChanged,
    /// The database did not answer in time.
    StoreUnavailable,
}

impl Reason {
    /// Its name for programs, which does not change.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::NoCookie => "no-cookie",
            Reason::ForeignOrigin => "foreign-origin",
            Reason::NoRow => "no-row",
            Reason::Expired => "expired",
            Reason::GuestSession => "guest-session",
            Reason::NoUser => "no-user",
            Reason::UserUnknown => "user-unknown",
            Reason::Blocked => "blocked",
            Reason::MustReset => "must-reset",
            Reason::SecondFactorPending => "second-factor-pending",
            Reason::SecondFactorUnknown => "second-factor-unknown",
            Reason::BadText => "bad-text",
            Reason::TextDisagrees => "text-disagrees",
            Reason::OtherClient => "other-client",
            Reason::BadCookie => "bad-cookie",
            Reason::NoFormToken => "no-form-token",
            Reason::WrongFormToken => "wrong-form-token",
            Reason::RightsChanged => "rights-changed",
            Reason::StoreUnavailable => "database-unavailable",
        }
    }
}

/// Judges the row of a session whose id came in the cookie of `asked_as`, at `now_unix` seconds by our clock. Where the
/// database's clock is ahead of that, it counts: nobody is believed longer than Joomla believes him because our machine
/// is behind.
pub fn judge(row: &SessionRow, asked_as: Client, site: &SiteConfig, joomla3: bool, now_unix: i64) -> Judgement {
    judge_row(row, asked_as, site, joomla3, now_unix).unwrap_or_else(Judgement::Guest)
}

/// Judges once more what was [`Judgement::AskUser`]: `user` is who was asked for, if there is one.
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

/// Whose a session is whose row does not tell it.
fn user_in_text(text: Option<Result<SessionText, BadText>>) -> Result<(u32, SessionText), Reason> {
    let text = text.ok_or(Reason::UserUnknown)?.map_err(|_| Reason::BadText)?;
    let user = text.user_id.ok_or(Reason::GuestSession)?;
    Ok((user, text))
}

/// Which application the session is of.
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

/// The last second of a session's life. With Joomla 3 only the handler `database` keeps the time of the last request.
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

/// What the session's text says, if it is within reach. With another handler the column may still have what was written
/// before the handler was changed. An empty one was not written yet.
fn text(row: &SessionRow, site: &SiteConfig) -> Option<Result<SessionText, BadText>> {
    let text = row.text.as_ref().filter(|text| !text.is_empty());
    text.filter(|_| site.handler == Handler::Database)
        .map(|text| session::read(text))
}

/// The user, if it may be somebody by its own row and by what is known of the session's text.
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
