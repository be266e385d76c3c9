//! From rows of the session table to users and guests: every row of the kinds that were seen on running sites, every
//! configuration of handler and metadata, and forged rows.

use jsocketd::joomla::identity::Reason::{self, *};
use jsocketd::joomla::identity::{Judgement, judge, judge_user};
use jsocketd::joomla::session::read;
use jsocketd::joomla::site::{Client, Handler, SiteConfig};
use jsocketd::store::{Secret, SessionId, SessionRow, UserRow};

use crate::joomla_acl::session::{com_users, registry, session, text, user};

const NOW: i64 = 1_800_000_000;

const CHECKED: &str = "s:11:\"mfa_checked\";i:1;";

/// A site as the installer leaves it.
fn site() -> SiteConfig {
    SiteConfig {
        cookies: vec![
            (Client::Site, "0ad504c8cb42b9a2c9379cf1921924da".to_owned()),
            (Client::Administrator, "5386e5f722696aa90f2935566d512572".to_owned()),
        ],
        secret: Secret("0Joyhpv7XRo55TVH".to_owned()),
        handler: Handler::Database,
        metadata: true,
        lifetime: 900,
        shared: false,
        live_site: None,
        offline: false,
        root_user: None,
    }
}

fn shared() -> SiteConfig {
    SiteConfig {
        shared: true,
        cookies: vec![(Client::Site, "b012cda0daa1fc0177f69db47aab238b".to_owned())],
        ..site()
    }
}

fn filesystem() -> SiteConfig {
    SiteConfig {
        handler: Handler::Other("filesystem".to_owned()),
        ..site()
    }
}

fn without_metadata() -> SiteConfig {
    SiteConfig {
        metadata: false,
        ..site()
    }
}

fn anna() -> UserRow {
    UserRow {
        id: 291,
        name: "Anna Reader".to_owned(),
        username: "anna".to_owned(),
        groups: vec![2],
        ..UserRow::default()
    }
}

fn anna_with_mfa() -> UserRow {
    UserRow { mfa: true, ..anna() }
}

/// The session text of user 291.
fn logged_in(mfa: &[&str]) -> Option<Vec<u8>> {
    Some(text(&registry(&[&session(), &user(291), &com_users(mfa)])))
}

fn guest_row() -> SessionRow {
    SessionRow {
        id: SessionId::parse("0123456789abcdef").unwrap(),
        client_id: Some(0),
        guest: true,
        time: NOW,
        user_id: 0,
        user: None,
        text: Some(text(&registry(&[&session(), &user(0)]))),
        clock: NOW,
    }
}

/// Anna on the site; the text was not asked for.
fn row() -> SessionRow {
    SessionRow {
        guest: false,
        user_id: 291,
        user: Some(anna()),
        text: None,
        ..guest_row()
    }
}

fn with_mfa(text: Option<Vec<u8>>) -> SessionRow {
    SessionRow {
        user: Some(anna_with_mfa()),
        text,
        ..row()
    }
}

/// The row of a site that keeps no metadata.
fn bare(text: Option<Vec<u8>>) -> SessionRow {
    SessionRow {
        client_id: None,
        text,
        ..guest_row()
    }
}

fn judged(row: &SessionRow, site: &SiteConfig) -> Judgement {
    judge(row, Client::Site, site, false, NOW)
}

#[track_caller]
fn assert_user(judgement: &Judgement, client: Option<Client>) {
    match judgement {
        Judgement::User(user, of) => assert_eq!((user.id, *of), (291, client)),
        other => panic!("not a user: {other:?}"),
    }
}

#[track_caller]
fn assert_guest(judgement: &Judgement, why: Reason) {
    assert_eq!(*judgement, Judgement::Guest(why));
}

