//! Tests with texts as PHP writes them, and with malformed ones.

use super::*;

/// The value of a text that is one value.
fn value(text: &str) -> Option<Value<'_>> {
    parse(text.as_bytes()).map(|tree| tree.root().value())
}

#[test]
fn every_kind_of_value_is_read() {
    assert_eq!(value("N;"), Some(Value::Null));
    assert_eq!(value("b:0;"), Some(Value::Bool(false)));
    assert_eq!(value("b:1;"), Some(Value::Bool(true)));
    assert_eq!(value("i:-7;"), Some(Value::Int(-7)));
    assert_eq!(value("i:9223372036854775807;"), Some(Value::Int(i64::MAX)));
    assert_eq!(value("i:-9223372036854775808;"), Some(Value::Int(i64::MIN)));
    assert_eq!(value("d:0.10000000000000001;"), Some(Value::Float(0.1)));
    assert_eq!(value("d:-INF;"), Some(Value::Float(f64::NEG_INFINITY)));
    assert!(matches!(value("d:NAN;"), Some(Value::Float(f)) if f.is_nan()));
    assert_eq!(value("d:1.0E+25;"), Some(Value::Float(1e25)));
    assert_eq!(value("s:3:\"a\";\";"), Some(Value::Text(b"a\";")));
    assert_eq!(value("s:0:\"\";"), Some(Value::Text(b"")));
    assert_eq!(value("a:0:{}"), Some(Value::Array));
    assert_eq!(value("O:8:\"stdClass\":0:{}"), Some(Value::Object(b"stdClass")));
    assert_eq!(value("E:11:\"Suit:Hearts\";"), Some(Value::Opaque));
    assert_eq!(value("C:11:\"ArrayObject\":3:{x}y}"), Some(Value::Opaque));
}

#[test]
fn elements_are_found_by_name_and_the_last_one_counts() {
    let tree =
        parse(br#"a:4:{s:1:"k";i:1;i:5;a:1:{s:1:"k";i:9;}s:1:"k";i:2;s:1:"o";O:1:"X":1:{s:1:"p";b:1;}}"#).unwrap();
    let root = tree.root();
    assert_eq!(root.get("k").map(Place::value), Some(Value::Int(2)));
    assert_eq!(
        root.get("o").and_then(|o| o.get("p")).map(Place::value),
        Some(Value::Bool(true))
    );
    assert!(root.get("5").is_none());
    assert!(root.get("p").is_none());
    assert!(root.get("k").unwrap().get("k").is_none());
}

#[test]
fn references_are_followed_by_phps_numbers() {
    // The numbers: 1 is the array, 2 the object, 3 its property, 4 the object again, and 5 the integer. The alias has
    // no number.
    let text = br#"a:5:{s:1:"a";O:1:"X":1:{s:1:"p";i:7;}s:1:"b";r:2;s:1:"c";R:3;s:1:"d";i:8;s:1:"e";R:5;}"#;
    let tree = parse(text).unwrap();
    let root = tree.root();
    assert_eq!(root.get("b").map(Place::value), Some(Value::Object(b"X")));
    assert_eq!(
        root.get("b").and_then(|b| b.get("p")).map(Place::value),
        Some(Value::Int(7))
    );
    assert_eq!(root.get("c").map(Place::value), Some(Value::Int(7)));
    assert_eq!(root.get("e").map(Place::value), Some(Value::Int(8)));
}

#[test]
fn references_to_nothing_are_refused() {
    for text in [
        r#"a:2:{s:1:"x";r:3;i:0;i:1;}"#,
        r#"a:1:{s:1:"x";r:2;}"#,
        r#"a:1:{s:1:"x";R:0;}"#,
        r#"a:1:{s:1:"x";R:99;}"#,
        "r:1;",
    ] {
        assert_eq!(value(text), None, "{text}");
        let (tree, _) = parse_front(text.as_bytes()).unwrap();
        let x = tree.root().get("x").unwrap_or(tree.root());
        assert_eq!(x.value(), Value::Lost, "{text}");
    }
}

#[test]
fn references_behind_an_opaque_object_are_lost() {
    fn x(text: &str) -> Option<Value<'_>> {
        let tree = parse(text.as_bytes()).unwrap();
        tree.root().get("x").map(Place::value)
    }
    // The object may have numbered values of its own.
    let behind = r#"a:3:{i:0;C:1:"X":4:{i:1;}i:1;i:4;s:1:"x";R:3;}"#;
    assert_eq!(x(behind), Some(Value::Lost));
    let before = r#"a:3:{i:0;i:4;i:1;C:1:"X":4:{i:1;}s:1:"x";R:2;}"#;
    assert_eq!(x(before), Some(Value::Int(4)));
}

#[test]
fn a_claimed_length_or_count_is_not_believed() {
    assert_eq!(value("a:4000000000:{"), None);
    assert_eq!(value("a:2:{i:0;N;}"), None);
    assert_eq!(value("O:1:\"X\":99:{}"), None);
    assert_eq!(value("s:4000000000:\"a\";"), None);
    assert_eq!(value("s:99999999999999999999999999:\"a\";"), None);
    assert_eq!(value("C:1:\"X\":9:{}"), None);
}

#[test]
fn the_limits_hold() {
    let nested = |depth: usize| format!("{}N;{}", "a:1:{i:0;".repeat(depth), "}".repeat(depth));
    assert!(parse(nested(DEEPEST).as_bytes()).is_some());
    assert!(parse(nested(DEEPEST + 1).as_bytes()).is_none());
    assert!(parse(nested(50_000).as_bytes()).is_none());
    let flat = |count: usize| format!("a:{count}:{{{}}}", "i:0;N;".repeat(count));
    assert!(parse(flat(MOST_VALUES - 1).as_bytes()).is_some());
    assert!(parse(flat(MOST_VALUES).as_bytes()).is_none());
    let long = |length: usize| format!("s:{length}:\"{}\";", "a".repeat(length));
    assert!(parse(long(LONGEST - 12).as_bytes()).is_some_and(|_| long(LONGEST - 12).len() == LONGEST));
    assert!(parse(long(LONGEST - 11).as_bytes()).is_none());
}

#[test]
fn texts_that_php_does_not_write_are_refused() {
    for text in [
        "",
        "x",
        "N",
        "b:2;",
        "i:;",
        "i:1",
        "i:1.5;",
        "i:9223372036854775808;",
        "i:- 1;",
        "d:;",
        "d:x;",
        "s:1:\"ab\";",
        "s:-1:\"\";",
        "s::\"\";",
        "s:1:a;",
        "S:1:\"a\";",
        "a:1:{N;N;}",
        "a:1:{a:0:{}N;}",
        "a:0:{",
        "a:-1:{}",
        "o:1:{}",
        "O:1:\"X\":0:{};",
        "i:1;i:2;",
        "}",
        "a:1:{d:1;N;}",
        "b:1",
        "r:;",
        "R:-1;",
        "E:1:\"a\"",
        "O:0:\"\":0:{}",
        "O:1:\"{\":0:{}",
        "C:1:\" \":0:{}",
    ] {
        assert_eq!(value(text), None, "{text}");
    }
    assert_eq!(value("N;N;"), None);
}

#[test]
fn a_value_at_the_front_of_a_text_is_read_with_its_end() {
    assert_eq!(parse_front(b"a:1:{i:0;N;}b|i:2;").map(|(_, end)| end), Some(12));
    assert_eq!(parse_front(b"s:1:\"a\";x").map(|(_, end)| end), Some(8));
}
