//! Answers to clients that the hub cannot give alone. The site decides who may subscribe and which rows its outbox
//! table still has; the hub does the rest.

use super::Counts;
use crate::hub::app::App;
use crate::hub::ask::{Asked, FORM_TOKEN_RIGHT};
use crate::hub::subscribe::Subscribe;
use crate::id::ConnectionId;
use crate::outbox::Outbox;
use crate::protocol::actions::Actions;
use crate::protocol::channel::ChannelName;
use crate::protocol::frames::{self, Extra};
use crate::protocol::rows::{Missed, Reach, Wanted};
use crate::protocol::{Attempt, Verdict};
use crate::site::Site;
use crate::site::visits::NoProof;
use crate::time::Now;

/// Answers a client's request if all needed facts are known. Returns whether the request is answered. `site`: given
/// only if the app is the site's.
pub(super) fn answer(
    asked: &Asked,
    id: ConnectionId,
    app: &mut App,
    site: Option<&mut Site>,
    attempt: &Attempt,
    counts: &mut Counts,
    actions: &mut Actions,
) -> bool {
    match asked {
        Asked::Done => true,
        Asked::Subscribe(subscribe) => self::subscribe(subscribe, id, app, site, attempt, counts, actions),
        Asked::FormToken(token) => prove(token, id, site, attempt, actions),
        Asked::SignedIn(user) => {
            if let Some(site) = site {
                site.signed_in(id, user, attempt.now);
            }
            true
        }
    }
}

fn subscribe(
    subscribe: &Subscribe,
    id: ConnectionId,
    app: &mut App,
    mut site: Option<&mut Site>,
    attempt: &Attempt,
    counts: &mut Counts,
    actions: &mut Actions,
) -> bool {
    let now = attempt.now;
    let rule = |name: ChannelName<'_>| {
        site.as_deref_mut()
            .and_then(|site| site.may_subscribe(id, name, attempt))
    };
    let ticket = match app.admit(id, subscribe, rule, now, actions) {
        Verdict::Yes(ticket) => ticket,
        Verdict::No(()) => return true,
        Verdict::NotYet => return false,
    };
    // If a connection subscribed before the table's position is known, it could miss rows without a notice.
    let outbox = site.as_deref().and_then(Site::outbox);
    let is_coming = !attempt.is_last && outbox.is_some_and(Outbox::is_coming);
    if is_coming && app.roster.wants_recovery(id) {
        return false;
    }
    let mut outbox = site.as_deref_mut().and_then(Site::outbox_mut);
    let absence = app.absence(id, &ticket, attempt, |position| {
        let waited = attempt.waited.unwrap_or_default();
        match &mut outbox {
            Some(outbox) => outbox.reaches(ticket.channel(), position, waited, now),
            None => Reach::No,
        }
    });
    let Some(absence) = absence else {
        return false;
    };
    log::debug!("{id} subscribes to {ticket}");
    for recovered in absence.recovered() {
        match recovered {
            true => counts.recovered += 1,
            false => counts.gaps += 1,
        }
    }
    app.join(id, ticket, &absence, missed(site, now), now, actions);
    true
}

/// The client sends the form token of its page. This is a second proof, besides the origin, that the page is the site's
/// own.
fn prove(token: &str, id: ConnectionId, site: Option<&mut Site>, attempt: &Attempt, actions: &mut Actions) -> bool {
    let proved = site.map(|site| site.prove(id, token, attempt.now, actions.effects()));
    let error = match proved {
        Some(Verdict::Yes(())) => {
            log::debug!("{id} has shown the form token of its session");
            actions.send(id, frames::bare(FORM_TOKEN_RIGHT, None, Extra::default()));
            return true;
        }
        Some(Verdict::NotYet) if !attempt.is_last => return false,
        Some(Verdict::NotYet | Verdict::No(NoProof::OutOfReach)) => "the form token cannot be checked at the moment",
        Some(Verdict::No(NoProof::Wrong)) => "the form token is not this session's",
        None => "there is no site whose form tokens could be checked",
    };
    log::debug!("{id} has shown no right form token: {error}");
    actions.send(id, frames::error(error, None));
    true
}

/// Returns the next row of a channel. Without a site no rows are known.
pub(super) fn missed(mut site: Option<&mut Site>, now: Now) -> impl FnMut(&Wanted<'_>) -> Missed {
    move |wanted| {
        site.as_deref_mut()
            .map_or(Missed::Gone, |site| site.missed(wanted, now))
    }
}