#[test]
fn rows_that_were_seen_are_judged() {
    assert_guest(&judged(&guest_row(), &site()), GuestSession);
    assert_user(&judged(&row(), &site()), Some(Client::Site));
    let with_text = SessionRow {
        text: logged_in(&[CHECKED]),
        ..row()
    };
    assert_user(&judged(&with_text, &site()), Some(Client::Site));
    let back_end = SessionRow {
        client_id: Some(1),
        ..row()
    };
    let judgement = judge(&back_end, Client::Administrator, &site(), false, NOW);
    assert_user(&judgement, Some(Client::Administrator));
    let unnamed = SessionRow {
        client_id: None,
        ..row()
    };
    assert_user(&judged(&unnamed, &shared()), None);
    assert_guest(
        &judged(
            &SessionRow {
                client_id: None,
                ..guest_row()
            },
            &shared(),
        ),
        GuestSession,
    );
    let api = SessionRow {
        client_id: Some(3),
        text: None,
        ..guest_row()
    };
    assert_guest(&judged(&api, &site()), OtherClient);
    let asks = judged(&bare(logged_in(&[CHECKED])), &without_metadata());
    assert!(
        matches!(&asks, Judgement::AskUser(291, Some(Client::Site), text) if text.mfa_checked),
        "{asks:?}"
    );
    assert_user(&judged(&row(), &filesystem()), Some(Client::Site));
}

#[test]
fn configurations_of_handler_and_metadata_are_judged() {
    let stale = SiteConfig {
        metadata: false,
        ..filesystem()
    };
    assert_user(&judged(&with_mfa(logged_in(&[CHECKED])), &site()), Some(Client::Site));
    assert!(matches!(
        judged(&bare(logged_in(&[])), &without_metadata()),
        Judgement::AskUser(291, ..)
    ));
    for handler in ["filesystem", "none", "redis", "memcached", "apcu"] {
        let site = SiteConfig {
            handler: Handler::Other(handler.to_owned()),
            ..site()
        };
        assert_user(&judged(&row(), &site), Some(Client::Site));
        // The column's value is from before the change of the handler.
        assert_guest(&judged(&with_mfa(logged_in(&[CHECKED])), &site), SecondFactorUnknown);
        assert_guest(&judged(&with_mfa(None), &site), SecondFactorUnknown);
    }
    assert_guest(&judged(&row(), &stale), UserUnknown);
    assert_guest(&judged(&bare(logged_in(&[CHECKED])), &stale), UserUnknown);
}

#[test]
fn a_session_ends_after_its_lifetime() {
    let at = |time: i64, site: &SiteConfig, joomla3: bool| {
        let row = SessionRow { time, ..row() };
        matches!(judge(&row, Client::Site, site, joomla3, NOW), Judgement::User(..))
    };
    assert!(at(NOW - 900, &site(), false));
    assert!(!at(NOW - 901, &site(), false));
    assert!(at(NOW - 900, &site(), true));
    assert!(!at(NOW - 901, &site(), true));
    assert!(!at(NOW - 901, &filesystem(), false));
    // Joomla 3 never writes the time again with another handler than the database.
    assert!(at(NOW - 86_400, &filesystem(), true));
    assert!(!at(NOW - 86_401, &filesystem(), true));
    let hour = SiteConfig {
        lifetime: 3_600,
        ..site()
    };
    assert!(at(NOW - 3_600, &hour, false) && !at(NOW - 3_601, &hour, false));
    // Where the lifetime is not set, it is Joomla's default. So 0 is what a negative one makes: it has passed at once.
    let negative = SiteConfig { lifetime: 0, ..site() };
    assert!(!at(NOW, &negative, false) && !at(NOW + 900, &negative, false) && !at(NOW, &negative, true));
    let endless = SiteConfig {
        lifetime: u64::MAX,
        ..site()
    };
    assert!(at(0, &endless, false) && at(i64::MAX, &endless, false));
    // The later of the two clocks counts, as far as it is from the other.
    for (clock, time, lives) in [
        (NOW + 100, NOW - 800, true),
        (NOW + 100, NOW - 801, false),
        (NOW - 100, NOW - 900, true),
        (NOW - 100, NOW - 901, false),
        (i64::MAX, NOW, false),
        (i64::MIN, NOW - 900, true),
    ] {
        let is_user = matches!(
            judged(&SessionRow { clock, time, ..row() }, &site()),
            Judgement::User(..)
        );
        assert_eq!(is_user, lives, "{clock} {time}");
    }
    let old = SessionRow {
        time: i64::MIN,
        ..row()
    };
    assert_guest(&judged(&old, &site()), Expired);
    let old = SessionRow {
        time: NOW - 901,
        ..bare(logged_in(&[CHECKED]))
    };
    assert_guest(&judged(&old, &without_metadata()), Expired);
}

