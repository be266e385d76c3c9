//! Reads the text of nginx's configuration as far as it must be known where a site's `server { }` begins: directives
//! with their words and blocks, by the rules of nginx's own `ngx_conf_read_token`. What the directives mean is decided
//! elsewhere.

/// A directive with its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// Its words, without quotes. Bytes that are not UTF-8 are replaced.
    pub words: Vec<String>,
    /// Its block, if it has one.
    pub block: Option<Block>,
}

/// The inside of `{ }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The byte behind `{`.
    pub open: usize,
    /// Its directives.
    pub directives: Vec<Directive>,
}

/// Blocks in blocks that are read. nginx itself nests five or six.
const DEEPEST: usize = 50;

impl Directive {
    /// The words behind the name, if this is the name.
    pub fn named(&self, name: &str) -> Option<&[String]> {
        let (first, rest) = self.words.split_first()?;
        (first == name).then_some(rest)
    }
}

/// Reads a file.
///
/// # Errors
/// nginx would not read it either, or it has code in another language that cannot be skipped; a sentence with the line.
pub fn parse(text: &[u8]) -> Result<Vec<Directive>, String> {
    let mut reader = Reader { text, at: 0 };
    let (directives, end) = reader.directives(0)?;
    match end {
        End::Text => Ok(directives),
        End::Brace => Err(reader.error("an unexpected }")),
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

enum End {
    Text,
    Brace,
}

enum Token {
    Word(String),
    Semicolon,
    Open,
    Close,
    End,
}

impl Reader<'_> {
    fn error(&self, what: &str) -> String {
        let before = &self.text[..self.at.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line}: {what}")
    }

    fn directives(&mut self, depth: usize) -> Result<(Vec<Directive>, End), String> {
        if depth > DEEPEST {
            return Err(self.error("too many blocks in blocks"));
        }
        let (mut found, mut words) = (Vec::new(), Vec::new());
        loop {
            match self.token()? {
                Token::Word(word) => words.push(word),
                Token::Semicolon if words.is_empty() => return Err(self.error("an unexpected ;")),
                Token::Semicolon => found.push(Directive {
                    words: std::mem::take(&mut words),
                    block: None,
                }),
                Token::Open if words.is_empty() => return Err(self.error("an unexpected {")),
                Token::Open => {
                    let open = self.at;
                    let is_lua = words[0].ends_with("_by_lua_block");
                    let directives = if is_lua { self.skip_lua()? } else { self.block(depth)? };
                    let words = std::mem::take(&mut words);
                    let block = Some(Block { open, directives });
                    found.push(Directive { words, block });
                }
                Token::Close if words.is_empty() => return Ok((found, End::Brace)),
                Token::End if words.is_empty() => return Ok((found, End::Text)),
                Token::Close | Token::End => return Err(self.error("a directive without its ;")),
            }
        }
    }

    fn block(&mut self, depth: usize) -> Result<Vec<Directive>, String> {
        match self.directives(depth + 1)? {
            (directives, End::Brace) => Ok(directives),
            (_, End::Text) => Err(self.error("a block without its }")),
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.text.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    fn token(&mut self) -> Result<Token, String> {
        loop {
            match self.next() {
                None => return Ok(Token::End),
                Some(b' ' | b'\t' | b'\r' | b'\n') => {}
                Some(b'#') => while self.next().is_some_and(|byte| byte != b'\n') {},
                Some(b';') => return Ok(Token::Semicolon),
                Some(b'{') => return Ok(Token::Open),
                Some(b'}') => return Ok(Token::Close),
                Some(quote @ (b'"' | b'\'')) => return self.quoted(quote),
                Some(_) => {
                    self.at -= 1;
                    return Ok(self.plain());
                }
            }
        }
    }

    fn quoted(&mut self, quote: u8) -> Result<Token, String> {
        let (start, mut word) = (self.at, Vec::new());
        loop {
            match self.next() {
                Some(byte) if byte == quote => return Ok(Token::Word(text_of(&word))),
                Some(b'\\') => {
                    let next = self.next();
                    // Before other characters the backslash stays, for regular expressions.
                    if !matches!(next, Some(b'"' | b'\'' | b'\\' | b't' | b'r' | b'n')) {
                        word.push(b'\\');
                    }
                    word.extend(next);
                }
                Some(byte) => word.push(byte),
                None => {
                    self.at = start;
                    return Err(self.error("a quoted text without its end"));
                }
            }
        }
    }

    /// A word without quotes. It ends at a space, `;` or `{`, but not at the brace of a variable `${x}`.
    fn plain(&mut self) -> Token {
        let start = self.at;
        let mut before = b' ';
        while let Some(byte) = self.text.get(self.at).copied() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' => break,
                b'{' if before != b'$' => break,
                b'\\' => {
                    self.at += 2;
                    before = b' ';
                    continue;
                }
                _ => before = byte,
            }
            self.at += 1;
        }
        self.at = self.at.min(self.text.len());
        Token::Word(text_of(&self.text[start..self.at]))
    }

    /// Skips Lua between braces. Braces in its strings and comments do not count.
    fn skip_lua(&mut self) -> Result<Vec<Directive>, String> {
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                Some(b'{') => depth += 1,
                Some(b'}') => depth -= 1,
                Some(b'-') if self.text[self.at..].starts_with(b"-[[") => self.skip_to(b"]]"),
                Some(b'-') if self.text[self.at..].starts_with(b"-") => self.skip_to(b"\n"),
                Some(b'[') if self.text[self.at..].starts_with(b"[") => self.skip_to(b"]]"),
                Some(quote @ (b'"' | b'\'')) => drop(self.quoted(quote)?),
                Some(_) => {}
                None => return Err(self.error("a block without its }")),
            }
        }
        Ok(Vec::new())
    }

    fn skip_to(&mut self, end: &[u8]) {
        while self.at < self.text.len() && !self.text[self.at..].starts_with(end) {
            self.at += 1;
        }
        self.at = (self.at + end.len()).min(self.text.len());
    }
}

