//! Tests with real files field by field, with PHP's own rules one by one, and with thousands of random files.

mod php;

use std::path::Path;

use super::*;

const FIXTURES: [(&str, &[u8]); 5] = [
    (
        "j3.10-installer.php",
        include_bytes!("../../../tests/fixtures/joomla/j3.10-installer.php"),
    ),
    (
        "j4.4-unix-socket.php",
        include_bytes!("../../../tests/fixtures/joomla/j4.4-unix-socket.php"),
    ),
    (
        "j5.3-after-admin-save-odd-password.php",
        include_bytes!("../../../tests/fixtures/joomla/j5.3-after-admin-save-odd-password.php"),
    ),
    (
        "j6.1-installer.php",
        include_bytes!("../../../tests/fixtures/joomla/j6.1-installer.php"),
    ),
    (
        "hand-edited.php",
        include_bytes!("../../../tests/fixtures/joomla/hand-edited.php"),
    ),
];

fn parse(text: &[u8], file: &Path) -> Result<Parsed, BadFile> {
    super::parse(text, file, &mut Constants::default())
}

fn fixture(name: &str) -> Parsed {
    let (_, text) = FIXTURES.iter().find(|(here, _)| *here == name).expect(name);
    parse(text, Path::new("/srv/site/configuration.php")).expect(name)
}

fn parsed(text: &str) -> Parsed {
    parse(text.as_bytes(), Path::new("/srv/site/configuration.php")).expect(text)
}

/// The value of `$x` in a class that has no other member.
fn value_of(expression: &str) -> Result<Value, String> {
    let parsed = parsed(&format!(
        "<?php\nclass JConfig {{\n\tpublic $x = {expression};\n\tpublic $after = 'after';\n}}"
    ));
    assert_eq!(known(&parsed, "after"), text("after"), "{expression}");
    parsed.entries["x"].value.clone()
}

