//! Requests of the app's clients, each in its worst circumstances.

use std::time::Duration;

use jsocketd::config::Config;
use jsocketd::id::ConnectionId;
use serde_json::json;

use crate::crowds::{self, USER, all_join, all_sign_in, members, nobody, subscribers, watched};
use crate::stage::Inputs;
use crate::words::{all_say, say, text, token_of};
use crate::{Row, Tells, row};

pub fn rows() -> Vec<Row> {
    let mut rows = subscribing();
    rows.extend(leaving());
    rows.extend(proving());
    rows.push(Row {
        acts: |stage, times| vec![say(stage.crowd[0], "pusher:ping", json!({})); times],
        proof: "pusher:pong",
        ..row("ask pusher:ping", "with a session that many show", Tells::Nobody)
    });
    rows.push(Row {
        acts: |stage, times| vec![say(stage.crowd[0], "pusher:pong", json!({})); times],
        ..row("ask pusher:pong", "with a session that many show", Tells::Nobody)
    });
    rows.push(Row {
        crowd: members,
        acts: |stage, times| {
            let said = json!({"event": "client-x", "channel": "presence-room", "data": {}}).to_string();
            vec![text(stage.crowd[0], &said); times]
        },
        proof: "client-x",
        ..row("ask client-", "to the members of a presence channel", Tells::Each)
    });
    rows
}

fn counting(config: &mut Config) {
    config.apps[0].subscription_count = true;
}

fn subscribing() -> Vec<Row> {
    const ASK: &str = "ask pusher:subscribe";
    const IN: &str = "subscription_succeeded";
    vec![
        Row {
            acts: |stage, times| {
                let cookie = stage.log_in(USER, 1);
                let ids = stage.clients(times, Some(&cookie));
                stage.settle();
                let channels = ["news", "private-user-42", "private-cache-user-42", "private-level-2"];
                let all = ids.iter().zip(channels.iter().cycle());
                all.map(|(id, channel)| stage.subscribe(*id, channel)).collect()
            },
            proof: IN,
            ..row(ASK, "with a session that many show", Tells::Nobody)
        },
        Row {
            acts: |stage, times| {
                let cookie = stage.log_in(USER, 1);
                let ids = stage.clients(times, Some(&cookie));
                stage.all_subscribe(&ids, "private-user-42")
            },
            proof: IN,
            ..row(
                ASK,
                "before the user of a session with many connections is known",
                Tells::Nobody,
            )
        },
        Row {
            crowd: members,
            acts: |stage, times| {
                let ids = stage.clients(times, None);
                all_join(stage, &ids, 1_000_000)
            },
            proof: IN,
            ..row(ASK, "to a presence channel", Tells::Each)
        },
        Row {
            change: counting,
            crowd: subscribers,
            acts: |stage, times| {
                // A crowd gets a count at most every five seconds, and the first one is about the clients that left.
                stage.pass(Duration::from_secs(6));
                stage.pass(Duration::from_secs(6));
                let ids = stage.clients(times, None);
                ids.iter().map(|id| stage.signed(*id, "private-room", None)).collect()
            },
            proof: IN,
            ..row(ASK, "to a channel whose subscribers are counted", Tells::Each)
        },
        Row {
            crowd: crowds::strangers,
            acts: |stage, times| {
                let ids = stage.clients(times, None);
                stage.all_subscribe(&ids, "news")
            },
            proof: IN,
            ..row(ASK, "while many wait for an identity", Tells::Nobody)
        },
        Row {
            crowd: crowds::guests,
            acts: |stage, times| {
                // The whole crowd asks for an item that was not asked for before.
                let channel = format!("private-com_content.article.{}", 1 + stage.round % 100);
                let all: Inputs = stage.crowd.iter().map(|id| stage.subscribe(*id, &channel)).collect();
                stage.feed(all);
                let ids = stage.clients(times, None);
                stage.all_subscribe(&ids, &channel)
            },
            proof: IN,
            ..row(ASK, "to an item that many wait for", Tells::Each)
        },
        Row {
            crowd: |stage, crowd| {
                for n in 0..40 {
                    stage.commit(&format!("past-{}", n % 8), "saved", "{}");
                }
                crowds::recovering(stage, crowd);
            },
            acts: |stage, times| {
                crowds::wait_ahead(stage);
                let since = stage.position(-35);
                let ids: Vec<_> = (0..times).map(|_| stage.recovering(None)).collect();
                let data = |n: usize| json!({"channel": format!("past-{}", n % 8), "since": since});
                let all = ids.iter().enumerate();
                all.map(|(n, id)| say(*id, "pusher:subscribe", data(n))).collect()
            },
            proof: IN,
            ..row(ASK, "for a recovery from the table, which many wait for", Tells::Each)
        },
    ]
}