#[test]
fn a_session_is_of_one_application() {
    let of = |client_id, asked_as, site: &SiteConfig| {
        let row = SessionRow { client_id, ..row() };
        match judge(&row, asked_as, site, false, NOW) {
            Judgement::User(_, client) => Ok(client),
            Judgement::Guest(why) => Err(why),
            other => panic!("{other:?}"),
        }
    };
    let (front, back) = (Client::Site, Client::Administrator);
    assert_eq!(of(Some(1), front, &site()), Err(OtherClient));
    assert_eq!(of(Some(0), back, &site()), Err(OtherClient));
    for other in [2, 3, 4, 255] {
        assert_eq!(of(Some(other), front, &site()), Err(OtherClient));
        assert_eq!(of(Some(other), front, &shared()), Err(OtherClient));
    }
    assert_eq!(of(None, front, &site()), Ok(Some(front)));
    assert_eq!(of(None, back, &site()), Ok(Some(back)));
    // The row may be from before sessions were shared.
    assert_eq!(of(Some(1), front, &shared()), Ok(None));
    // Shared by hand, without a name for the session: there are two cookies and two sessions.
    let two = SiteConfig { shared: true, ..site() };
    assert_eq!(of(None, front, &two), Ok(Some(front)));
    assert_eq!(of(None, back, &two), Ok(Some(back)));
    // A name for the session, but not shared: one cookie, and the row names the application that wrote last.
    let named = SiteConfig {
        cookies: vec![(front, "same".to_owned()), (back, "same".to_owned())],
        ..site()
    };
    assert_eq!(of(Some(1), front, &named), Ok(Some(back)));
    let shared_twice = SiteConfig { shared: true, ..named };
    assert_eq!(of(None, front, &shared_twice), Ok(None));
}

#[test]
fn users_who_may_not_are_guests() {
    let of = |user: Option<UserRow>| judged(&SessionRow { user, ..row() }, &site());
    assert_guest(&of(None), NoUser);
    assert_guest(&of(Some(UserRow { id: 290, ..anna() })), NoUser);
    assert_guest(
        &of(Some(UserRow {
            blocked: true,
            ..anna()
        })),
        Blocked,
    );
    assert_guest(
        &of(Some(UserRow {
            require_reset: true,
            ..anna()
        })),
        MustReset,
    );
    // Half a log-in is none.
    assert_guest(&judged(&SessionRow { user_id: 0, ..row() }, &site()), GuestSession);
    assert_guest(&judged(&SessionRow { guest: true, ..row() }, &site()), GuestSession);
}

#[test]
fn a_second_factor_must_have_been_given() {
    let of = |text| judged(&with_mfa(text), &site());
    assert_user(&of(logged_in(&[CHECKED])), Some(Client::Site));
    assert_guest(&of(logged_in(&[])), SecondFactorPending);
    assert_guest(&of(logged_in(&["s:11:\"mfa_checked\";i:0;"])), SecondFactorPending);
    assert_guest(&of(None), SecondFactorUnknown);
    assert_guest(&of(Some(Vec::new())), SecondFactorUnknown);
    assert_guest(&of(Some(b"joomla|s:9:\"corrupt\";".to_vec())), SecondFactorUnknown);
    let being_set_up = [CHECKED, "s:19:\"mandatory_mfa_setup\";i:1;"];
    assert_guest(&of(logged_in(&being_set_up)), SecondFactorPending);
    let without = |text| judged(&SessionRow { text, ..row() }, &site());
    assert_guest(&without(logged_in(&being_set_up)), SecondFactorPending);
    // A user without a second factor gets the mark one request after the log-in.
    assert_user(&without(logged_in(&[])), Some(Client::Site));
}

#[test]
fn a_text_that_disagrees_or_cannot_be_read_makes_a_guest() {
    let of = |text: Vec<u8>| {
        judged(
            &SessionRow {
                text: Some(text),
                ..row()
            },
            &site(),
        )
    };
    let of_user = |id| text(&registry(&[&session(), &user(id), &com_users(&[CHECKED])]));
    assert_guest(&of(of_user(290)), TextDisagrees);
    assert_guest(&of(of_user(0)), TextDisagrees);
    assert_guest(&of(text(&registry(&[&session()]))), TextDisagrees);
    assert_guest(&of(b"garbage".to_vec()), BadText);
    let other = SessionRow {
        text: Some(of_user(290)),
        ..with_mfa(None)
    };
    assert_guest(&judged(&other, &site()), TextDisagrees);
    // A text that PHP has not written yet holds no information.
    assert_user(&of(Vec::new()), Some(Client::Site));
}

