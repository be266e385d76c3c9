//! The client against engines that are honest, wrong, slow and mad. Answers are written as the engine writes them.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::outline::{FRAME, RECORDS, STRING};
use super::*;
use crate::protocol::engine::EntryId;

const NOW: Time = Time(5_000_000);

const HELLO: &str = "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n\
    :5\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";

fn settings() -> Settings {
    Settings {
        prefix: "jsocketd:".into(),
        ..Settings::default()
    }
}

/// A client whose greeting was sent.
fn greeting(settings: &Settings) -> Client {
    let mut client = Client::new(Line::Writing, settings, NOW);
    client.sent(client.unsent().len());
    client
}

/// A client that takes commands.
fn open() -> Client {
    let mut client = greeting(&settings());
    client.receive(HELLO.as_bytes());
    assert_eq!(client.heard(), Ok(Some(Heard::Open("Redis 7.0.15".into()))));
    assert_eq!(client.heard(), Ok(None));
    client
}

/// The end of a greeting that is answered like this.
fn greeted(answer: &str) -> Result<Option<Heard>, Broken> {
    let mut client = greeting(&settings());
    client.receive(answer.as_bytes());
    client.heard()
}

/// The meaning of this answer to this command.
fn asked(command: &Command, answer: &str) -> Result<Result<Reply, Fault>, Broken> {
    let mut client = open();
    client.give(command, NOW);
    client.receive(answer.as_bytes());
    match client.heard()? {
        Some(Heard::Reply(reply)) => Ok(reply),
        other => panic!("{answer:?}: {other:?}"),
    }
}

fn id(ms: u64, seq: u64) -> EntryId {
    EntryId { ms, seq }
}

fn append() -> Command {
    Command::Append {
        epoch: 7,
        bytes: Bytes::from_static(b"x\r\n"),
    }
}

fn read() -> Command {
    Command::Read {
        after: id(7, 1),
        wait_ms: 500,
    }
}

/// Entries of the log, as XREAD answers.
fn entries(list: &[(&str, &str)]) -> String {
    let mut text = format!("*1\r\n*2\r\n$12\r\njsocketd:log\r\n*{}\r\n", list.len());
    for (id, fields) in list {
        text.push_str(&format!("*2\r\n${}\r\n{id}\r\n{fields}", id.len()));
    }
    text
}

const X: &str = "*2\r\n$1\r\nb\r\n$1\r\nx\r\n";

#[test]
fn commands_are_written_as_the_engine_reads_them() {
    let mut client = open();
    let begin = Command::Begin {
        epoch: 9,
        bytes: Bytes::from_static(b""),
    };
    let read_at_once = Command::Read {
        after: id(0, 0),
        wait_ms: 0,
    };
    for (command, words) in [
        (append(), "XADD jsocketd:log NOMKSTREAM 7-* b x\r\n"),
        (begin, "XADD jsocketd:log 9-1 b "),
        (read(), "XREAD COUNT 32 BLOCK 500 STREAMS jsocketd:log 7-1"),
        (read_at_once, "XREAD COUNT 32 STREAMS jsocketd:log 0-0"),
        (Command::Last, "XREVRANGE jsocketd:log + - COUNT 1"),
        (Command::Trim { before: id(7, 5) }, "XTRIM jsocketd:log MINID 7-5"),
        (Command::Expire { ms: 60_000 }, "PEXPIRE jsocketd:log 60000"),
    ] {
        client.give(&command, NOW);
        let words: Vec<&str> = words.split(' ').collect();
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        assert_eq!(String::from_utf8_lossy(client.unsent()), text);
        client.sent(client.unsent().len());
    }
}

