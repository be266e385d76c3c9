//! Compares the parser with PHP itself: hundreds of files are generated from a seed, with the grammar that is read.
//! Each of their values must be the one that PHP has.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use super::*;

const FILES: usize = 400;

/// Includes each file and prints `class key value` for every public property: a value's type and its text in
/// hexadecimal.
const JUDGE: &str = r#"
    error_reporting(E_ALL);
    set_error_handler(fn ($level, $words, $file, $line) => throw new ErrorException("$words in $file, line $line"));
    foreach (array_slice($argv, 1) as $file) {
        require $file;
        $class = basename($file, '.php');
        foreach (get_object_vars(new $class()) as $key => $value) {
            $text = is_float($value) ? pack('E', $value) : (is_array($value) ? '' : (string) $value);
            echo "$class $key ", gettype($value), ':', bin2hex($text), "\n";
        }
    }
"#;

/// A value as [`JUDGE`] prints PHP's value.
fn shown(value: &Result<Value, Why>) -> String {
    let (kind, text) = match value {
        Ok(Value::Null) => ("NULL", Vec::new()),
        Ok(Value::Bool(truth)) => ("boolean", vec![b'1'; usize::from(*truth)]),
        Ok(Value::Int(number)) => ("integer", number.to_string().into_bytes()),
        Ok(Value::Float(number)) => ("double", number.to_be_bytes().to_vec()),
        Ok(Value::Text(text)) => ("string", text.clone()),
        Err(why) if why == "it is an array" => ("array", Vec::new()),
        Err(why) => panic!("not read: {why}"),
    };
    format!("{kind}:{}", data_encoding::HEXLOWER.encode(&text))
}

/// Writes random files with the grammar that is read.
struct Writer {
    random: Random,
    /// The constants of this file.
    constants: Vec<String>,
}

impl Writer {
    fn of(&mut self, all: &[&str]) -> String {
        self.random.of(all).to_owned()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.random.below(count) == 0
    }

    /// White space, and sometimes a comment.
    fn gap(&mut self) -> String {
        self.of(&[
            " ",
            " ",
            " ",
            "\n",
            "\r\n\t",
            "  ",
            " /* ' \" ; } */ ",
            " // it's \"\n",
            " # $x = [\r\n",
            "/**/",
        ])
    }

    fn single_quoted(&mut self) -> String {
        let bits = [
            "a", "é", "\\'", "\\\\", "\\n", "\"", "$x", "{$y}", "\n", "?>", "/*", "//", "\\x41", ";", "}", " ",
        ];
        let inside: String = (0..self.random.below(8)).map(|_| self.of(&bits)).collect();
        format!("'{inside}'")
    }

    fn double_quoted(&mut self) -> String {
        let bits = [
            "a",
            "é",
            "\\\"",
            "\\\\",
            "\\n",
            "\\t",
            "\\r",
            "\\v",
            "\\e",
            "\\f",
            "'",
            "\\$x",
            "$5",
            "$ ",
            "{ ",
            "\\{",
            "\\x41",
            "\\xe",
            "\\X4a",
            "\\xg",
            "\\101",
            "\\0",
            "\\08",
            "\\400",
            "\\u{e9}",
            "\\u{0001F600}",
            "\\uq",
            "\\q",
            "\n",
            "?>",
            "/*",
            "//",
            ";",
            "}",
            " ",
        ];
        let inside: String = (0..self.random.below(8)).map(|_| self.of(&bits)).collect();
        format!("\"{inside}\"")
    }

    /// A value that can be joined with another one.
    fn operand(&mut self) -> String {
        match self.random.below(10) {
            0..=2 => self.single_quoted(),
            3..=5 => self.double_quoted(),
            6 => self.of(&["__DIR__", "__dir__", "__FILE__", "DIRECTORY_SEPARATOR"]),
            7 => self.of(&[
                "true",
                "FALSE",
                "Null",
                "\\true",
                "0",
                "7",
                "9223372036854775807",
                " -5",
                " +1",
            ]),
            _ if self.constants.is_empty() => "''".to_owned(),
            _ => {
                let n = self.random.below(self.constants.len());
                self.constants[n].clone()
            }
        }
    }

    fn value(&mut self) -> String {
        match self.random.below(12) {
            0 => self.of(&[
                "1.5",
                ".5",
                "15.",
                "1e3",
                "1.5E-1",
                "-2.5",
                "007.5",
                "1e300",
                "9223372036854775808",
                "-0.0",
            ]),
            1 => self.array(2),
            _ => {
                let mut value = self.operand();
                while self.one_in(3) {
                    value = format!("{value}{}.{}{}", self.gap(), self.gap(), self.operand());
                }
                value
            }
        }
    }