#[test]
fn without_metadata_the_text_names_the_user() {
    let of = |text| judged(&bare(text), &without_metadata());
    let guest = text(&registry(&[&session(), &user(0)]));
    assert_guest(&of(Some(guest)), GuestSession);
    assert_guest(&of(None), UserUnknown);
    assert_guest(&of(Some(Vec::new())), UserUnknown);
    assert_guest(&of(Some(b"garbage".to_vec())), Reason::BadText);
    // The row's value is from before metadata was switched off.
    let stale = SessionRow {
        text: Some(text(&registry(&[&session(), &user(0)]))),
        ..row()
    };
    assert_guest(&judged(&stale, &without_metadata()), GuestSession);
    let stale = SessionRow {
        user_id: 290,
        text: logged_in(&[CHECKED]),
        ..row()
    };
    assert!(matches!(
        judged(&stale, &without_metadata()),
        Judgement::AskUser(291, Some(Client::Site), _)
    ));
    let both = SiteConfig {
        metadata: false,
        ..shared()
    };
    assert!(matches!(
        judged(&bare(logged_in(&[])), &both),
        Judgement::AskUser(291, None, _)
    ));
}

#[test]
fn the_user_of_a_text_is_judged_as_one_of_a_row() {
    let of = |user: Option<UserRow>, mfa: &[&str]| {
        let text = read(&logged_in(mfa).unwrap()).unwrap();
        judge_user(291, Some(Client::Site), &text, user.as_ref())
    };
    assert_user(&of(Some(anna()), &[]), Some(Client::Site));
    assert_user(&of(Some(anna_with_mfa()), &[CHECKED]), Some(Client::Site));
    assert_guest(&of(Some(anna_with_mfa()), &[]), SecondFactorPending);
    assert_guest(
        &of(Some(anna()), &["s:19:\"mandatory_mfa_setup\";i:1;"]),
        SecondFactorPending,
    );
    assert_guest(&of(None, &[CHECKED]), NoUser);
    assert_guest(&of(Some(UserRow { id: 290, ..anna() }), &[CHECKED]), NoUser);
    assert_guest(
        &of(
            Some(UserRow {
                blocked: true,
                ..anna()
            }),
            &[],
        ),
        Blocked,
    );
    assert_guest(
        &of(
            Some(UserRow {
                require_reset: true,
                ..anna()
            }),
            &[],
        ),
        MustReset,
    );
    // The question was about another user than the one in the text.
    let text = read(&logged_in(&[]).unwrap()).unwrap();
    let bob = UserRow { id: 292, ..anna() };
    assert_guest(&judge_user(292, None, &text, Some(&bob)), TextDisagrees);
    assert_guest(&judge_user(0, None, &text, Some(&UserRow { id: 0, ..anna() })), NoUser);
}

#[test]
fn real_texts_prove_a_second_factor() {
    let row = |text: &str, id: u32| SessionRow {
        user_id: id,
        user: Some(UserRow {
            id,
            mfa: true,
            ..anna()
        }),
        text: Some(crate::joomla_acl::fixture(text)),
        ..row()
    };
    let user = |row: &SessionRow| matches!(judged(row, &site()), Judgement::User(..));
    assert!(user(&row("session-data-j6-registered.txt", 291)));
    assert!(!user(&row("session-data-j6-registered.txt", 290)));
    assert!(!user(&row("session-data-j6-guest.txt", 291)));
    assert!(!user(&row("session-data-j3-registered.txt", 297)));
}

#[test]
fn reasons_have_names_of_their_own() {
    let all = [
        NoCookie,
        ForeignOrigin,
        NoRow,
        Expired,
        GuestSession,
        NoUser,
        UserUnknown,
        Blocked,
        MustReset,
        SecondFactorPending,
        SecondFactorUnknown,
        Reason::BadText,
        TextDisagrees,
        OtherClient,
        NoFormToken,
        DatabaseUnavailable,
    ];
    let code = |reason| serde_json::from_value::<String>(serde_json::json!(reason)).unwrap();
    let codes: std::collections::HashSet<String> = all.iter().map(code).collect();
    assert_eq!(codes.len(), all.len());
    let kebab = |code: &String| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    assert!(codes.iter().all(kebab), "{codes:?}");
}
