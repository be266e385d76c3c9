//! Session texts: real ones of Joomla 3 and 6, other texts that PHP may write, and damaged ones.

use data_encoding::{BASE64, HEXLOWER};
use jsocketd::joomla::session::{BadText, SessionText, form_token, read};
use jsocketd::store::{Secret, SessionRow};
use md5::{Digest, Md5};

use crate::joomla_acl::Dice;

const FIXTURES: &[&str] = &[
    "session-data-j3-admin.txt",
    "session-data-j3-guest.txt",
    "session-data-j3-registered.txt",
    "session-data-j6-admin.txt",
    "session-data-j6-guest.txt",
    "session-data-j6-registered.txt",
];

const TOKEN: &str = "0123456789abcdefABCDEF0123456789";

/// A session's text as PHP's handler `php` writes it, around the serialized Registry.
pub fn text(registry: &str) -> Vec<u8> {
    let encoded = BASE64.encode(registry.as_bytes());
    format!("joomla|s:{}:\"{encoded}\";", encoded.len()).into_bytes()
}

/// A serialized object of Joomla 4 to 6 with these properties, already serialized, as its data.
pub fn registry(properties: &[&str]) -> String {
    let (count, properties) = (properties.len(), properties.concat());
    format!(
        "O:24:\"Joomla\\Registry\\Registry\":3:{{s:7:\"\0*\0data\";O:8:\"stdClass\":{count}:{{{properties}}}\
         s:14:\"\0*\0initialized\";b:0;s:12:\"\0*\0separator\";s:1:\".\";}}"
    )
}

/// The property `session`.
pub fn session() -> String {
    format!(
        "s:7:\"session\";O:8:\"stdClass\":3:{{s:7:\"counter\";i:1;s:5:\"timer\";O:8:\"stdClass\":3:{{s:5:\"start\";i:1;\
         s:4:\"last\";i:2;s:3:\"now\";i:3;}}s:5:\"token\";s:32:\"{TOKEN}\";}}"
    )
}

/// The property `user`.
pub fn user(id: u32) -> String {
    format!("s:4:\"user\";O:20:\"Joomla\\CMS\\User\\User\":1:{{s:2:\"id\";i:{id};}}")
}

/// The property `com_users` with properties that are already serialized.
pub fn com_users(properties: &[&str]) -> String {
    let (count, properties) = (properties.len(), properties.concat());
    format!("s:9:\"com_users\";O:8:\"stdClass\":{count}:{{{properties}}}")
}

fn decoded(fixture: &str) -> Vec<u8> {
    let text = crate::joomla_acl::fixture(fixture);
    let start = text.iter().position(|&b| b == b'"').unwrap() + 1;
    BASE64.decode(&text[start..text.len() - 2]).unwrap()
}

#[test]
fn real_texts_are_read() {
    let expect = |name: &str, user_id, token: &str, mfa_checked| {
        let expected = SessionText {
            user_id,
            token: Some(Secret(token.to_owned())),
            mfa_checked,
            mfa_setup_pending: false,
        };
        let read = read(&crate::joomla_acl::fixture(&format!("session-data-{name}.txt"))).unwrap();
        assert_eq!(read, expected, "{name}");
        assert_eq!(read.token, expected.token, "{name}");
    };
    expect("j3-guest", None, "QYfpBAlN5hTmHY9ZxbthtfpxgTQopvxU", false);
    expect("j3-registered", Some(297), "6KplXfddY2QSTL1YER08BBf6RasHGKU2", false);
    expect("j3-admin", Some(296), "9xtsjnxNKt7ugyT1m1z2XmkKKFdukSqV", false);
    expect("j6-guest", None, "8bcfad70fc95d098c4ecc11683069312", false);
    expect("j6-registered", Some(291), "97ba891c95fb7f0a38aa93f68095daa6", true);
    expect("j6-admin", Some(290), "1b21e80fdb83320f6aa78ffaf8b71fcd", true);
}

