//! The names of the hosts that the server connects to: the addresses of each name at its last look-up, and when the
//! name is looked up again. One name is looked up at a time. The caller decides which names are needed, and acts on
//! changed addresses.

use std::net::SocketAddr;
use std::time::Duration;

use super::lookup::Lookup;
use crate::config::HostName;
use crate::logging::{More, RareLine};
use crate::time::Time;

/// The pause after a look-up of a name while its host cannot be reached. It does not grow: a host that comes back under
/// another address is found within a second after its name was changed, and a look-up costs some milliseconds of
/// another process.
const PAUSE: Duration = Duration::from_millis(750);

/// The least between two warnings about one name.
const QUIET: Duration = Duration::from_secs(60);

/// The known names: see the module.
#[derive(Debug, Default)]
pub struct Names {
    names: Vec<Known>,
    /// The look-up that runs. No name: its answer is no longer wanted, and only its end is awaited.
    lookup: Option<(Option<HostName>, Lookup)>,
}

#[derive(Debug)]
struct Known {
    name: HostName,
    /// The addresses of the last look-up that found any; empty: no look-up has found any.
    addresses: Vec<SocketAddr>,
    /// When the name is to be looked up.
    due: Option<Time>,
    /// It is not looked up before this instant, unless an administrator wants it.
    rest: Option<Time>,
    failures: RareLine,
}

impl Names {
    /// Keeps only these names and looks up each of them again. A look-up that runs is given up, since it may have begun
    /// before a change. Known addresses stay in use until then.
    pub fn keep(&mut self, names: &[HostName], now: Time) {
        self.names.retain(|known| names.contains(&known.name));
        for name in names {
            if !self.names.iter().any(|known| known.name == *name) {
                self.names.push(Known::new(name.clone()));
            }
        }
        for known in &mut self.names {
            known.due = Some(now);
        }
        if let Some((name, lookup)) = &mut self.lookup {
            *name = None;
            lookup.kill();
        }
    }

    /// The addresses of a name; empty: they are not known yet.
    pub fn addresses(&self, name: &HostName) -> &[SocketAddr] {
        let known = self.names.iter().find(|known| known.name == *name);
        known.map_or(&[], |known| &known.addresses)
    }

    /// Connecting to a name failed: the name is looked up again after its pause. Repeated calls change nothing.
    pub fn ask(&mut self, name: &HostName, now: Time) {
        if self
            .lookup
            .as_ref()
            .is_some_and(|(running, _)| running.as_ref() == Some(name))
        {
            return;
        }
        if let Some(known) = self.find(name) {
            let soon = known.rest.map_or(now, |rest| rest.max(now));
            known.due.get_or_insert(soon);
        }
    }

    /// The name that is being looked up.
    pub fn running(&self) -> Option<&HostName> {
        self.lookup.as_ref()?.0.as_ref()
    }

    /// When `turn` must be called next if SIGCHLD does not come before.
    pub fn due(&self) -> Option<Time> {
        match &self.lookup {
            Some((_, lookup)) => lookup.deadline(),
            None => self.names.iter().filter_map(|known| known.due).min(),
        }
    }

    /// Goes on as far as it can without waiting. A name that has other addresses than before is returned.
    pub fn turn(&mut self, now: Time) -> Option<(HostName, Vec<SocketAddr>)> {
        let mut changed = None;
        if let Some((_, lookup)) = &mut self.lookup {
            let result = lookup.turn(now)?;
            let (name, _) = self.lookup.take()?;
            changed = name.and_then(|name| self.find(&name)?.looked_up(result, now));
        }
        self.start(now);
        changed
    }

    /// Starts the look-up that is most overdue.
    fn start(&mut self, now: Time) {
        let due = self
            .names
            .iter_mut()
            .filter(|known| known.due.is_some_and(|due| due <= now));
        let Some(known) = due.min_by_key(|known| known.due) else {
            return;
        };
        known.due = None;
        match Lookup::of(&known.name, now) {
            Ok(lookup) => self.lookup = Some((Some(known.name.clone()), lookup)),
            Err(error) => {
                known.looked_up(Err(format!("no process can be started: {error}")), now);
                // The machine failed, not the name, so no failed connection will request another look-up.
                known.due = known.rest;
            }
        }
    }

    fn find(&mut self, name: &HostName) -> Option<&mut Known> {
        self.names.iter_mut().find(|known| known.name == *name)
    }
}

