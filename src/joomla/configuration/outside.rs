//! What comes to the class `JConfig` from outside its properties: a condition that it stands behind, a parent class,
//! traits, and the constructor's parameters. Values from there are not read, because PHP finds them by running code.

use super::lexer::{Kind, Token, is, shown};
use super::{Unread, Value};

/// Why a class that other code may leave out is not read.
pub(super) const CONDITIONAL: &str = "the class JConfig stands behind an `if`, or within other code, so only PHP can tell \
                                      whether its values hold; write the values into [joomla] and [database], and leave \
                                      `root` in [joomla] empty";

/// The length of `(!class_exists('JConfig')) {` at the beginning of these tokens. This condition is always true here.
pub(super) fn guard(tokens: &[Token<'_>]) -> Option<usize> {
    let kinds: Vec<&Kind<'_>> = tokens.iter().take(10).map(|token| &token.kind).collect();
    let [
        Kind::Op(b"("),
        Kind::Op(b"!"),
        Kind::Name(call),
        Kind::Op(b"("),
        Kind::Literal(Ok(Value::Text(class))),
        rest @ ..,
    ] = kinds.as_slice()
    else {
        return None;
    };
    // The second argument says whether PHP may load the class from another file.
    let rest = match rest {
        [Kind::Op(b","), Kind::Name(_), rest @ ..] => rest,
        rest => rest,
    };
    let [Kind::Op(b")"), Kind::Op(b")"), Kind::Op(b"{"), behind @ ..] = rest else {
        return None;
    };
    (is(call, "class_exists") && is(class, "JConfig")).then(|| kinds.len() - behind.len())
}

/// Whether a condition in parentheses begins at this token, with a colon behind it.
pub(super) fn opens_without_brace(tokens: &[Token<'_>], at: usize) -> bool {
    let condition = tokens.get(at).filter(|token| token.kind == Kind::Op(b"("));
    let behind = condition.and_then(|open| tokens.get(open.closes + 1));
    behind.is_some_and(|token| token.kind == Kind::Op(b":"))
}

/// The parent class that the header of the class names. The tokens begin within it.
pub(super) fn parent(tokens: &[Token<'_>]) -> Option<Unread> {
    let header = tokens.windows(2).take_while(|two| two[0].kind != Kind::Op(b"{"));
    header.into_iter().find_map(|two| match (&two[0].kind, &two[1].kind) {
        (Kind::Name(word), Kind::Name(parent)) if is(word, "extends") && !is(parent, "stdClass") => Some(Unread {
            line: two[0].line,
            part: format!("the parent class {}", shown(parent)),
        }),
        _ => None,
    })
}

/// The traits at the beginning of these tokens: what follows the keyword `use`.
pub(super) fn traits(tokens: &[Token<'_>]) -> Option<Unread> {
    let listed = tokens.iter().map_while(|token| match &token.kind {
        Kind::Name(name) => Some(Some(shown(name))),
        Kind::Op(b",") => Some(None),
        _ => None,
    });
    let names: Vec<String> = listed.flatten().collect();
    let traits = if names.len() == 1 { "trait" } else { "traits" };
    Some(Unread {
        line: tokens.first()?.line,
        part: format!("the {traits} {}", names.join(", ")),
    })
}

/// The constructor's parameters that are public properties too: those with a modifier. The tokens begin behind the
/// constructor's name.
pub(super) fn parameters<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t Token<'a>> {
    let mut found = Vec::new();
    let (mut depth, mut is_property, mut is_public) = (0_usize, false, true);
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            Kind::Op(b"(" | b"[" | b"{" | b"#[") => depth += 1,
            Kind::Op(b")" | b"]" | b"}") => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
            }
            // A default, a type or an attribute may have brackets.
            _ if depth != 1 => {}
            Kind::Op(b",") => (is_property, is_public) = (false, true),
            Kind::Name(word) => {
                let hides = is(word, "private") || is(word, "protected");
                // `private(set)` hides nothing from readers.
                let is_for_writers = tokens.get(at + 1).is_some_and(|next| next.kind == Kind::Op(b"("));
                is_property |= hides || is(word, "public") || is(word, "readonly");
                is_public &= !hides || is_for_writers;
            }
            Kind::Variable(_) if is_property && is_public => found.push(token),
            _ => {}
        }
    }
    found
}

/// These parameters as a part that is not read, if there are any.
pub(super) fn named(parameters: &[&Token<'_>]) -> Option<Unread> {
    let name = |token: &&Token<'_>| match token.kind {
        Kind::Variable(name) => Some(format!("${}", shown(name))),
        _ => None,
    };
    let names: Vec<String> = parameters.iter().filter_map(name).collect();
    Some(Unread {
        line: parameters.first()?.line,
        part: format!("the constructor's parameters {}", names.join(", ")),
    })
}
