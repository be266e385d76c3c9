//! Carries out what the rooms request of each other, and hands the news of the cluster to the rooms.

use super::Service;
use super::cluster::Rooms;
use crate::hub::roster::Reviewed;
use crate::protocol::actions::{Action, Actions};
use crate::protocol::effects::Effect;
use crate::site::Site;
use crate::time::Now;

/// Carries out the effects that the rooms request of each other. The consequences of an effect are carried out before
/// the next effect. Effects that concern all connections are carried out once, at the end.
pub(super) fn run(service: &mut Service, now: Now, actions: &mut Actions) {
    if actions.effects().is_empty() {
        return;
    }
    let (mut wake_all, mut review_all, mut release) = (false, false, false);
    for effect in std::mem::take(actions.effects()) {
        match effect {
            Effect::WakeAll => wake_all = true,
            Effect::ReviewAll => review_all = true,
            // Messages that waited for the same answers go on too.
            Effect::Release => (release, wake_all) = (true, true),
            effect => {
                let effect = match &mut service.link {
                    Some(link) => link.take(effect, now),
                    None => Some(effect),
                };
                if let Some(effect) = effect {
                    carry(service, effect, now, actions);
                }
                run(service, now, actions);
            }
        }
    }
    if review_all {
        service.home.review(Reviewed::All, &mut service.apps, now, actions);
    }
    if wake_all {
        for id in service.waiters.ids() {
            service.go_on(id, false, now, actions);
        }
    }
    if release {
        service.home.release(&mut service.apps, now, actions);
    }
    run(service, now, actions);
    hear(service, now, actions);
}

/// Carries out an effect here, on this process.
fn carry(service: &mut Service, effect: Effect, now: Now, actions: &mut Actions) {
    let (home, apps) = (&mut service.home, &mut service.apps);
    match effect {
        Effect::Hook(app, event) => service.webhooks.note(&apps.app(app).settings.id, event, now),
        Effect::Occupied(channel) => home.site_mut().into_iter().for_each(|site| site.occupied(&channel)),
        Effect::Vacated(channel) => home.site_mut().into_iter().for_each(|site| site.vacated(&channel)),
        Effect::Wake(id) => {
            home.review(Reviewed::Connection(id), apps, now, actions);
            service.go_on(id, false, now, actions);
        }
        Effect::GoOn(id) => service.go_on(id, false, now, actions),
        Effect::Close(id, code, why) => actions.push(Action::Close(id, code, why.into())),
        Effect::Review(channels) => {
            for channel in channels {
                home.review(Reviewed::Channel(&channel), apps, now, actions);
            }
        }
        Effect::TurnAway => {
            for (id, member) in service.members.iter() {
                if let Some((code, why)) = home.turned_away(id, &member.speaks) {
                    actions.push(Action::Close(id, code, why.into()));
                }
            }
        }
        Effect::Row(seen) => home.publish_row(&seen, apps, now, actions),
        Effect::Terminate(user) => {
            if let Some(app) = home.app() {
                apps.app_mut(app).terminate(&user, actions);
            }
        }
        Effect::TerminateUser(app, user) => {
            apps.app_mut(app).terminate(&user, actions);
            if let Some(site) = home.of_mut(app) {
                site.terminate(&user, actions.effects());
            }
        }
        Effect::Nudge(app) => {
            if let Some(outbox) = home.of_mut(app).and_then(Site::outbox_mut) {
                outbox.nudge(now);
            }
        }
        Effect::Extensions => home.take_credentials(&service.config, apps, &mut service.entrance.page),
        // A server without an engine is alone. `run` carries out the last three.
        Effect::Share(..) | Effect::LogHook(..) | Effect::WakeAll | Effect::ReviewAll | Effect::Release => {}
    }
}

/// Hands the news of the cluster to the rooms, each with all its consequences before the next one.
pub(super) fn hear(service: &mut Service, now: Now, actions: &mut Actions) {
    if !service.link.as_mut().is_some_and(|link| link.begin_to_hear()) {
        return;
    }
    while let Some(link) = &mut service.link
        && let Some(news) = link.next(&mut service.apps)
    {
        let rooms = Rooms {
            apps: &mut service.apps,
            api: &mut service.api,
            webhooks: &mut service.webhooks,
            home: &service.home,
            now,
            actions,
        };
        if let Some(effect) = link.hear(news, rooms) {
            carry(service, effect, now, actions);
        }
        run(service, now, actions);
    }
}