fn known(parsed: &Parsed, key: &str) -> Value {
    parsed.entries.get(key).expect(key).value.clone().expect(key)
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// The value that Joomla's own writer expressed with a line `\tpublic $key = literal;`. This oracle uses no tokens.
fn written_by_joomla(literal: &str) -> Result<Value, Why> {
    let inside = literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    Ok(match (literal, inside) {
        ("true", _) => Value::Bool(true),
        ("false", _) => Value::Bool(false),
        ("null", _) => Value::Null,
        ("array('0' => 'all')", _) => return Err("it is an array".to_owned()),
        (_, Some(inside)) => text(&inside.replace("\\'", "'").replace("\\\\", "\\")),
        (_, None) => Value::Int(literal.parse().expect(literal)),
    })
}

#[test]
fn files_that_joomla_wrote_are_read_field_by_field() {
    for (name, source) in &FIXTURES[..4] {
        let parsed = fixture(name);
        let source = std::str::from_utf8(source).expect(name);
        let mut fields = 0;
        for (at, line) in source.lines().enumerate() {
            let Some(rest) = line.strip_prefix("\tpublic $") else {
                continue;
            };
            let (key, literal) = rest.split_once(" = ").expect(line);
            let value = written_by_joomla(literal.strip_suffix(';').expect(line));
            let entry = Entry { line: at + 1, value };
            assert_eq!(parsed.entries.get(key), Some(&entry), "{name}: {line}");
            fields += 1;
        }
        assert_eq!(
            (parsed.entries.keys().count(), parsed.dynamic()),
            (fields, None),
            "{name}"
        );
        assert!(fields > 50, "{name}");
    }
}

#[test]
fn an_odd_password_is_read_as_php_reads_it() {
    let parsed = fixture("j5.3-after-admin-save-odd-password.php");
    assert_eq!(known(&parsed, "password"), text(r"jo'om\la pass"));
    assert_eq!(known(&parsed, "sitename"), text(r#"Joomla's Lab \ "5" $x"#));
}

#[test]
fn a_file_that_people_have_edited_is_read_field_by_field() {
    let parsed = fixture("hand-edited.php");
    for (key, value) in [
        ("sitename", text("It's \"mine\" $5 \\ A")),
        ("host", text("db.internal:3307")),
        ("user", text("web")),
        ("password", text(r"a;b}c'd\e")),
        ("db", text("site")),
        ("dbprefix", text("abc12_")),
        ("secret", text("k3yK3yk3yk3yk3y1")),
        ("lifetime", Value::Float(15.0)),
        ("offset", Value::Null),
        ("log_path", text("/srv/site/administrator/logs")),
        ("session_handler", text("database")),
    ] {
        assert_eq!(known(&parsed, key), value, "{key}");
    }
    for key in ["log_priorities", "arr"] {
        assert_eq!(parsed.text(key).expect_err(key).why, "it is an array");
    }
    let why = parsed.text("smtppass").expect_err("it is computed");
    assert_eq!(
        why.to_string(),
        "line 20: $smtppass cannot be read: a method of the class sets it"
    );
    assert_eq!(
        (parsed.entries.get("hidden"), parsed.entries.get("NOISE")),
        (None, None)
    );
    assert_eq!(parsed.entries.keys().count(), 14);
}

#[test]
fn strings_have_the_escapes_of_their_quotes() {
    for (literal, meaning) in [
        (r"'a\nb'", r"a\nb"),
        (r"'\\\'\x41$x {$y}'", r"\'\x41$x {$y}"),
        (r"'ends with \\'", r"ends with \"),
        ("'two\nlines'", "two\nlines"),
        (r#""\n\t\r\v\e\f\\\$\"""#, "\n\t\r\x0b\x1b\x0c\\$\""),
        (r#""\x41\x4a\X4A\x4""#, "AJJ\x04"),
        (r#""\101\0\18""#, "A\0\x018"),
        (r#""\u{e9}\u{1F600}\u{000041}""#, "é😀A"),
        (r#""\q\'\xg \u41""#, r"\q\'\xg \u41"),
        (r#""$5 $ {x} \{$ \$x""#, "$5 $ {x} \\{$ $x"),
        (r#"'a"b' . "c'd""#, "a\"bc'd"),
    ] {
        assert_eq!(value_of(literal), Ok(text(meaning)), "{literal}");
    }
    assert_eq!(value_of(r#""\400\xe9""#), Ok(Value::Text(vec![0, 0xe9])), "octal wraps");
    for literal in [
        r#""$x""#,
        r#""a $x[y] \" b""#,
        "`ls '`",
        r#""\u{110000}""#,
        r#""\u{D800}""#,
        r#""\u{+41}""#,
        r#""\u{}""#,
        r#""\u{""#,
        "<<<A\none\n  \"two\" '\nA",
        "<<<'A'\n$one {$two}\\x41\nA",
        "<<< \"A\"\n    one\n\n A1\n    A",
        "<<<A\r\none\r\n A1\r\nA",
        "<<<A\nA",
    ] {
        assert!(value_of(literal).is_err(), "{literal}");
    }
}

#[test]
fn numbers_are_written_in_many_ways() {
    for (literal, number) in [
        ("15", 15),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("-9223372036854775807", -i64::MAX),
    ] {
        assert_eq!(value_of(literal), Ok(Value::Int(number)), "{literal}");
    }
    for (literal, number) in [
        ("15.0", 15.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.5E-1", 0.15),
        ("-2.5", -2.5),
        ("15.", 15.0),
        ("007.5", 7.5),
        ("9223372036854775808", 9_223_372_036_854_775_808.0),
        ("-9223372036854775808", -9_223_372_036_854_775_808.0),
    ] {
        assert_eq!(value_of(literal), Ok(Value::Float(number)), "{literal}");
    }
    for literal in [
        "089",
        "017",
        "0x1F",
        "0o17",
        "0b101",
        "1_000_000",
        "60 * 24",
        "(1)",
        "- -3",
        "-'x'",
        "1 + 2 . 3",
    ] {
        assert!(value_of(literal).is_err(), "{literal}");
    }
}

#[test]
fn constants_and_concatenations_are_known() {
    for (literal, meaning) in [
        ("__DIR__ . '/tmp'", "/srv/site/tmp"),
        ("__dir__.DIRECTORY_SEPARATOR.'x'", "/srv/site/x"),
        (r"\DIRECTORY_SEPARATOR", "/"),
        ("'a' . 3 . true . null . -1 . false", "a31-1"),
        ("dirname(__FILE__) . '/x'", "/srv/site/x"),
        (r"\dirname(__DIR__, 2) . 'x'", "/x"),
        ("dirname('//a//b//')", "//a"),
        ("dirname(dirname('/a/.'), 2)", "/"),
    ] {
        assert_eq!(value_of(literal), Ok(text(meaning)), "{literal}");
    }
    for (literal, value) in [
        ("TRUE", Value::Bool(true)),
        ("False", Value::Bool(false)),
        (r"\NULL", Value::Null),
    ] {
        assert_eq!(value_of(literal), Ok(value), "{literal}");
    }
    let before = "<?php define('A', 'a'); \\defined('B') || \\define('B', A . 'b'); const C = B . 'c', D = 4;
        define('E', getenv('E')); define('F', 1); define('F', 2); define('G', 1); define('G', 1);";
    let properties = "public $a = A; public $c = C . D; public $e = E; public $f = F; public $g = G; public $h = H;";
    let parsed = parsed(&format!("{before} class JConfig {{ {properties} }}"));
    assert_eq!(known(&parsed, "a"), text("a"));
    assert_eq!(known(&parsed, "c"), text("abc4"));
    assert_eq!(known(&parsed, "g"), Value::Int(1));
    for (key, why) in [
        ("e", "it uses the constant E: it calls getenv()"),
        ("f", "it uses the constant F: it is defined twice"),
        ("h", "it uses the constant H"),
    ] {
        assert_eq!(parsed.text(key).expect_err(key).why, why);
    }
}

#[test]
fn values_that_php_must_compute_are_skipped_with_the_reason() {
    for (literal, why) in [
        ("getenv('A') ?: 'b;c'", "it calls getenv()"),
        ("$_ENV['A']", "it uses the variable $_ENV"),
        ("self::A . 'x'", "it uses self::"),
        ("new Foo(['a' => 1, 'b'])", "it uses `new`"),
        ("true ? 'a' : 'b'", "there is `?` in it"),
        ("'a' == 'b'", "there is `==` in it"),
        ("\"it's $x\"", "it puts a variable into a string"),
        ("`ls;`", "it runs a command of the shell"),
        ("function () { return [1, 2]; }", "it calls function()"),
        ("fn ($x) => $x", "it calls fn()"),
        ("['a' => getenv('B'), 'c' => 1]", "it is an array"),
        ("array(\"a\" => ';', array('b' => ')'))", "it is an array"),
        ("[...A, 1]", "it is an array"),
        ("(1)", "there is `(` in it"),
        ("1 * 2", "there is `*` in it"),
        ("0x1F", "it is a number that is not decimal"),
        ("'a' . 1.5", "it is a number with a fraction; put it in quotes"),
        ("dirname('a')", "it calls dirname() of a relative path"),
        ("'x' 'y'", "an operator is missing in it"),
        ("(int) '5'", "there is `(` in it"),
        ("'a' . []", "it is an array"),
        ("<<<A\nB\nA", "it is a heredoc"),
    ] {
        assert_eq!(value_of(literal), Err(why.to_owned()), "{literal}");
    }
    let deep = format!("{}'/a'{}", "dirname(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(value_of(&deep), Err("it is nested too deeply".into()));
}

#[test]
fn classes_are_written_in_many_ways() {
    for source in [
        "<?php class JConfig { public $x = 1; }",
        "\u{feff}<?PHP\nclass JConfig\n{\n\tpublic $x = 1;\n}\n",
        "<?php final class jconfig extends Base implements A, B { var $x = 1; }",
        "<?php if (!class_exists('JConfig')) { class JConfig { public $x = 1; } }",
        "<?php /* class JConfig { */ # class JConfig {\n// class JConfig { ?> <b>'</b> <?php
         class JConfig { public $x = 1; } ?>\n",
        "<?php class Other { public $x = 2; const Y = '}'; } class JConfig { public $x = 1; }",
        "<?php $o = new class (1) { public $x = 2; }; $n = Other::class; class JConfig { public $x = 1; }",
        "<?php function f($a = [1]) { return '}'; } class JConfig { public $x = 1; } __halt_compiler(); ' \" /*",
        "<?php class JConfig { public readonly int $y; public ?int $x = 1, $z = 2; }",
        "<?php class JConfig { #[Attr('}', [1])] public int|string|null $x = 1; # [no attribute\n }",
        "<?php class JConfig { use A, B { a as b; } const A = [1, ';'], B = 2; case C; public (A&B)|null $x = 1; }",
        "<?php class JConfig { public private(set) string $y = ''; protected(set) int $x = 1; }",
        "<?php class JConfig { public function f(array $a = ['x' => ')']): ?array { if (1) { } } public $x = 1; }",
        "<?php class JConfig { abstract function f(); public $x = 1; static function g() { } }",
        "#!/usr/bin/php\n<?php\r\nclass JConfig {\r\n\tpublic $x = 1;\r\n}\r\n",
        "<?php\r// old Mac\rclass JConfig {\r\tpublic $x = 1; # x\r}",
    ] {
        assert_eq!(known(&parsed(source), "x"), Value::Int(1), "{source}");
    }
    let parsed =
        parsed("<?php class JConfig { public $x = 1 + f(2, 3), $y = 2; private $p = 3; static $s = 4; public $n; }");
    assert_eq!(parsed.entries.keys().collect::<Vec<_>>(), ["n", "x", "y"]);
    assert_eq!(known(&parsed, "y"), Value::Int(2));
    assert_eq!(known(&parsed, "n"), Value::Null);
}

#[test]
fn values_from_outside_the_class_are_named_and_not_read() {
    for (source, wanted) in [
        (
            "<?php\nclass JConfig extends \\Site\\Base implements A {\n public $x = 1; }",
            vec![(2, "the parent class Site\\Base")],
        ),
        ("<?php class JConfig extends stdClass { public $x = 1; }", vec![]),
        (
            "<?php class JConfig {\n use Local;\n use A, B { A::x insteadof B; }\n public $x = 1; }",
            vec![(2, "the trait Local"), (3, "the traits A, B")],
        ),
        (
            "<?php class JConfig { public $x = 1;\n public function __construct(public string $host = 'h', array $no = [1, ')'],
             protected $hidden = 2, #[Attr('public', [1])] readonly (A&B)|null $user = null, private(set) int $lifetime = 15,
             private $p = f(public: 1)) { } }",
            vec![(2, "the constructor's parameters $host, $user, $lifetime")],
        ),
        ("<?php class JConfig { function __construct(array $a = [], $b = 1) { } public $x = 1; }", vec![]),
        ("<?php class JConfig { function other(public $a) { } public $x = 1; }", vec![]),
    ] {
        let parsed = parsed(source);
        assert_eq!(known(&parsed, "x"), Value::Int(1), "{source}");
        let unread: Vec<_> = parsed.unread().iter().map(|part| (part.line, part.part.as_str())).collect();
        assert_eq!(unread, wanted, "{source}");
    }
    let parsed = parsed("<?php class JConfig { function __construct(public $host = 'h', private $user = 'u') { } }");
    let why = parsed.text("host").expect_err("it is a value of the call");
    assert_eq!(why.why, "it is a parameter of the constructor");
    assert_eq!(parsed.text("user"), Ok(None), "Joomla does not see it either");
}

#[test]
fn a_class_behind_a_condition_is_refused_with_the_way_out() {
    for source in [
        "<?php\nif (getenv('X')) { class JConfig { public $x = 1; } }",
        "<?php\nif ($a) { } else { class JConfig { public $x = 1; } }",
        "<?php\nif ($a): class JConfig { public $x = 1; } endif;",
        "<?php\nif ($a): $b = 1; else: class JConfig { public $x = 1; } endif;",
        "<?php\nforeach (f() as $a): class JConfig { public $x = 1; } endforeach;",
        "<?php\nif (!class_exists('Other')) { class JConfig { public $x = 1; } }",
        "<?php\nif (class_exists('JConfig')) { class JConfig { public $x = 1; } }",
        "<?php\nif (!class_exists('JConfig') && f()) { class JConfig { public $x = 1; } }",
        "<?php\nif ($a) { if (!class_exists('JConfig')) { class JConfig { public $x = 1; } } }",
        "<?php\nfunction f() { class JConfig { public $x = 1; } }",
        "<?php\ntry { class JConfig { public $x = 1; } } catch (E) { }",
        "<?php\nnamespace { if ($a) { class JConfig { public $x = 1; } } }",
    ] {
        let bad = parse(source.as_bytes(), Path::new("/c.php")).expect_err(source);
        assert_eq!(bad.line, 2, "{source}");
        for words in [
            "behind an `if`",
            "[joomla] and [database]",
            "leave `root` in [joomla] empty",
        ] {
            assert!(bad.why.contains(words), "{source}: {bad}");
        }
    }
    for source in [
        "<?php if (!class_exists('JConfig')) { class JConfig { public $x = 1; } }",
        "<?php if (!\\Class_Exists(\"jconfig\", false)) { define('A', 1); class JConfig { public $x = A; } }",
        "<?php if ($a) { f(); } class JConfig { public $x = 1; }",
        "<?php if ($a): f(); endif; while (f()): endwhile; class JConfig { public $x = 1; }",
        "<?php if ($a) f(); $b = $c ? 1 : 2; class JConfig { public $x = 1; }",
        "<?php namespace { class JConfig { public $x = 1; } }",
        "<?php defined('_JEXEC') or die; class JConfig { public $x = 1; } if ($a) { f(); }",
        "<?php $f = function () { return 1; }; class JConfig { public $x = 1; }",
        "<?php if (f(['{'])) { } class JConfig { public $x = 1; }",
    ] {
        assert_eq!(known(&parsed(source), "x"), Value::Int(1), "{source}");
    }
}

#[test]
fn properties_that_methods_set_cannot_be_read() {
    let parsed = parsed(
        "<?php class JConfig {
            public function __construct() {
                $this->password = getenv('A'); $this->host .= ':3307'; $this->new ??= 1;
                if ($this->user == 'x' || $this->list['x']) { $this->set(); }
                foreach ($_ENV as $k => $v) { $this->$k = $v; }
            }
            public $password = 'p'; public $host = 'h'; public $user = 'u';
        }",
    );
    for key in ["password", "host", "new"] {
        let why = parsed.text(key).expect_err(key);
        assert_eq!((why.line, why.why.as_str()), (3, "a method of the class sets it"));
    }
    assert_eq!(known(&parsed, "user"), text("u"));
    assert_eq!(parsed.dynamic(), Some(5));
}

#[test]
fn lines_are_counted_as_an_editor_does() {
    let parsed =
        parsed("<?php\r\n/*\n\n*/ class JConfig {\n public $a = 'x\ny'; public $b = <<<A\n\nA; public $c\n = 1;\r}");
    let line = |key: &str| parsed.entries.get(key).expect(key).line;
    assert_eq!((line("a"), line("b"), line("c")), (5, 6, 8));
}

#[test]
fn an_incomplete_file_is_refused() {
    for (text, line, why) in [
        ("", 1, "no class JConfig"),
        ("class JConfig { public $x = 1; }", 1, "no class JConfig"),
        ("<?php class Other { }", 1, "no class JConfig"),
        ("<?php\nclass JConfig {\npublic $x = 1;", 2, "ends within it"),
        ("<?php\nclass JConfig", 2, "ends within it"),
        ("<?php\nclass JConfig {\npublic $x = 'a", 3, "string starts here"),
        ("<?php\nclass JConfig {\npublic $x = \"a\n\\\"", 3, "string starts here"),
        ("<?php\nclass JConfig {\npublic $x = <<<A\nb", 3, "heredoc starts here"),
        ("<?php\n/* class JConfig { }", 2, "comment starts here"),
        ("<?php\nclass JConfig { public $x = \"{$a", 2, "code in braces"),
        (
            "<?php\nclass JConfig { public $x = 1;\npublic $y = \"{$a[\"b\"]}\"; }",
            3,
            "code in braces",
        ),
        ("<?php\nclass JConfig { public $x = `${a}`; }", 2, "code in braces"),
        (
            "<?php\nclass JConfig { public $y { get => 'a;b'; set { } }\npublic $x = 1; }",
            2,
            "hooks",
        ),
        (
            "<?php\nclass JConfig { public $y = [] { get; }\npublic $x = 1; }",
            3,
            "hooks",
        ),
        ("<?php\nclass JConfig { public $y = 1 { get; } }", 2, "hooks"),
        ("<?php\nclass JConfig { public $y = 1\n}", 3, "neither `;` nor `,`"),
        (
            "<?php\nclass JConfig { public $x, public $y; }",
            2,
            "neither `;` nor `,`",
        ),
        ("<?php\nclass JConfig { }\nclass JConfig { }", 3, "second time"),
    ] {
        let bad = parse(text.as_bytes(), Path::new("/c.php")).expect_err(text);
        assert!(bad.line == line && bad.why.contains(why), "{text:?}: {bad}");
    }
    let long = vec![b' '; LONGEST_FILE + 1];
    assert!(parse(&long, Path::new("/c.php")).is_err());
    // No real file is accepted if its end is missing.
    for (name, text) in FIXTURES {
        let whole = text.trim_ascii_end().len();
        for end in (0..whole).step_by(7).chain([whole - 1]) {
            assert!(parse(&text[..end], Path::new("/c.php")).is_err(), "{name}: {end}");
        }
    }
}

#[test]
fn values_are_coerced_by_their_meaning() {
    let parsed = parsed(
        "<?php class JConfig { public $f1 = false; public $f2 = 0; public $f3 = '0'; public $f4 = ''; public $f5 = 0.0;
         public $n = null; public $t1 = true; public $t2 = '1'; public $t3 = 2; public $t4 = '0.0'; public $a = ['x'];
         public $i1 = '15'; public $i2 = ' 15 minutes'; public $i3 = 15.9; public $i4 = '1e2'; public $i5 = 'x'; }",
    );
    let truth = |key: &str| parsed.truth(key).expect(key).map(|found| found.value);
    for key in ["f1", "f2", "f3", "f5"] {
        assert_eq!(truth(key), Some(false), "{key}");
    }
    for key in ["t1", "t2", "t3", "t4"] {
        assert_eq!(truth(key), Some(true), "{key}");
    }
    assert_eq!((truth("f4"), truth("n"), truth("missing")), (None, None, None));
    let integer = |key: &str| parsed.number(key).expect(key).map(|found| found.value as i64);
    for (key, number) in [("i1", 15), ("i2", 15), ("i3", 15), ("i4", 100), ("i5", 0), ("t1", 1)] {
        assert_eq!(integer(key), Some(number), "{key}");
    }
    assert_eq!((integer("f4"), integer("n"), integer("missing")), (None, None, None));
    let string = |key: &str| parsed.text(key).expect(key).map(|found| found.value);
    assert_eq!(string("t3").as_deref(), Some("2"));
    assert_eq!(string("t1").as_deref(), Some("1"));
    assert_eq!(
        (string("f1"), string("f4"), string("n"), string("missing")),
        (None, None, None, None)
    );
    assert_eq!(parsed.text("a").expect_err("array").why, "it is an array");
    assert!(parsed.truth("a").is_err() && parsed.number("a").is_err());
    let why = parsed.text("i3").expect_err("a fraction").why;
    assert_eq!(why, "it is a number with a fraction; put it in quotes");
}

#[test]
fn other_encodings_are_kept_or_refused_and_never_changed() {
    let source = b"<?php class JConfig { public $password = 'caf\xe9'; public $sitename = 'x'; }";
    let parsed = parse(source, Path::new("/c.php")).expect("it is read");
    assert_eq!(known(&parsed, "password"), Value::Text(b"caf\xe9".to_vec()));
    assert!(parsed.text("password").expect_err("not UTF-8").why.contains("UTF-8"));
    assert_eq!(format!("{parsed:?}"), r#"{"password", "sitename", ..}"#);
}

#[test]
fn constants_cannot_make_a_value_grow_without_limit() {
    let mut source =
        "<?php define('A0', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx');\n".to_owned();
    for step in 0..200 {
        source += &format!("define('A{}', A{step} . A{step});\n", step + 1);
    }
    source += "define('B', [1]); class JConfig { public $x = A200; public $y = [B, B]; public $z = 'z'; }";
    let parsed = parsed(&source);
    assert!(parsed.text("x").is_err() && parsed.text("y").is_err());
    assert_eq!(known(&parsed, "z"), text("z"));
    let longest = parsed.entries.values().map(|entry| match &entry.value {
        Ok(Value::Text(text)) => text.len(),
        _ => 0,
    });
    assert!(longest.sum::<usize>() < 3 << 20);
}

/// Marsaglia's xorshift64, so that the files are the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("below a usize")
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

fn read_anything(text: &[u8]) {
    drop(parse(text, Path::new("/srv/site/configuration.php")));
}

/// The CPU time of this thread, in seconds.
fn seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[test]
fn mutated_files_neither_panic_nor_hang() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let bits: Vec<&[u8]> = [
        "'",
        "\"",
        "\\",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ";",
        "$",
        "{$",
        "<<<A\n",
        "\nA",
        "?>",
        "<?php ",
        "/*",
        "*/",
        "#[",
        "=>",
        "\0",
        "\u{e9}",
        "class JConfig {",
        "define('A',",
        "\\u{",
        "0x",
        "function ",
        "$this->",
        "`",
    ]
    .iter()
    .map(|bit| bit.as_bytes())
    .collect();
    for _ in 0..6000 {
        let (_, source) = FIXTURES[random.below(FIXTURES.len())];
        let mut text = source.to_vec();
        for _ in 0..=random.below(6) {
            let at = random.below(text.len());
            let end = (at + random.below(40)).min(text.len());
            match random.below(5) {
                0 => text[at] = random.below(256) as u8,
                1 if end - at < text.len() => drop(text.drain(at..end)),
                2 => drop(text.splice(at..at, random.of(&bits).iter().copied())),
                3 => {
                    let copy = text[at..end].to_vec();
                    let to = random.below(text.len());
                    drop(text.splice(to..to, copy));
                }
                _ => text.truncate(at + 1),
            }
        }
        read_anything(&text);
    }
}

#[test]
fn soups_of_tokens_neither_panic_nor_hang() {
    let mut random = Random(42);
    let words = [
        "class",
        "JConfig",
        "public",
        "private(set)",
        "static",
        "var",
        "const",
        "use",
        "case",
        "function",
        "$x",
        "$this",
        "->",
        "=",
        ".",
        ",",
        ";",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "#[",
        "'a'",
        "\"b\"",
        "\"{$c}\"",
        "\"${d[\"e\"]}\"",
        "`f`",
        "<<<G\nh\nG\n",
        "<<<'I'\nI",
        "1",
        "-",
        "+",
        "*",
        "0x1f",
        "1.5",
        ".",
        "..",
        "...",
        "=>",
        "::",
        "?->",
        "array(",
        "dirname(",
        "__DIR__",
        "define('J',",
        "J",
        "true",
        "null",
        "/* k */",
        "// l\n",
        "?>",
        "<?php ",
        "\\",
        "!",
        "new",
        "enum M",
        "trait N",
        "\n",
        "&",
        "|",
        "?",
        "$",
        "$$",
    ];
    for round in 0..20_000 {
        let mut text = if random.below(2) == 0 {
            "<?php class JConfig { "
        } else {
            "<?php "
        }
        .to_owned();
        for _ in 0..random.below(60) {
            text += random.of(&words);
            if random.below(3) > 0 {
                text += " ";
            }
        }
        read_anything(text.as_bytes());
        // Now random bytes.
        if round % 4 == 0 {
            let noise: Vec<u8> = (0..random.below(80))
                .map(|_| b" '\"\\{}$<?A\n#[*/=()"[random.below(18)])
                .collect();
            read_anything(&[b"<?php ", noise.as_slice()].concat());
        }
    }
}

#[test]
fn long_files_of_one_kind_are_linear() {
    for bit in [
        "(",
        "[",
        "{",
        "-",
        "'a'.",
        "\"{$",
        "\"${a",
        "<<<A\n",
        "<<<A",
        "<<<",
        "define(",
        "define('A',",
        "define('A',1);",
        "array(",
        "dirname(",
        "const A=",
        "const A=1,",
        "class ",
        "class A{",
        "class JConfig ",
        "class JConfig{",
        "public ",
        "public $x=",
        "public $x=[",
        "$this->",
        "function ",
        "function f(){",
        "#[",
        "?",
        "?><?php ",
        "<?",
        "/",
        "\\",
        "\\u{0",
        "0",
        "0x",
        "1.",
        "enum a ",
        "A=>",
        "__DIR__.",
        "'\\",
        "// ?",
        "\"\\",
        "b",
    ] {
        for head in [
            "<?php ",
            "<?php class JConfig { public $x = ",
            "<?php class JConfig { function f() { ",
            "<?php const A = ",
        ] {
            let text = format!("{head}{}", bit.repeat(LONGEST_FILE / 8 / bit.len()));
            let started = seconds();
            read_anything(text.as_bytes());
            // Reading takes a few milliseconds. Code that examined half of the text for every byte would take many
            // seconds.
            assert!(seconds() - started < 1.0, "{head}{bit}");
        }
    }
}
