//! The presence scenario: channels full of members, some of whom join and leave all the time. Every member keeps the
//! member list as a client would, and the list must be right: no user is added twice or removed without being a member,
//! the watchers receive every join and leave, and at the end every list is true.

use std::time::Duration;

use hdrhistogram::Histogram;
use jsocketd::time::Time;
use serde::Deserialize;

use crate::client::Script;
use crate::fleet::histogram;
use crate::pusher::{self, App, Frame};

mod run;

pub use run::run;

/// The settings of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub channels: usize,
    /// Of each channel, when all are there; 64 at most.
    pub members: usize,
    /// Of each channel, the members that stay.
    pub watchers: usize,
    /// Joins and leaves a second, counted together.
    pub rate: f64,
    pub span: Duration,
}

struct Presence {
    plan: Plan,
    app: App,
    people: Vec<Person>,
    /// The person that joins or leaves next.
    turn: usize,
    inside: usize,
    /// Joins so far in each channel. Every member that stays in the channel must receive them.
    added: Vec<u64>,
    removed: Vec<u64>,
    comings: u64,
    goings: u64,
    received: u64,
    /// Microseconds from a join or leave to its receipt by each watcher.
    each: Histogram<u64>,
    /// Microseconds from a subscription to its success.
    joining: Histogram<u64>,
    wrong: u64,
    first_wrong: Option<String>,
}

/// A connection, which is also a user.
struct Person {
    state: State,
    /// The subscription, ready to be sent once the socket id is known.
    subscribe: String,
    /// The last join or leave of this person.
    since: Time,
    /// The members of its channel as this person sees them: a bit for each place.
    sees: u64,
    /// Joins received since the measurement began.
    added: u64,
    removed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// It has no socket id yet.
    New,
    Outside,
    Joining,
    Inside,
}

/// The data of `subscription_succeeded` on a presence channel.
#[derive(Deserialize)]
struct Succeeded {
    presence: Members,
}

#[derive(Deserialize)]
struct Members {
    ids: Vec<String>,
}

/// The data of `member_added` and `member_removed`.
#[derive(Deserialize)]
struct Member {
    user_id: String,
}

impl Presence {
    fn new(plan: Plan, app: App) -> Self {
        let people = (0..plan.channels * plan.members).map(|_| Person {
            state: State::New,
            subscribe: String::new(),
            since: Time(0),
            sees: 0,
            added: 0,
            removed: 0,
        });
        Self {
            people: people.collect(),
            turn: 0,
            inside: 0,
            added: vec![0; plan.channels],
            removed: vec![0; plan.channels],
            comings: 0,
            goings: 0,
            received: 0,
            each: histogram(),
            joining: histogram(),
            wrong: 0,
            first_wrong: None,
            plan,
            app,
        }
    }

    /// Neighbours are in different channels, so that all channels are busy at any time.
    fn channel(&self, id: usize) -> usize {
        id % self.plan.channels
    }

    fn place(&self, id: usize) -> usize {
        id / self.plan.channels
    }

    fn name(channel: usize) -> String {
        format!("presence-load-{channel}")
    }

    fn is_watcher(&self, id: usize) -> bool {
        self.place(id) < self.plan.watchers
    }

    /// The connection id of the user of this user id in a channel.
    fn person(&self, user_id: &str, channel: usize) -> Option<usize> {
        let id = user_id.strip_prefix("user-")?.parse::<usize>().ok()?;
        (id < self.people.len() && self.channel(id) == channel).then_some(id)
    }

    fn note_wrong(&mut self, id: usize, what: &str) {
        self.wrong += 1;
        self.first_wrong
            .get_or_insert_with(|| format!("connection {id}: {what}"));
    }

    /// The frame with which the next person joins or leaves. A person whose last change is not confirmed is skipped.
    fn next(&mut self, now: Time) -> Option<(usize, String)> {
        let first = self.plan.channels * self.plan.watchers;
        for _ in first..self.people.len() {
            let id = first + self.turn % (self.people.len() - first);
            self.turn += 1;
            let channel = self.channel(id);
            let person = &mut self.people[id];
            match person.state {
                State::Inside => {
                    person.state = State::Outside;
                    person.since = now;
                    self.inside -= 1;
                    self.goings += 1;
                    self.removed[channel] += 1;
                    return Some((id, pusher::unsubscribe(&Self::name(channel))));
                }
                State::Outside => {
                    person.state = State::Joining;
                    person.since = now;
                    self.comings += 1;
                    self.added[channel] += 1;
                    return Some((id, person.subscribe.clone()));
                }
                State::New | State::Joining => {}
            }
        }
        None
    }