    fn array(&mut self, depth: usize) -> String {
        let mut inside = String::new();
        for _ in 0..self.random.below(4) {
            if self.one_in(2) {
                let key = self.random.below(9);
                write!(inside, "'{key}' =>{}", self.gap()).expect("a string");
            }
            inside += &if depth > 0 && self.one_in(4) {
                self.array(depth - 1)
            } else {
                self.operand()
            };
            inside += ", ";
        }
        if self.one_in(2) {
            format!("[{inside}]")
        } else {
            format!("array({inside})")
        }
    }

    /// A file with this class and these many properties.
    fn file(&mut self, class: &str) -> String {
        self.constants.clear();
        let mut text = self.of(&["<?php\n", "<?PHP ", "<?php\r\n"]);
        for n in 0..self.random.below(4) {
            let (name, value) = (format!("C{class}_{n}"), self.operand());
            // Calls are generated only in `define`.
            text += &match self.random.below(4) {
                3 => format!("define('{name}', {value} . dirname(__DIR__, 2) . \\dirname('//a//b//'));\n"),
                0 => format!("define('{name}',{}{value});\n", self.gap()),
                1 => format!("\\defined('{name}') || \\define('{name}', {value});\n"),
                _ => format!("const {name} = {value};\n"),
            };
            self.constants.push(name);
        }
        let opening = self
            .of(&["class", "final class", "class Other { public $k0 = 'no'; }\nclass"])
            .replace("Other", &format!("Other{class}"));
        writeln!(text, "{opening} {class}{}{{", self.gap()).expect("a string");
        for n in 0..self.random.below(12) {
            if self.one_in(6) {
                text += &self.of(&[
                    "const A = [1, ';', '}'];",
                    "private $hidden = 'x';",
                    "protected static ?array $none = null;",
                    "function f(array $a = ['x' => ')']): ?array { if ($this->k0 == 1) { return ['}']; } return null; }",
                    "#[Attr('}', [1])] private $attributed;",
                ])
                .replace("$hidden", &format!("$hidden{n}"))
                .replace("$none", &format!("$none{n}"))
                .replace("$attributed", &format!("$attributed{n}"))
                .replace("const A", &format!("const A{n}"))
                .replace("function f", &format!("function f{n}"));
            }
            let modifiers = self.of(&["public", "public", "var", "public string|int|float|bool|array|null"]);
            write!(
                text,
                "\t{modifiers} $k{n}{}={}{};",
                self.gap(),
                self.gap(),
                self.value()
            )
            .expect("a string");
            text += &self.gap();
        }
        text + &self.of(&["}", "}\n", "}\n?>\n"])
    }
}

#[test]
fn files_are_read_as_php_reads_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().canonicalize().expect("its path");
    let mut writer = Writer {
        random: Random(0x5eed),
        constants: Vec::new(),
    };
    let mut paths = Vec::new();
    let mut ours = BTreeMap::new();
    for n in 0..FILES {
        // The name is as long as JConfig, so that the files differ only in the name.
        let class = format!("J{n:06}");
        let path = folder.join(format!("{class}.php"));
        let text = writer.file(&class);
        fs::write(&path, &text).expect("written");
        let parsed = parse(text.replace(&format!(" {class}"), " JConfig").as_bytes(), &path);
        let parsed = parsed.unwrap_or_else(|bad| panic!("{bad}\n{text}"));
        for (key, entry) in &parsed.entries {
            ours.insert(format!("{class} {key}"), (shown(&entry.value), text.clone()));
        }
        paths.push(path);
    }
    let judged = Command::new("php")
        .args(["-n", "-d", "display_errors=stderr", "-r", JUDGE, "--"])
        .args(&paths)
        .output()
        .expect("php runs");
    let printed = String::from_utf8(judged.stdout).expect("ASCII");
    assert!(
        judged.status.success(),
        "{}{}",
        printed.lines().last().unwrap_or(""),
        judged.stderr.escape_ascii()
    );
    let mut values = 0;
    for line in printed.lines() {
        let (key, theirs) = line.rsplit_once(' ').expect(line);
        let (value, text) = ours.remove(key).unwrap_or_else(|| panic!("{key} was not read"));
        assert_eq!(value, theirs, "{key} of\n{text}");
        values += 1;
    }
    assert!(ours.is_empty(), "PHP has none of these: {:?}", ours.keys());
    assert!(values > FILES * 4, "{values}");
}