#[test]
fn the_greeting_logs_in_and_chooses_the_database() {
    let settings = Settings {
        user: String::new(),
        password: "pass word".into(),
        database: 3,
        prefix: String::new(),
    };
    let mut client = Client::new(Line::Reading, &settings, NOW);
    let name = format!("jsocketd-reading-{}", std::process::id());
    let text = String::from_utf8_lossy(client.unsent()).into_owned();
    let auth = "*7\r\n$5\r\nHELLO\r\n$1\r\n2\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$9\r\npass word\r\n$7\r\nSETNAME\r\n";
    assert!(text.starts_with(auth), "{text}");
    assert!(text.contains(&name), "{text}");
    assert!(text.ends_with("*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"), "{text}");
    client.sent(client.unsent().len());
    client.receive(HELLO.as_bytes());
    assert_eq!(client.heard(), Ok(None), "the database is not chosen yet");
    assert!(!client.is_free());
    client.receive(b"+OK\r\n");
    assert_eq!(client.heard(), Ok(Some(Heard::Open("Redis 7.0.15".into()))));
    assert!(client.is_free());
    for shown in [format!("{settings:?}"), format!("{client:?}")] {
        assert!(!shown.contains("pass word"), "{shown}");
    }
}

#[test]
fn engines_that_will_not_do_are_named() {
    let like = |from: &str, to: &str| HELLO.replace(from, to);
    let open = |text: &str| Ok(Some(Heard::Open(text.into())));
    assert_eq!(
        greeted(&like(
            "$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15",
            "$6\r\nvalkey\r\n$7\r\nversion\r\n$5\r\n8.1.1"
        )),
        open("Valkey 8.1.1")
    );
    assert_eq!(greeted(&like("$6\r\n7.0.15", "$6\r\n10.0.1")), open("Redis 10.0.1"));
    assert_eq!(
        greeted(&like("$6\r\n7.0.15", "$6\r\n6.2.14")),
        Err(Broken::Old("6.2.14".into()))
    );
    assert_eq!(greeted(&like("$6\r\nmaster", "$7\r\nreplica")), Err(Broken::Replica));
    assert_eq!(
        greeted("-ERR unknown command `HELLO`, with args beginning with: `2`\r\n"),
        Err(Broken::Old("before 6.0".into()))
    );
    for (text, contains) in [
        (
            "-NOAUTH HELLO must be called with the client already authenticated\r\n",
            "set `user` and `password`",
        ),
        (
            "-WRONGPASS invalid username-password pair\r\n",
            "set `user` and `password`",
        ),
        ("-ERR max number of clients reached\r\n", "max number of clients"),
        ("-DENIED Redis is running in protected mode\r\n", "protected mode"),
        ("+PONG\r\n", "another question"),
        ("*2\r\n$7\r\nversion\r\n*0\r\n", "another question"),
        ("HTTP/1.1 400 Bad Request\r\n", "does not speak RESP2"),
        ("J\0\0\0\n8.0.36\0", "does not speak RESP2"),
    ] {
        let why = greeted(text).expect_err(text).to_string();
        assert!(why.contains(contains), "{text:?}: {why}");
    }
}

#[test]
fn answers_mean_what_they_say() {
    let done = |n| Ok(Ok(Reply::Done(n)));
    assert_eq!(asked(&append(), "$3\r\n7-4\r\n"), Ok(Ok(Reply::Appended(id(7, 4)))));
    assert_eq!(asked(&append(), "$-1\r\n"), Ok(Ok(Reply::NoLog)));
    let small = "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n";
    assert_eq!(asked(&append(), small), Ok(Ok(Reply::TooSmall)));
    assert_eq!(asked(&Command::Trim { before: id(1, 1) }, ":12\r\n"), done(12));
    assert_eq!(asked(&Command::Expire { ms: 1 }, ":0\r\n"), done(0));
    assert_eq!(asked(&Command::Last, "*0\r\n"), Ok(Ok(Reply::Records(Vec::new()))));
    assert_eq!(asked(&read(), "*-1\r\n"), Ok(Ok(Reply::Records(Vec::new()))));
    let two = [
        (id(7, 2), Bytes::from_static(b"x")),
        (id(8, 1), Bytes::from_static(b"x")),
    ];
    assert_eq!(
        asked(&read(), &entries(&[("7-2", X), ("8-1", X)])),
        Ok(Ok(Reply::Records(two.to_vec())))
    );
}