    /// Whether every person is in its intended state, every watcher has received everything and every list is true.
    fn is_settled(&self) -> bool {
        let here = self
            .people
            .iter()
            .all(|person| !matches!(person.state, State::New | State::Joining));
        here && self.missing() == 0 && self.mistaken().next().is_none()
    }

    /// The number of joins and leaves that the watchers have not received.
    fn missing(&self) -> u64 {
        let watchers = 0..self.plan.channels * self.plan.watchers;
        let missing = watchers.map(|id| {
            let (channel, person) = (self.channel(id), &self.people[id]);
            self.added[channel].abs_diff(person.added) + self.removed[channel].abs_diff(person.removed)
        });
        missing.sum()
    }

    /// Those inside whose list is not the truth. Only after the last word has come everywhere there must be none.
    fn mistaken(&self) -> impl Iterator<Item = usize> {
        let mut truth = vec![0u64; self.plan.channels];
        let inside = |id: &usize| self.people[*id].state == State::Inside;
        for id in (0..self.people.len()).filter(inside) {
            truth[self.channel(id)] |= 1 << self.place(id);
        }
        let inside = (0..self.people.len()).filter(inside);
        inside.filter(move |id| self.people[*id].sees != truth[self.channel(*id)])
    }

    fn succeeded(&mut self, id: usize, frame: &Frame<'_>, now: Time) {
        let channel = self.channel(id);
        let data = frame.data().unwrap_or_default();
        let Ok(Succeeded { presence }) = serde_json::from_str::<Succeeded>(&data) else {
            return self.note_wrong(id, "subscription_succeeded has no member list");
        };
        let mut places = presence
            .ids
            .iter()
            .map(|user| self.person(user, channel).map(|id| self.place(id)));
        let Some(sees) = places.try_fold(0u64, |seen, place| Some(seen | 1 << place?)) else {
            return self.note_wrong(id, "a stranger is in the member list");
        };
        if self.people[id].state != State::Joining || sees & 1 << self.place(id) == 0 {
            return self.note_wrong(id, "subscription_succeeded came twice or without oneself in it");
        }
        self.inside += 1;
        let person = &mut self.people[id];
        (person.state, person.sees) = (State::Inside, sees);
        let _ = self.joining.record(now.since(person.since).as_micros() as u64);
    }

    fn changed(&mut self, id: usize, frame: &Frame<'_>, came: bool, now: Time) {
        // A person that leaves may still receive a change: the server has not read the unsubscribe yet.
        if self.people[id].state == State::Outside {
            return;
        }
        let data = frame.data().unwrap_or_default();
        let member = serde_json::from_str::<Member>(&data).ok();
        let Some(who) = member.and_then(|member| self.person(&member.user_id, self.channel(id))) else {
            return self.note_wrong(id, "a stranger was added or removed");
        };
        // When a person joins again, changes of its last stay may come before the new member list.
        if self.people[id].state == State::Joining {
            return;
        }
        let bit = 1 << self.place(who);
        if (self.people[id].sees & bit == 0) != came {
            self.note_wrong(
                id,
                if came {
                    "a member was added twice"
                } else {
                    "a removed user was not a member"
                },
            );
        }
        self.people[id].sees ^= bit;
        if !self.is_watcher(id) {
            return;
        }
        self.received += 1;
        let since = self.people[who].since;
        let _ = self.each.record(now.since(since).as_micros() as u64);
        let person = &mut self.people[id];
        match came {
            true => person.added += 1,
            false => person.removed += 1,
        }
    }
}

