//! The visitor: the session cookie of the page, the row of its session, whether the server sees it, and whether the
//! site's rules are followed.

use jsocketd::joomla::acl::{Acl, guest_group};
use jsocketd::joomla::site::Handler;
use jsocketd::store::{Answer, Question, SessionId, Store, Text};

use super::client::{Client, End};
use super::cookies::{Cookie, Jar};
use super::inside::Site;
use super::report::{Findings, hop};
use super::seen::Seen;
use super::socket::Target;
use crate::commands::now;

/// Whether a browser sends the page's session cookie to the socket.
pub fn cookie(jar: &Jar, target: &Target, findings: &mut Findings) {
    let Some(cookie) = jar.session(None) else {
        return findings.warn(
            hop::COOKIE,
            "the page set no session cookie, so its visitors are not known before they log in",
            "where a cache or a CDN serves the page, exempt the pages of users from it; it must not remove Set-Cookie",
        );
    };
    match cookie.obstacle(&target.address) {
        None => findings.ok(
            hop::COOKIE,
            "browsers send the session cookie of the page to the socket",
        ),
        Some(obstacle) => findings.fault(
            hop::COOKIE,
            format!(
                "the session cookie of the page does not reach the socket, so everybody is a guest: {}",
                obstacle.says
            ),
            obstacle.mend,
        ),
    }
}

/// The row of the session that the page has just made.
pub fn session(site: &mut Site, jar: &Jar, findings: &mut Findings) {
    let wanted = site.cookie().map(str::to_owned);
    let Some(cookie) = jar.session(wanted.as_deref()) else {
        return findings.skip(hop::SESSION, "the page set no session cookie");
    };
    if wanted.as_deref() != Some(cookie.name.as_str()) {
        return findings.fault(
            hop::SESSION,
            format!(
                "the page's session cookie is {}, and by $secret and $session_name here it would be {}: this is not the site \
                 behind the address, or its secret is another one",
                cookie.name,
                wanted.as_deref().unwrap_or("another one")
            ),
            "name the folder of this very site with --joomla and in [joomla] root; where [joomla] secret or session_name \
             stands in jsocketd.toml, correct it to configuration.php's",
        );
    }
    let handler = site.read.site.handler.clone();
    let Ok(store) = &mut site.store else { return };
    match row(store, cookie) {
        Ok(true) => findings.ok(hop::SESSION, "the session of the page has its row"),
        Ok(false) => match handler {
            Handler::Other(handler) => findings.skip(
                hop::SESSION,
                format!(
                    "guests have no row with the session handler {handler}; users have one while $session_metadata is on"
                ),
            ),
            Handler::Database => findings.fault(
                hop::SESSION,
                "the page set a session cookie, and the database has no row of that session",
                "see whether --joomla names the folder of this very site, and whether PHP can write the session table \
                 (Joomla's log, PHP's error log)",
            ),
        },
        Err(why) => findings.fault(
            hop::SESSION,
            format!("the session table cannot be read: {why}"),
            "see the hop \"privileges\"",
        ),
    }
}

fn row(store: &mut impl Store, cookie: &Cookie) -> Result<bool, String> {
    let value = cookie.value.replace("%2C", ",");
    let Some(id) = SessionId::parse(&value) else {
        return Err("the cookie's value is no session id".into());
    };
    let question = Question::Sessions {
        ids: vec![id],
        text: Text::Never,
    };
    match store.ask(&question, now()) {
        Ok(Answer::Sessions(rows)) => Ok(!rows.is_empty()),
        Ok(_) => Ok(false),
        Err(failure) => Err(failure.to_string()),
    }
}

/// Whether the server sees the session.
pub fn identity(site: &Site, seen: &Seen, target: &Target, jar: &Jar, findings: &mut Findings) {
    let sees = seen.session();
    let name = site.cookie().unwrap_or_default();
    let is_sent = jar.line(&target.address).contains(&format!("{name}="));
    match (sees, is_sent) {
        (Some("sent"), _) => findings.ok(hop::IDENTITY, "the server sees the session cookie of the page"),
        (Some("bad"), _) => findings.fault(
            hop::IDENTITY,
            "the server sees a session cookie whose value is no session id",
            "let the proxy pass the Cookie header on unchanged",
        ),
        (Some(_), true) => findings.fault(
            hop::IDENTITY,
            format!("the page's session cookie {name} was sent, and the server sees none"),
            "let the proxy pass the Cookie header on; if it does, the server runs with another $secret or $session_name: \
             start it with this site's folder, and remove [joomla] secret and session_name from jsocketd.toml",
        ),
        (Some(_), false) => findings.skip(hop::IDENTITY, "the session cookie does not reach the socket"),
        (None, _) => findings.fault(
            hop::IDENTITY,
            "the server has no site for this app, so it knows no visitor",
            "start it with the site's folder: --joomla, or [joomla] root; [joomla] app must name this app",
        ),
    }
}

/// Whether a guest gets what is open to guests, and is refused what is not.
pub fn access(site: &mut Site, client: &mut Client, findings: &mut Findings) {
    let guest = site.extensions.com_users.as_deref().and_then(guest_group);
    let Ok(store) = &mut site.store else { return };
    let mut ask = |question: Question| store.ask(&question, now());
    let answers = (ask(Question::Groups), ask(Question::Levels), ask(Question::Assets));
    let (Ok(Answer::Groups(groups)), Ok(Answer::Levels(levels)), Ok(Answer::Assets(assets))) = answers else {
        return findings.skip(
            hop::ACCESS,
            "the tables of the rights cannot be read: see \"privileges\"",
        );
    };
    let (acl, _) = Acl::new(&groups, &levels, &assets, guest);
    let open = acl.levels(0, acl.guest_groups(), false);
    let Some(yes) = open.first() else {
        return findings.skip(hop::ACCESS, "guests have no view level on this site");
    };
    // A level that does not exist is refused like one that guests do not have.
    let no = levels
        .iter()
        .map(|level| level.id)
        .find(|id| !open.contains(id))
        .unwrap_or(u32::MAX);
    let mut subscribe = |level: u32| client.subscribe(&format!("private-level-{level}"), None);
    let refused = |why: String| format!("the server refuses private-level-{yes}, which Joomla opens to guests: {why}");
    const MEND: &str = "see the server's log, and whether it reads this very site: `jsocketd check`";
    match (subscribe(*yes), subscribe(no)) {
        (Ok(Ok(())), Ok(Err(_))) => findings.ok(
            hop::ACCESS,
            format!("a guest may subscribe to private-level-{yes} and not to private-level-{no}, as in Joomla"),
        ),
        (Ok(Ok(())), Ok(Ok(()))) => findings.fault(
            hop::ACCESS,
            format!("the server opens private-level-{no} to guests, which Joomla does not"),
            MEND,
        ),
        (Ok(Err(why)), _) => findings.fault(hop::ACCESS, refused(why), MEND),
        (Err(end), _) | (_, Err(end)) => findings.fault(
            hop::ACCESS,
            format!("a subscription is not answered: {}", lost(&end)),
            "see the server's log; where its database does not answer, subscriptions wait",
        ),
    }
}

/// How a connection ended, in words.
pub fn lost(end: &End) -> String {
    match end {
        End::Closed(code, reason) => format!("the server closed the connection with {code}: {reason}"),
        End::Cut(why) => format!("the connection ended: {why}"),
        End::Late => "nothing came in time".into(),
    }
}
