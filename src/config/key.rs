//! A key of the configuration, and the place of its table among several. `sections` has the keys themselves.

use super::Config;
use super::value::Field;

pub(super) const APPS: &str = "apps";
pub(super) const WEBHOOKS: &str = "apps.webhooks";
pub(super) const CHANNELS: &str = "channels";
pub(super) const ITEMS: &str = "items";
pub(super) const TLS_NAMES: &str = "tls.names";

/// A key of the configuration.
pub(super) struct Key {
    /// The name of its table: `limits`, `apps.webhooks`.
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// Whether it has no default: its table must have it.
    pub(super) needed: bool,
    /// Its value in this table, to be read or written. The table must exist.
    pub(super) field: for<'a> fn(&'a mut Config, At) -> Field<'a>,
}

/// The number of a table among those that may stand several times. It has no meaning for other tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    /// The number among all tables with this header; for a webhook, the number of its app.
    pub(super) nth: usize,
    /// The number among this app's webhooks.
    pub(super) webhook: usize,
}

impl Key {
    /// Its environment variable. The name of `[server]` is left out, since its keys are set most often. Of the apps,
    /// only the credentials of the first one have variables, because containers need those.
    pub(super) fn variable(&self) -> Option<String> {
        let name = match self.section {
            "server" => format!("JSOCKETD_{}", self.name),
            APPS if self.needed => format!("JSOCKETD_APP_{}", self.name),
            APPS | WEBHOOKS | CHANNELS | ITEMS | TLS_NAMES => return None,
            section => format!("JSOCKETD_{section}_{}", self.name),
        };
        Some(name.to_uppercase())
    }

    /// Whether this is one of the three keys that make an app.
    pub(super) fn is_credential(&self) -> bool {
        self.section == APPS && self.needed
    }
}

impl At {
    /// The first table of any kind.
    pub(super) const FIRST: Self = Self { nth: 0, webhook: 0 };

    /// Number `n` of the apps, the channel rules, the item types or the names of TLS.
    pub(super) const fn nth(n: usize) -> Self {
        Self { nth: n, webhook: 0 }
    }

    /// Number `n` of the tables `section` within this one.
    pub(super) fn inner(self, section: &str, n: usize) -> Self {
        match section {
            WEBHOOKS => Self { webhook: n, ..self },
            _ => Self::nth(n),
        }
    }
}