impl Known {
    fn new(name: HostName) -> Self {
        Self {
            name,
            addresses: Vec::new(),
            due: None,
            rest: None,
            failures: RareLine::default(),
        }
    }

    /// Notes the result of a look-up and plans the next one. Returns the addresses if they have changed.
    fn looked_up(&mut self, result: Result<Vec<SocketAddr>, String>, now: Time) -> Option<(HostName, Vec<SocketAddr>)> {
        self.rest = Some(now + PAUSE);
        let changed = match result {
            Ok(addresses) if !same(&addresses, &self.addresses) => {
                let list: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
                let what = if self.addresses.is_empty() {
                    "is known"
                } else {
                    "has other addresses"
                };
                log::info!("the host {} {what} now: {}", self.name.host, list.join(", "));
                self.failures = RareLine::default();
                self.addresses.clone_from(&addresses);
                Some((self.name.clone(), addresses))
            }
            Ok(_) => None,
            Err(why) => {
                self.warn(&why, now);
                None
            }
        };
        if self.addresses.is_empty() && self.due.is_none() {
            self.due = self.rest;
        }
        changed
    }

    fn warn(&mut self, why: &str, now: Time) {
        let host = &self.name.host;
        let Some(more) = self.failures.allow(QUIET, now).map(More) else {
            return log::debug!("the host {host} cannot be looked up: {why}");
        };
        match self.addresses.is_empty() {
            true => log::warn!("the host {host} is not known yet: {why}; it is looked up again{more}"),
            false => log::warn!("the host {host} cannot be looked up: {why}; its old addresses stay{more}"),
        }
    }
}

/// Whether these are the same addresses, in any order: name servers change it each time.
fn same(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(host: &str) -> HostName {
        HostName {
            host: host.into(),
            port: 3306,
        }
    }

    fn addresses(last: &[u8]) -> Vec<SocketAddr> {
        last.iter().map(|last| ([127, 0, 0, *last], 3306).into()).collect()
    }

    #[test]
    fn a_name_is_looked_up_again_after_a_pause() {
        let now = Time(5_000_000);
        let mut known = Known::new(name("db"));
        assert_eq!(known.looked_up(Err("no such name".into()), now), None);
        assert_eq!(
            known.due,
            Some(now + PAUSE),
            "an unknown name is looked up again without a request"
        );
        known.due = None;
        let found = known.looked_up(Ok(addresses(&[1])), now);
        assert_eq!(found, Some((name("db"), addresses(&[1]))));
        assert_eq!(known.due, None, "a known name is looked up again only on request");

        let mut names = Names {
            names: vec![known],
            lookup: None,
        };
        let soon = now + PAUSE / 2;
        names.ask(&name("db"), soon);
        assert_eq!(names.due(), Some(now + PAUSE), "not before the pause is over");
        names.ask(&name("db"), now + 2 * PAUSE);
        assert_eq!(names.due(), Some(now + PAUSE), "an earlier request counts");
        names.keep(&[name("db")], soon);
        assert_eq!(names.due(), Some(soon), "a reload does not wait for the pause");
    }

    #[test]
    fn only_changed_addresses_are_reported() {
        let now = Time(5_000_000);
        let mut known = Known::new(name("db"));
        let mut news = |list: &[u8]| known.looked_up(Ok(addresses(list)), now).map(|(_, found)| found);
        assert_eq!(news(&[1, 2]), Some(addresses(&[1, 2])));
        assert_eq!(news(&[2, 1]), None, "the order of the addresses is no change");
        assert_eq!(news(&[2]), Some(addresses(&[2])));
        assert_eq!(known.looked_up(Err("no answer".into()), now), None);
        assert_eq!(known.addresses, addresses(&[2]), "the old ones stay");
    }

    #[test]
    fn a_name_that_is_not_needed_any_more_is_forgotten() {
        let now = Time(5_000_000);
        let mut names = Names::default();
        names.keep(&[name("one"), name("two")], now);
        assert_eq!(names.due(), Some(now));
        names.names[1].addresses = addresses(&[2]);
        names.keep(&[name("two"), name("three")], now);
        assert_eq!(names.addresses(&name("one")), []);
        assert_eq!(names.addresses(&name("two")), addresses(&[2]), "known ones stay in use");
        names.ask(&name("one"), now);
        names.keep(&[], now);
        assert_eq!(names.due(), None);
        assert_eq!(names.turn(now), None);
    }
}