fn leaving() -> Vec<Row> {
    const ASK: &str = "ask pusher:unsubscribe";
    fn leave(ids: &[ConnectionId], channel: &str) -> Inputs {
        all_say(ids, "pusher:unsubscribe", &json!({"channel": channel}))
    }
    vec![
        Row {
            acts: |stage, times| {
                let cookie = stage.log_in(USER, 1);
                let ids = stage.clients(times, Some(&cookie));
                stage.play(stage.all_subscribe(&ids, "private-user-42"));
                leave(&ids, "private-user-42")
            },
            ..row(ASK, "from a channel with many subscribers", Tells::Nobody)
        },
        Row {
            crowd: members,
            acts: |stage, times| {
                let ids = stage.clients(times, None);
                stage.play(all_join(stage, &ids, 1_000_000));
                leave(&ids, "presence-room")
            },
            proof: "member_removed",
            ..row(ASK, "from a presence channel", Tells::Each)
        },
    ]
}

fn proving() -> Vec<Row> {
    const SIGN_IN: &str = "ask pusher:signin";
    const TOKEN: &str = "ask jsocketd:form_token";
    const DONE: &str = "signin_success";
    vec![
        Row {
            crowd: crowds::signed_in,
            acts: |stage, times| {
                let ids = stage.clients(times, None);
                all_sign_in(stage, &ids)
            },
            proof: DONE,
            ..row(SIGN_IN, "as a user with many signed-in connections", Tells::Nobody)
        },
        Row {
            acts: |stage, times| {
                let cookie = stage.log_in(USER, 1);
                let ids = stage.clients(times, Some(&cookie));
                stage.settle();
                all_sign_in(stage, &ids)
            },
            proof: DONE,
            ..row(SIGN_IN, "with a session that many show", Tells::Nobody)
        },
        Row {
            crowd: crowds::signing_in,
            acts: |stage, times| {
                let ids = crowds::with_sessions(stage, times, 1000);
                all_sign_in(stage, &ids)
            },
            proof: DONE,
            ..row(SIGN_IN, "while many users are looked up", Tells::Nobody)
        },
        Row {
            crowd: crowds::watchers,
            acts: |stage, times| {
                // Each of them signs in as another one of the watched users.
                let ids = stage.clients(times, None);
                let all = ids.iter().zip((1..=20).cycle());
                all.map(|(id, user)| stage.sign_in(*id, user, &watched())).collect()
            },
            proof: DONE,
            ..row(SIGN_IN, "as a user whom many watch", Tells::Each)
        },
        Row {
            acts: |stage, times| {
                let cookie = stage.log_in(USER, 1);
                let ids = stage.clients(times, Some(&cookie));
                stage.wait();
                all_say(&ids, "jsocketd:form_token", &json!({"form_token": token_of(USER)}))
            },
            proof: "form_token_accepted",
            ..row(TOKEN, "of a session that many show", Tells::Nobody)
        },
        Row {
            crowd: nobody,
            acts: |stage, times| {
                // The first one that is shown has the session's text read, so it is another session each time.
                let cookie = stage.log_in(USER, 1 + stage.round);
                let ids = stage.clients(times, Some(&cookie));
                stage.wait();
                all_say(&ids, "jsocketd:form_token", &json!({"form_token": token_of(USER)}))
            },
            proof: "form_token_accepted",
            ..row(TOKEN, "by many waiting connections", Tells::Each)
        },
        Row {
            acts: |stage, times| {
                let cookie = stage.log_in(USER, 1);
                let ids = stage.clients(times, Some(&cookie));
                stage.wait();
                all_say(&ids, "jsocketd:form_token", &json!({"form_token": "wrong"}))
            },
            proof: "the form token is not this session's",
            ..row(TOKEN, "a wrong one of a session that many show", Tells::Nobody)
        },
    ]
}