#[test]
fn the_second_factor_is_read_from_the_text() {
    let with = |property: &str| read(&text(&registry(&[&session(), &user(7), &com_users(&[property])]))).unwrap();
    assert!(with("s:11:\"mfa_checked\";i:1;").mfa_checked);
    assert!(with("s:11:\"mfa_checked\";s:1:\"1\";").mfa_checked);
    for not in [
        "i:0;",
        "i:2;",
        "b:0;",
        "N;",
        "s:0:\"\";",
        "a:1:{i:0;i:1;}",
        "C:1:\"X\":0:{}",
    ] {
        assert!(!with(&format!("s:11:\"mfa_checked\";{not}")).mfa_checked, "{not}");
    }
    for pending in ["i:1;", "s:1:\"1\";", "b:1;", "a:0:{}", "C:1:\"X\":0:{}"] {
        assert!(
            with(&format!("s:19:\"mandatory_mfa_setup\";{pending}")).mfa_setup_pending,
            "{pending}"
        );
    }
    for done in ["i:0;", "b:0;", "N;", "s:0:\"\";", "s:1:\"0\";"] {
        assert!(
            !with(&format!("s:19:\"mandatory_mfa_setup\";{done}")).mfa_setup_pending,
            "{done}"
        );
    }
}

#[test]
fn other_variables_may_stand_before_and_after() {
    let joomla = text(&registry(&[&session(), &user(7)]));
    let around = |before: &str, after: &str| [before.as_bytes(), &joomla, after.as_bytes()].concat();
    for (before, after) in [
        ("", "b|i:1;"),
        ("a|s:3:\"x|y\";", ""),
        ("a|O:1:\"X\":1:{s:1:\"p\";r:1;}b|a:1:{i:0;d:0.5;}", "c|b:0;"),
        ("a|s:9:\"joomla|N;\";", "c|E:3:\"A:B\";d|N;"),
        ("joomla|N;", ""),
    ] {
        assert_eq!(
            read(&around(before, after)).map(|text| text.user_id),
            Ok(Some(7)),
            "{before} {after}"
        );
    }
    // PHP keeps the last one.
    let twice = around(
        "",
        std::str::from_utf8(&text(&registry(&[&session(), &user(8)]))).unwrap(),
    );
    assert_eq!(read(&twice).unwrap().user_id, Some(8));
    // A variable whose words look like Joomla's is not Joomla's.
    let forged = format!("a|s:{}:\"{}\";", joomla.len(), std::str::from_utf8(&joomla).unwrap());
    assert_eq!(read(forged.as_bytes()), Err(BadText));
}

#[test]
fn phps_other_handler_is_read_too() {
    let encoded = BASE64.encode(registry(&[&session(), &user(7)]).as_bytes());
    let joomla = format!("s:6:\"joomla\";s:{}:\"{encoded}\";", encoded.len());
    let read = |text: String| read(text.as_bytes()).map(|text| text.user_id);
    assert_eq!(read(format!("a:1:{{{joomla}}}")), Ok(Some(7)));
    assert_eq!(read(format!("a:3:{{i:0;N;{joomla}s:1:\"b\";i:1;}}")), Ok(Some(7)));
    assert_eq!(read("a:0:{}".to_owned()), Err(BadText));
    assert_eq!(read("a:1:{s:6:\"joomla\";i:1;}".to_owned()), Err(BadText));
}

#[test]
fn words_of_visitors_are_not_searched() {
    let words = "O:20:\"Joomla\\CMS\\User\\User\":1:{s:2:\"id\";i:290;}s:4:\"user\";";
    let typed = format!("s:4:\"form\";s:{}:\"{words}\";", words.len());
    let hidden = format!("s:5:\"other\";O:8:\"stdClass\":1:{{{}}}", user(290));
    for properties in [
        [session(), typed.clone(), user(7)],
        [session(), user(7), typed],
        [session(), hidden, user(7)],
    ] {
        let properties = properties.each_ref().map(String::as_str);
        assert_eq!(read(&text(&registry(&properties))).unwrap().user_id, Some(7));
    }
    // The namespace of Joomla 3 means nothing where the session is Joomla 4's.
    let namespace = format!("s:9:\"__default\";O:8:\"stdClass\":1:{{{}}}", user(290));
    let read = read(&text(&registry(&[&namespace, &session()]))).unwrap();
    assert_eq!((read.user_id, read.token), (None, Some(Secret(TOKEN.to_owned()))));
}