fn text_of(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The directives in one line, blocks in braces with the text that they begin with.
    fn read(text: &[u8]) -> Result<String, String> {
        fn line(directives: &[Directive], text: &[u8]) -> String {
            let each = directives.iter().map(|directive| {
                let words = directive.words.join("|");
                directive.block.as_ref().map_or_else(
                    || format!("{words};"),
                    |block| {
                        assert_eq!(text[block.open - 1], b'{');
                        format!("{words}{{{}}}", line(&block.directives, text))
                    },
                )
            });
            each.collect::<Vec<_>>().join(" ")
        }
        parse(text).map(|directives| line(&directives, text))
    }

    #[test]
    fn everyday_files_are_read() {
        for (text, words) in [
            (
                "user www-data;\nevents { worker_connections 768; }",
                "user|www-data; events{worker_connections|768;}",
            ),
            (
                "server { # server { in a comment }\n\troot /srv/x;\r\n}",
                "server{root|/srv/x;}",
            ),
            (
                "server{listen [::]:443 ssl;listen 80;}",
                "server{listen|[::]:443|ssl; listen|80;}",
            ),
            (
                "server_name \"a b\" 'c;{d' e\\;f ~^(?<x>.+)\\.org$;",
                "server_name|a b|c;{d|e\\;f|~^(?<x>.+)\\.org$;",
            ),
            ("return 200 \"{\\\"a\\\": 1}\";", "return|200|{\"a\": 1};"),
            (
                "root /srv/${host}/public; set $x a#b;",
                "root|/srv/${host}/public; set|$x|a#b;",
            ),
            (
                "location ~ \"^/x{2}$\" { a; } location / { }",
                "location|~|^/x{2}${a;} location|/{}",
            ),
            (
                "if ($x ~ y) { return 301 https://$host$request_uri; }",
                "if|($x|~|y){return|301|https://$host$request_uri;}",
            ),
            ("a\n#b;\n c;", "a|c;"),
            ("", ""),
            ("   \r\n# only a comment", ""),
        ] {
            assert_eq!(read(text.as_bytes()).as_deref(), Ok(words), "{text}");
        }
        assert_eq!(read(b"root /srv/\xff;").as_deref(), Ok("root|/srv/\u{fffd};"));
        let lua = b"location / { content_by_lua_block { local t = { a = \"}\" } -- }\n --[[ } ]] say([[}]]) } b; }";
        assert_eq!(read(lua).as_deref(), Ok("location|/{content_by_lua_block{} b;}"));
    }

    #[test]
    fn what_nginx_refuses_is_refused() {
        for (text, words) in [
            ("server {\n a;\n", "line 3: a block without its }"),
            ("a;\n}\n", "line 2: an unexpected }"),
            ("a;;", "line 1: an unexpected ;"),
            ("{ a; }", "line 1: an unexpected {"),
            ("server { a }", "line 1: a directive without its ;"),
            ("a", "a directive without its ;"),
            ("a;\nb \"c;\nd;\n", "line 2: a quoted text without its end"),
            ("a_by_lua_block { {", "a block without its }"),
            ("a \\", "a directive without its ;"),
        ] {
            let why = read(text.as_bytes()).expect_err(text);
            assert!(why.contains(words), "{text}: {why}");
        }
        assert!(parse("a{".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(14);
        let alphabet = b"a ;{}#\"'\\$\n\r-[]\xff_by_lua_block";
        for _ in 0..20_000 {
            let length = random.random_range(0..40);
            let text: Vec<u8> = (0..length)
                .map(|_| alphabet[random.random_range(0..alphabet.len())])
                .collect();
            let _ = parse(&text);
        }
    }
}
