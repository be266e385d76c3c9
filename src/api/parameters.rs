//! The decoded parameters of a query string, in the order in which they came. The signature covers them, so nothing is
//! guessed: a query that cannot be decoded is refused.

use std::borrow::Cow;

use super::reply::Refusal;
pub use crate::protocol::percent::decode;

/// Names and values. Names are in lower case, as they are signed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    /// Reads the text behind the question mark. `+` is a space; a name without `=` has an empty value.
    ///
    /// # Errors
    /// 400 when a percent sign is not followed by two hexadecimal digits, or the bytes are not UTF-8.
    pub fn parse(query: &'a str) -> Result<Self, Refusal> {
        let mut parameters = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let mut name = decode_form(name)?;
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                name = Cow::Owned(name.to_ascii_lowercase());
            }
            parameters.push((name, decode_form(value)?));
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter that may occur once at most.
    ///
    /// # Errors
    /// 400 when the parameter occurs twice: two readers could use different values.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(Refusal::bad(format!("The parameter {name} is given more than once"))),
        }
    }

    /// Every value of a parameter, in order.
    pub fn all<'s>(&'s self, name: &str) -> impl Iterator<Item = &'s str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| &**value)
    }

    /// The text to sign: all parameters but `without`, as `a=1&b=2`, sorted by name. Equal names keep the order in
    /// which they came.
    pub fn sorted(&self, without: &str) -> String {
        let mut pairs: Vec<_> = self.0.iter().filter(|(name, _)| name != without).collect();
        pairs.sort_by_key(|(name, _)| name);
        let mut text = String::new();
        for (name, value) in pairs {
            if !text.is_empty() {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        }
        text
    }
}

fn decode_form(text: &str) -> Result<Cow<'_, str>, Refusal> {
    let decoded = if text.contains('+') {
        decode(&text.replace('+', " ")).map(|text| Cow::Owned(text.into_owned()))
    } else {
        decode(text)
    };
    decoded.ok_or_else(|| Refusal::bad("The query holds a percent sign or bytes that mean nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_sorted_stably_by_lower_case_name() {
        let parameters = Parameters::parse("b=2&&A=1+%2B1&c[]=z&c%5B%5D=a&auth_signature=x&d&=&b=1").unwrap();
        assert_eq!(parameters.sorted("auth_signature"), "=&a=1 +1&b=2&b=1&c[]=z&c[]=a&d=");
        assert_eq!(parameters.all("c[]").collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!(parameters.one("a").unwrap(), Some("1 +1"));
        assert_eq!(parameters.one("e").unwrap(), None);
        assert!(parameters.one("b").is_err());
    }
}