#[test]
fn refusals_have_names_and_the_connection_stays() {
    let mut client = open();
    let text = "OOM command not allowed when used memory > 'maxmemory'";
    for (answer, fault) in [
        (format!("{text}."), Fault::Full(text.into())),
        ("WRONGTYPE Operation against a key".into(), Fault::WrongType),
        (
            "NOPERM No permissions to access a key".into(),
            Fault::Denied("NOPERM No permissions to access a key".into()),
        ),
        ("LOADING Redis is loading the dataset in memory".into(), Fault::Loading),
        ("MISCONF no disk".into(), Fault::ReadOnly("MISCONF no disk".into())),
        ("ERR \u{7}odd".into(), Fault::Refused("ERR odd".into())),
    ] {
        client.give(&append(), NOW);
        client.receive(format!("-{answer}\r\n").as_bytes());
        assert_eq!(client.heard(), Ok(Some(Heard::Reply(Err(fault)))), "{answer}");
    }
    let moved = asked(&append(), "-MOVED 3999 127.0.0.1:6381\r\n");
    let moved = moved.expect("the connection stays").expect_err("no reply").to_string();
    assert!(moved.contains("cluster mode of the engine is not supported"), "{moved}");
    let foreign = entries(&[("7-2", X), ("7-3", "*2\r\n$1\r\nc\r\n$1\r\nx\r\n")]);
    assert_eq!(asked(&read(), &foreign), Ok(Err(Fault::Foreign(id(7, 3)))));
    let more = entries(&[("7-2", "*4\r\n$1\r\nb\r\n$1\r\nx\r\n$1\r\nc\r\n$1\r\nx\r\n")]);
    assert_eq!(asked(&read(), &more), Ok(Err(Fault::Foreign(id(7, 2)))));
}

#[test]
fn an_engine_that_lies_is_left() {
    let many: Vec<(String, &str)> = (0..=RECORDS).map(|n| (format!("8-{n}"), X)).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(id, fields)| (id.as_str(), *fields)).collect();
    let begin = Command::Begin {
        epoch: 9,
        bytes: Bytes::new(),
    };
    for (command, answer) in [
        (append(), "+OK\r\n".to_owned()),
        (append(), ":1\r\n".into()),
        (append(), "$3\r\n8-1\r\n".into()),
        (append(), "$1\r\n8\r\n".into()),
        (append(), "$2\r\n\u{e9}\r\n".into()),
        (append(), entries(&[("7-2", X)])),
        (
            append(),
            "-READONLY You can't write against a read only replica.\r\n".into(),
        ),
        (begin.clone(), "$3\r\n9-2\r\n".into()),
        (begin, "$-1\r\n".into()),
        (read(), "$3\r\n7-2\r\n".into()),
        (read(), entries(&[("7-1", X)])),
        (read(), entries(&[("7-3", X), ("7-2", X)])),
        (read(), entries(&[("7-3", X), ("7-3", X)])),
        (read(), entries(&[("7-3", "$-1\r\n")])),
        (read(), entries(&[("7-2", X)]).replace("jsocketd:log", "jsocketD:log")),
        (read(), entries(&many)),
        (read(), ">1\r\n+invalidate\r\n".into()),
        (Command::Last, "*2\r\n*0\r\n*0\r\n".into()),
        (Command::Trim { before: id(1, 1) }, ":-1\r\n".into()),
        (Command::Trim { before: id(1, 1) }, ":1.5\r\n".into()),
        (Command::Expire { ms: 1 }, ":2\r\n".into()),
    ] {
        assert!(asked(&command, &answer).is_err(), "{command:?} {answer:?}");
    }
    let mut client = open();
    client.receive(b"+");
    assert_eq!(client.heard(), Err(Broken::Lie(Lie::Unasked)), "nothing was asked");
    let mut client = open();
    client.give(&append(), NOW);
    client.receive(b"$3\r\n7-4\r\n$3\r\n7-5\r\n");
    assert!(matches!(client.heard(), Ok(Some(Heard::Reply(Ok(_))))));
    assert_eq!(
        client.heard(),
        Err(Broken::Lie(Lie::Unasked)),
        "one question has one answer"
    );
}