#[test]
fn a_user_that_was_met_before_is_a_reference() {
    let earlier = "s:5:\"owner\";O:20:\"Joomla\\CMS\\User\\User\":1:{s:2:\"id\";i:7;}";
    // 1 the Registry, 2 its data, 3 the owner.
    let read = read(&text(&registry(&[earlier, "s:4:\"user\";r:3;", &session()]))).unwrap();
    assert_eq!(read.user_id, Some(7));
}

#[test]
fn a_user_without_a_valid_id_is_an_error() {
    let with = |user: &str| read(&text(&registry(&[&session(), &format!("s:4:\"user\";{user}")]))).map(|t| t.user_id);
    let object = |id: &str| format!("O:20:\"Joomla\\CMS\\User\\User\":1:{{s:2:\"id\";{id}}}");
    assert_eq!(with("N;"), Ok(None));
    assert_eq!(with(&object("N;")), Ok(None));
    assert_eq!(with(&object("s:1:\"0\";")), Ok(None));
    assert_eq!(with(&object("s:10:\"4294967295\";")), Ok(Some(u32::MAX)));
    for id in [
        "i:-1;",
        "i:4294967296;",
        "s:0:\"\";",
        "s:2:\"-1\";",
        "s:2:\" 7\";",
        "s:3:\"7 x\";",
        "d:7;",
        "b:1;",
        "a:0:{}",
        "C:1:\"X\":0:{}",
        "s:10:\"4294967296\";",
    ] {
        assert_eq!(with(&object(id)), Err(BadText), "{id}");
    }
    for user in [
        "i:7;",
        "s:1:\"7\";",
        "b:1;",
        "a:1:{s:2:\"id\";i:7;}",
        "O:1:\"X\":0:{}",
        "O:1:\"X\":1:{s:2:\"id\";i:7;}",
        "C:1:\"X\":0:{}",
        "C:1:\"X\":0:{}",
    ] {
        assert_eq!(with(user), Err(BadText), "{user}");
    }
}

#[test]
fn a_token_is_32_letters_and_digits() {
    let with = |token: &str| {
        let session = format!("s:7:\"session\";a:1:{{s:5:\"token\";{token}}}");
        read(&text(&registry(&[&session]))).unwrap().token
    };
    assert_eq!(with(&format!("s:32:\"{TOKEN}\";")), Some(Secret(TOKEN.to_owned())));
    assert_eq!(with(&format!("s:31:\"{}\";", &TOKEN[1..])), None);
    assert_eq!(with(&format!("s:33:\"{TOKEN}0\";")), None);
    assert_eq!(with(&format!("s:32:\"{} \";", &TOKEN[1..])), None);
    assert_eq!(with("i:1;"), None);
}

#[test]
fn a_text_that_is_no_session_is_refused() {
    let of = |registry: &str| read(&text(registry));
    assert_eq!(read(b""), Err(BadText));
    assert_eq!(read(b"garbage"), Err(BadText));
    assert_eq!(read(b"other|i:1;"), Err(BadText));
    assert_eq!(read(b"joomla|i:1;"), Err(BadText));
    assert_eq!(read(b"joomla|s:99:\"x\";"), Err(BadText));
    assert_eq!(read(b"a|junk joomla|N;"), Err(BadText));
    assert_eq!(read(b"joomla|s:2:\"!!\";"), Err(BadText));
    assert_eq!(of("junk"), Err(BadText));
    assert_eq!(of("N;N;"), Err(BadText));
    assert_eq!(of("i:1;"), Err(BadText));
    assert_eq!(of("a:0:{}"), Err(BadText));
    assert_eq!(of("O:1:\"X\":0:{}"), Err(BadText));
    let registry_of =
        |class: &str| of(&registry(&[&session(), &user(7)]).replacen("24:\"Joomla\\Registry\\Registry", class, 1));
    assert!(registry_of("9:\"JRegistry").is_ok());
    assert_eq!(registry_of("8:\"stdClass"), Err(BadText));
    assert_eq!(of("O:1:\"X\":1:{s:7:\"\0*\0data\";i:1;}"), Err(BadText));
    assert_eq!(read(&vec![b'|'; SessionRow::LONGEST_TEXT + 1]), Err(BadText));
    assert_eq!(of(&registry(&[])), Ok(SessionText::default()));
}