impl Script for Presence {
    fn received(&mut self, id: usize, bytes: &[u8], _: &mut Vec<u8>, now: Time) {
        let Some(frame) = Frame::read(bytes) else {
            return self.note_wrong(id, "this is no frame");
        };
        let channel = Self::name(self.channel(id));
        if let Some(socket_id) = frame.socket_id().filter(|_| self.people[id].state == State::New) {
            let channel_data = format!(r#"{{"user_id":"user-{id}","user_info":{{"name":"Somebody {id}"}}}}"#);
            let auth = self.app.auth(&socket_id, &channel, &channel_data);
            let person = &mut self.people[id];
            person.subscribe = pusher::subscribe_signed(&channel, &auth, &channel_data);
            person.state = State::Outside;
        } else if frame.is_succeeded(&channel) {
            self.succeeded(id, &frame, now);
        } else if frame.channel.as_deref() == Some(&channel) && frame.event == "pusher_internal:member_added" {
            self.changed(id, &frame, true, now);
        } else if frame.channel.as_deref() == Some(&channel) && frame.event == "pusher_internal:member_removed" {
            self.changed(id, &frame, false, now);
        } else if !frame.is_upkeep() {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
            self.note_wrong(id, &format!("an unexpected message: {shown}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(presence: &mut Presence, id: usize, event: &str, data: &str) {
        let channel = Presence::name(presence.channel(id));
        let text = serde_json::json!({ "event": event, "channel": channel, "data": data }).to_string();
        presence.received(id, text.as_bytes(), &mut Vec::new(), Time(5));
    }

    fn change(presence: &mut Presence, id: usize, what: &str, who: usize) {
        let data = format!(r#"{{"user_id":"user-{who}"}}"#);
        receive(presence, id, &format!("pusher_internal:member_{what}"), &data);
    }

    /// Two channels of three persons and one watcher each, all inside: 0, 2, 4 in the first, 1, 3, 5 in the second.
    fn presence() -> Presence {
        let plan = Plan {
            channels: 2,
            members: 3,
            watchers: 1,
            rate: 1.0,
            span: Duration::from_secs(1),
        };
        let mut presence = Presence::new(plan, "1:k:s".parse().unwrap());
        for id in 0..6 {
            receive(
                &mut presence,
                id,
                "pusher:connection_established",
                r#"{"socket_id":"1.2"}"#,
            );
            assert_eq!(presence.people[id].state, State::Outside);
            presence.people[id].state = State::Joining;
            let ids = [id % 2, id % 2 + 2, id % 2 + 4]
                .map(|id| format!(r#""user-{id}""#))
                .join(",");
            let data = format!(r#"{{"presence":{{"ids":[{ids}],"hash":{{}},"count":3}}}}"#);
            receive(&mut presence, id, "pusher_internal:subscription_succeeded", &data);
        }
        assert_eq!((presence.inside, presence.wrong), (6, 0));
        presence
    }

    #[test]
    fn joins_and_leaves_that_every_member_receives_are_right() {
        let mut presence = presence();
        let (id, text) = presence.next(Time(0)).unwrap();
        assert_eq!(id, 2, "the watchers 0 and 1 stay");
        assert!(text.contains("pusher:unsubscribe") && text.contains("presence-load-0"));
        assert_eq!(presence.missing(), 1);
        change(&mut presence, 0, "removed", 2);
        change(&mut presence, 4, "removed", 2);
        assert!(presence.is_settled());
        assert_eq!((presence.wrong, presence.received), (0, 1));
    }

    #[test]
    fn a_change_that_the_member_list_does_not_allow_is_wrong() {
        let mut presence = presence();
        change(&mut presence, 0, "added", 2);
        assert_eq!(presence.wrong, 1, "added twice");
        change(&mut presence, 0, "removed", 4);
        change(&mut presence, 0, "removed", 4);
        assert_eq!(presence.wrong, 2, "removed twice");
        change(&mut presence, 0, "removed", 1);
        assert_eq!(presence.wrong, 3, "of another channel");
        receive(&mut presence, 0, "load", "x");
        assert_eq!(presence.wrong, 4, "an event that was not published");
    }

    #[test]
    fn a_list_that_is_not_the_truth_is_found_in_the_end() {
        let mut presence = presence();
        presence.next(Time(0));
        assert_eq!(presence.mistaken().collect::<Vec<_>>(), [0, 4]);
        change(&mut presence, 0, "removed", 2);
        assert!(presence.missing() == 0 && !presence.is_settled());
        assert_eq!(
            presence.mistaken().collect::<Vec<_>>(),
            [4],
            "it has not received the change"
        );
    }

    #[test]
    fn a_person_whose_change_is_not_confirmed_is_left_alone() {
        let mut presence = presence();
        let ids: Vec<_> = (0..4).map(|_| presence.next(Time(0)).unwrap().0).collect();
        assert_eq!(ids, [2, 3, 4, 5]);
        let back: Vec<_> = (0..4).map(|_| presence.next(Time(0)).unwrap().0).collect();
        assert_eq!(back, [2, 3, 4, 5]);
        assert_eq!(presence.next(Time(0)), None);
    }
}
