//! Reads the text of a Joomla session: its user, its token, and the state of its second factor. `identity` decides
//! whether that makes the visitor a user.
//!
//! PHP writes the session's variables, and Joomla keeps all of its own data in one of them: `joomla`, which is base64
//! of a serialized Registry (`Joomla\CMS\Session\Storage\JoomlaStorage`). The text also contains words that visitors
//! wrote, so nothing is ever searched for in it: every step follows the format.

use data_encoding::{BASE64, HEXLOWER};
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use crate::id::key;
use crate::joomla::serialize::{self, Place, Value};
use crate::store::{Secret, SessionRow};

/// The variable that holds Joomla's data.
const VARIABLE: &str = "joomla";

/// The class in which Joomla keeps its sessions, now and in the first versions of Joomla 3.
const REGISTRY: &[&str] = &["Joomla\\Registry\\Registry", "JRegistry"];

/// The class of the user in a session; only the user's id was written.
const USER: &[&str] = &["Joomla\\CMS\\User\\User", "JUser"];

/// Characters of a session's token.
const TOKEN: usize = 32;

/// The contents of a session's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionText {
    /// The user who is logged in; `None`: a guest.
    pub user_id: Option<u32>,
    /// 32 letters and digits: an ingredient of the form token.
    pub token: Option<Secret>,
    /// Whether the second factor was given, or the user was found to have none.
    pub mfa_checked: bool,
    /// Whether the user is required to set up a second factor and has not done so.
    pub mfa_setup_pending: bool,
}

/// A text is not a Joomla session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadText;

/// Reads a session's text, as it is in the column `data`.
///
/// # Errors
/// See [`BadText`].
pub fn read(text: &[u8]) -> Result<SessionText, BadText> {
    if text.len() > SessionRow::LONGEST_TEXT {
        return Err(BadText);
    }
    let encoded = variable(text).ok_or(BadText)?;
    let decoded = BASE64.decode(encoded).map_err(|_| BadText)?;
    let tree = serialize::parse(&decoded).ok_or(BadText)?;
    let root = tree.root();
    // PHP writes the name of a protected property with `\0*\0` before it.
    let data = root.get("\0*\0data").filter(|data| is_open(*data));
    let data = data.filter(|_| is_a(root, REGISTRY)).ok_or(BadText)?;
    // Joomla 3 keeps everything one level deeper, in its default namespace.
    let base = match (at(data, &["session"]), at(data, &["__default"])) {
        (None, Some(namespace)) => namespace,
        _ => data,
    };
    Ok(SessionText {
        user_id: user_id(base)?,
        token: at(base, &["session", "token"]).and_then(token).map(Secret),
        mfa_checked: at(base, &["com_users", "mfa_checked"]).is_some_and(is_one),
        mfa_setup_pending: at(base, &["com_users", "mandatory_mfa_setup"]).is_some_and(is_true),
    })
}

/// The token that a form of the site carries for this user (0: a guest) and session: `Session::getFormToken()`. The
/// token is a secret.
pub fn form_token(secret: &str, user_id: u32, session_token: &str) -> String {
    let digest = Md5::new()
        .chain_update(secret)
        .chain_update(user_id.to_string())
        .chain_update(session_token);
    HEXLOWER.encode(&digest.finalize())
}

/// Whether `given` is this form token. The comparison takes the same time for every wrong token of the right length.
pub fn is_token(given: &str, token: &str) -> bool {
    bool::from(given.as_bytes().ct_eq(token.as_bytes()))
}

/// The value of Joomla's variable, still in base64.
fn variable(text: &[u8]) -> Option<&[u8]> {
    // `php_serialize` writes one array. A text of `php` begins with a variable's name, so it does not parse as an
    // array.
    if text.starts_with(b"a:")
        && let Some(tree) = serialize::parse(text)
    {
        return tree.root().get(VARIABLE).and_then(string);
    }
    let (mut rest, mut found) = (text, None);
    while let Some(bar) = rest.iter().position(|&byte| byte == b'|') {
        let (name, value) = (&rest[..bar], &rest[bar + 1..]);
        let (tree, end) = serialize::parse_front(value)?;
        if name == VARIABLE.as_bytes() {
            found = string(tree.root());
        }
        rest = &value[end..];
    }
    found
}

fn user_id(base: Place<'_, '_>) -> Result<Option<u32>, BadText> {
    let user = match at(base, &["user"]) {
        None => return Ok(None),
        Some(user) if user.value() == Value::Null => return Ok(None),
        Some(user) => user,
    };
    let id = user.get("id").filter(|_| is_a(user, USER)).ok_or(BadText)?;
    let id = match id.value() {
        Value::Null => Some(0),
        Value::Int(id) => u32::try_from(id).ok(),
        // Joomla 3 writes the id as the database's driver returned it, and 0 for a guest.
        Value::Text(b"0") => Some(0),
        Value::Text(id) => std::str::from_utf8(id).ok().and_then(key),
        _ => None,
    };
    Ok(Some(id.ok_or(BadText)?).filter(|id| *id > 0))
}

/// The value at the end of a path.
fn at<'t, 'a>(base: Place<'t, 'a>, path: &[&str]) -> Option<Place<'t, 'a>> {
    path.iter().try_fold(base, |place, name| {
        Some(place).filter(|place| is_open(*place))?.get(name)
    })
}

/// Whether a Registry reads elements of this value: an array, or an object without a class of its own.
fn is_open(place: Place<'_, '_>) -> bool {
    place.value() == Value::Array || is_a(place, &["stdClass"])
}

/// Whether the value is an object of one of these classes.
fn is_a(place: Place<'_, '_>, classes: &[&str]) -> bool {
    let Value::Object(class) = place.value() else {
        return false;
    };
    classes.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(class))
}

fn string<'a>(place: Place<'_, 'a>) -> Option<&'a [u8]> {
    match place.value() {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn token(place: Place<'_, '_>) -> Option<String> {
    let text = string(place)?;
    let fits = text.len() == TOKEN && text.iter().all(u8::is_ascii_alphanumeric);
    fits.then(|| String::from_utf8_lossy(text).into_owned())
}

/// `(int) … === 1`. A value that PHP would have to guess about is not 1, because a 1 grants access.
fn is_one(place: Place<'_, '_>) -> bool {
    matches!(place.value(), Value::Int(1) | Value::Text(b"1"))
}

/// `… != 0`. A value that PHP would have to guess about is true, because true denies access.
fn is_true(place: Place<'_, '_>) -> bool {
    !matches!(
        place.value(),
        Value::Null | Value::Bool(false) | Value::Int(0) | Value::Text(b"" | b"0")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_of(id: &str) -> Result<Option<u32>, BadText> {
        let user = format!("O:5:\"JUser\":1:{{s:2:\"id\";s:{}:\"{id}\";}}", id.len());
        let data = format!("O:8:\"stdClass\":1:{{s:9:\"__default\";O:8:\"stdClass\":1:{{s:4:\"user\";{user}}}}}");
        let tree = format!("O:24:\"Joomla\\Registry\\Registry\":1:{{s:7:\"\0*\0data\";{data}}}");
        let encoded = BASE64.encode(tree.as_bytes());
        read(format!("joomla|s:{}:\"{encoded}\";", encoded.len()).as_bytes()).map(|text| text.user_id)
    }

    #[test]
    fn a_misspelt_user_id_is_refused() {
        assert_eq!(user_of("42"), Ok(Some(42)));
        for bad in crate::id::MISSPELT {
            let expected = if bad == "0" { Ok(None) } else { Err(BadText) };
            assert_eq!(user_of(bad), expected, "{bad:?}");
        }
    }
}