#[test]
fn each_answer_has_its_time() {
    let mut client = greeting(&settings());
    assert_eq!(client.deadline(), NOW + PATIENCE);
    assert_eq!(client.late(NOW + PATIENCE), Some(Broken::Late("HELLO")));
    client.receive(HELLO.as_bytes());
    assert!(matches!(client.heard(), Ok(Some(Heard::Open(_)))));
    assert_eq!(client.deadline(), Time::NEVER);
    client.give(&read(), NOW);
    assert_eq!(client.deadline(), NOW + Duration::from_millis(500) + PATIENCE);
    client.give(&append(), NOW);
    assert_eq!(client.deadline(), NOW + PATIENCE);
    assert_eq!(client.late(NOW + PATIENCE / 2), None);
    assert_eq!(client.late(NOW + PATIENCE), Some(Broken::Late("XADD")));
}

#[test]
fn what_waits_to_be_sent_is_bounded() {
    let mut client = open();
    while client.is_free() {
        client.give(&append(), NOW);
    }
    assert_eq!(client.questions.len(), QUESTIONS);
    let mut client = open();
    let bytes = Bytes::from(vec![b'x'; STRING]);
    while client.is_free() {
        client.give(
            &Command::Append {
                epoch: 7,
                bytes: bytes.clone(),
            },
            NOW,
        );
    }
    assert!(
        client.unsent().len() < UNSENT + STRING + 1024,
        "{}",
        client.unsent().len()
    );
}

#[test]
fn answers_may_come_in_pieces_and_mad_ones_do_no_harm() {
    let big = "y".repeat(5000);
    let big = format!("*2\r\n$1\r\nb\r\n$5000\r\n{big}\r\n");
    let story = [
        (append(), "$3\r\n7-4\r\n".to_owned()),
        (append(), "$-1\r\n".into()),
        (read(), entries(&[("7-2", X), ("7-3", &big), ("7-4", X)])),
        (Command::Trim { before: id(1, 1) }, ":3\r\n".into()),
        (append(), "-OOM used up\r\n".into()),
    ];
    let bytes: Vec<u8> = story.iter().flat_map(|(_, answer)| answer.bytes()).collect();
    let mut told = open();
    story.iter().for_each(|(command, _)| told.give(command, NOW));
    told.receive(&bytes);
    let whole: Vec<Heard> = std::iter::from_fn(|| told.heard().expect("honest")).collect();
    assert_eq!(whole.len(), story.len());
    for seed in 0..2000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = bytes.clone();
        let is_mad = seed % 2 == 1;
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..4) {
                _ if !is_mad => {}
                0 => bytes[at] = random.random(),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"0123456789-+:$*\r\n"[random.random_range(0..17)]),
                _ => bytes.truncate(at + 1),
            }
        }
        let (mut client, mut heard) = (open(), Vec::new());
        story.iter().for_each(|(command, _)| client.give(command, NOW));
        let mut rest = &bytes[..];
        let end = loop {
            if rest.is_empty() {
                break Ok(());
            }
            let (piece, later) = rest.split_at(random.random_range(1..=rest.len().min(700)));
            rest = later;
            client.receive(piece);
            let more = loop {
                match client.heard() {
                    Ok(Some(one)) => heard.push(one),
                    Ok(None) => break Ok(()),
                    Err(why) => break Err(why),
                }
            };
            assert!(client.unfinished() <= FRAME + 700, "seed {seed}");
            if more.is_err() {
                break more;
            }
        };
        assert!(heard.len() <= story.len(), "seed {seed}: one answer a question");
        if !is_mad {
            assert_eq!((end, &heard), (Ok(()), &whole), "seed {seed}");
        }
    }
}