#[test]
fn no_part_of_a_text_passes_for_it() {
    for name in FIXTURES {
        let whole = crate::joomla_acl::fixture(name);
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{name} cut at {end}");
        }
        let inner = decoded(name);
        for end in 0..inner.len() {
            let cut = text(std::str::from_utf8(&inner[..end]).unwrap());
            assert!(read(&cut).is_err(), "{name} cut inside at {end}");
        }
    }
}

#[test]
fn damaged_texts_are_read_or_refused() {
    let (mut dice, mut read_anyway, mut refused) = (Dice(0x5eed_0003), 0, 0);
    for name in FIXTURES {
        let (whole, inner) = (crate::joomla_acl::fixture(name), decoded(name));
        for round in 0..4_000 {
            let damaged = if round % 4 == 0 {
                damage(&mut dice, whole.clone())
            } else {
                let encoded = BASE64.encode(&damage(&mut dice, inner.clone()));
                format!("joomla|s:{}:\"{encoded}\";", encoded.len()).into_bytes()
            };
            match read(&damaged) {
                Ok(_) => read_anyway += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(
        read_anyway > 100 && refused > 10_000,
        "{read_anyway} read, {refused} refused"
    );
}

/// Bytes changed, taken out, doubled or swapped for bytes with a meaning.
fn damage(dice: &mut Dice, mut bytes: Vec<u8>) -> Vec<u8> {
    const MEANING: &[u8] = b"sabidONCEerR:;{}\"|0123456789-";
    for _ in 0..1 + dice.below(4) {
        let at = dice.below(bytes.len());
        match dice.below(5) {
            0 => bytes[at] = MEANING[dice.below(MEANING.len())],
            1 => bytes[at] ^= 1 << dice.below(8),
            2 => drop(bytes.remove(at)),
            3 => {
                let end = (at + 1 + dice.below(40)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = dice.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => bytes.insert(at, MEANING[dice.below(MEANING.len())]),
        }
    }
    bytes
}

#[test]
fn the_worst_texts_of_the_full_length_come_to_an_end() {
    let longest = SessionRow::LONGEST_TEXT;
    let bars = "|".repeat(longest);
    let names = "a|N;".repeat(longest / 4);
    let room = longest / 4 * 3 - 600;
    let aliases = "s:1:\"x\";r:1;".repeat(room / 12);
    let nested = "a:1:{i:0;".repeat(room / 9);
    let many = "i:0;N;".repeat(room / 6);
    assert!(read(bars.as_bytes()).is_err());
    assert_eq!(read(names.as_bytes()), Err(BadText));
    let object = |count: usize, body: &str| text(&format!("O:1:\"X\":{count}:{{{body}}}"));
    assert_eq!(read(&object(room / 12, &aliases)), Err(BadText));
    assert!(read(&object(1, &nested)).is_err());
    assert!(read(&object(room / 6, &many)).is_err());
    assert!(read(&text(&nested)).is_err());
}

#[test]
fn the_form_token_is_joomlas() {
    // printf '%s' 0Joyhpv7XRo55TVH29197ba891c95fb7f0a38aa93f68095daa6 | md5sum
    let token = form_token("0Joyhpv7XRo55TVH", 291, "97ba891c95fb7f0a38aa93f68095daa6");
    assert_eq!(token, "b175ec589741cb86369756518159bf61");
    let guest = form_token("secret", 0, TOKEN);
    assert_eq!(
        guest,
        HEXLOWER.encode(&Md5::digest(format!("secret0{TOKEN}").as_bytes()))
    );
}

#[test]
fn a_token_is_not_shown() {
    let read = read(&text(&registry(&[&session(), &user(7)]))).unwrap();
    assert!(read.token.is_some());
    assert!(!format!("{read:?}").contains(TOKEN));
}
