//! The configuration while its sources are read: each value goes straight to its field, and its place is remembered for
//! the messages. Sources are read in the order of precedence, so the last value of a key is in force.

use super::key::{At, Key};
use super::problem::{Place, Problem};
use super::value::Typed;
use super::{Config, keys};

/// A key by its section and name.
pub(super) type Name = (&'static str, &'static str);

/// The configuration and the places of its values: see the module.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    values: Vec<Written>,
    /// The tables of the file that may stand several times.
    tables: Vec<(&'static str, At, Place)>,
}

/// A value that a source has.
struct Written {
    key: &'static Key,
    at: At,
    place: Place,
    /// Whether it is in the configuration now; otherwise it was refused.
    accepted: bool,
}

impl Draft {
    /// Whether no source has a key or a table.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.tables.is_empty()
    }

    /// Whether every value was accepted and no table lacks a key.
    pub(super) fn is_complete(&self) -> bool {
        self.values.iter().all(|value| value.accepted) && self.incomplete_tables().next().is_none()
    }

    /// Adds one of the tables that may stand several times.
    pub(super) fn add_table(&mut self, section: &'static str, at: At, place: Place) {
        keys::make_room(&mut self.config, section, at);
        self.tables.push((section, at, place));
    }

    /// Gives a key its value, in a table that exists. `place` says where the value stands, or an item of its list.
    pub(super) fn put(
        &mut self,
        (key, at): (&'static Key, At),
        typed: &Typed,
        place: impl Fn(Option<usize>) -> Place,
    ) -> Result<(), Problem> {
        let put = (key.field)(&mut self.config, at).set(typed);
        self.values.push(Written {
            key,
            at,
            place: place(None),
            accepted: put.is_ok(),
        });
        put.map_err(|refusal| {
            let what = format!("`{}` in {} {}", key.name, keys::title(key.section), refusal.why);
            Problem::new(place(refusal.item), what).within(key.section)
        })
    }

    /// Notes that a flag has set a key.
    pub(super) fn note_flag(&mut self, (section, name): Name, flag: &'static str) {
        self.values.push(Written {
            key: keys::find(section, name).expect("the table has it"),
            at: At::FIRST,
            place: Place::Flag(flag),
            accepted: true,
        });
    }

    /// Where the value that is in force for a key of this table stands; `None`: it is a default.
    pub(super) fn place_of(&self, key: Name, at: At) -> Option<Place> {
        let mut values = self.values_of(key, at);
        let value = values.rfind(|value| value.accepted);
        value.map(|value| value.place.clone())
    }

    /// The values of a key of this table, in the order of precedence.
    fn values_of(&self, (section, name): Name, at: At) -> impl DoubleEndedIterator<Item = &Written> {
        let values = self.values.iter();
        values.filter(move |value| (value.key.section, value.key.name) == (section, name) && value.at == at)
    }

    /// The place of the first of these keys that has one; one has, or the defaults contradict each other.
    pub(super) fn place(&self, keys: &[(Name, At)]) -> Place {
        let found = keys.iter().find_map(|(key, at)| self.place_of(*key, *at));
        debug_assert!(found.is_some(), "the defaults of {keys:?} contradict each other");
        found.unwrap_or_else(|| Place::File("the defaults".into()))
    }

    /// One problem for each table that lacks keys.
    pub(super) fn incomplete_tables(&self) -> impl Iterator<Item = Problem> {
        self.tables.iter().filter_map(|(section, at, place)| {
            let has = |key: &Key| self.values_of((*section, key.name), *at).next().is_some();
            let missing = keys::in_section(section).filter(|key| key.needed && !has(key));
            let names: Vec<_> = missing.map(|key| format!("`{}`", key.name)).collect();
            let what = format!("{} lacks {}", keys::title(section), names.join(" and "));
            (!names.is_empty()).then(|| Problem::new(place.clone(), what))
        })
    }
}
