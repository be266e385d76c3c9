//! Channel names of the Pusher protocol: which names are valid, and what their prefixes mean. The type prefix stands at
//! the start and `cache-` directly behind it (pusher.md 3.1). Elsewhere in a name they have no meaning.

/// The longest name in bytes, prefix included.
pub const MAX_NAME: usize = 164;

/// The prefix of the channels of signed-in users.
pub const SERVER_TO_USER: &str = "#server-to-user-";

/// The kind of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No prefix: needs no permission.
    Public,
    /// `private-`: needs permission.
    Private,
    /// `private-encrypted-`: needs permission; payloads are relayed as they are.
    Encrypted,
    /// `presence-`: needs permission and has members.
    Presence,
    /// `#server-to-user-ID`: only the signed-in user.
    ServerToUser,
}

/// A valid name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelName<'a>(&'a str);

impl<'a> ChannelName<'a> {
    /// Checks a name.
    ///
    /// # Errors
    /// A sentence if the name is empty, too long or has a character that is not allowed.
    pub fn parse(name: &'a str) -> Result<Self, &'static str> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte);
        let rest = match name.strip_prefix(SERVER_TO_USER) {
            Some("") => return Err("a server-to-user channel names its user"),
            // A user id may have any characters, because it is only compared.
            Some(_) => "",
            None => name,
        };
        if name.is_empty() {
            return Err("a channel name is not empty");
        }
        if name.len() > MAX_NAME {
            return Err("a channel name has at most 164 characters");
        }
        if !rest.bytes().all(plain) {
            return Err("a channel name has only letters, digits and _-=@,.;");
        }
        Ok(Self(name))
    }

    /// The whole name.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The kind, according to the prefix.
    pub fn kind(self) -> Kind {
        match self.0 {
            name if name.starts_with("private-encrypted-") => Kind::Encrypted,
            name if name.starts_with("private-") => Kind::Private,
            name if name.starts_with("presence-") => Kind::Presence,
            name if name.starts_with(SERVER_TO_USER) => Kind::ServerToUser,
            _ => Kind::Public,
        }
    }

    /// Whether the last event is cached for new subscribers.
    pub fn is_cache(self) -> bool {
        let behind = match self.kind() {
            Kind::Encrypted => &self.0["private-encrypted-".len()..],
            Kind::Private => &self.0["private-".len()..],
            Kind::Presence => &self.0["presence-".len()..],
            Kind::Public => self.0,
            Kind::ServerToUser => return false,
        };
        behind.starts_with("cache-")
    }

    /// The user of a server-to-user channel.
    pub fn user(self) -> Option<&'a str> {
        self.0.strip_prefix(SERVER_TO_USER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> (Kind, bool) {
        let name = ChannelName::parse(name).unwrap();
        (name.kind(), name.is_cache())
    }

    #[test]
    fn prefixes_count_only_at_the_start() {
        for (name, kind, cache) in [
            ("news", Kind::Public, false),
            ("cache-news", Kind::Public, true),
            ("private-x", Kind::Private, false),
            ("private-cache-x", Kind::Private, true),
            ("private-encrypted-x", Kind::Encrypted, false),
            ("private-encrypted-cache-x", Kind::Encrypted, true),
            ("presence-x", Kind::Presence, false),
            ("presence-cache-x", Kind::Presence, true),
            ("foo-cache-x", Kind::Public, false),
            ("private-foo-cache-x", Kind::Private, false),
            ("foo-private-x", Kind::Public, false),
            ("privatefoo", Kind::Public, false),
            ("encrypted-x", Kind::Public, false),
            ("Private-x", Kind::Public, false),
        ] {
            assert_eq!(parsed(name), (kind, cache), "{name}");
        }
    }

    #[test]
    fn a_name_has_1_to_164_characters_of_the_allowed_ones() {
        assert!(ChannelName::parse("").is_err());
        assert!(ChannelName::parse(&"x".repeat(164)).is_ok());
        assert!(ChannelName::parse(&"x".repeat(165)).is_err());
        assert!(ChannelName::parse("aZ09_-=@,.;").is_ok());
        for bad in [
            " ",
            "a b",
            "a:b",
            "a/b",
            "a#b",
            "#a",
            "#control",
            "ä",
            "a\n",
            "a\0",
            "a'b",
            "#server-to-user-",
        ] {
            assert!(ChannelName::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(ChannelName::parse("#server-to-user-a b").unwrap().user(), Some("a b"));
    }
}
