//! The names and places that belong to one instance of jsocketd: without a name the usual ones, else those of the
//! template unit.

use std::path::PathBuf;
use std::str::FromStr;

/// The name of an instance, as `--instance` takes it: the part of a unit's name between `@` and `.service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance(String);

impl FromStr for Instance {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !text.starts_with(|c: char| c.is_ascii_lowercase()) || !text.bytes().all(is_good) || text.len() > 32 {
            return Err("a name has 1 to 32 lower-case letters, digits and -, and begins with a letter");
        }
        if text == "jsocketd" {
            return Err("this is the file of the server without an instance; choose another name");
        }
        Ok(Self(text.to_owned()))
    }
}

/// The names of one instance.
#[derive(Clone, Debug)]
pub struct Names {
    instance: Option<Instance>,
}

impl Names {
    /// The names of this instance, or the usual ones.
    pub fn of(instance: Option<Instance>) -> Self {
        Self { instance }
    }

    /// Whether it is one of several.
    pub fn is_instance(&self) -> bool {
        self.instance.is_some()
    }

    fn with(&self, plain: &str, named: impl FnOnce(&str) -> String) -> String {
        self.instance
            .as_ref()
            .map_or_else(|| plain.to_owned(), |Instance(name)| named(name))
    }

    /// The name of the record, and of the web server's files.
    pub fn record(&self) -> String {
        self.with("setup", |name| format!("setup-{name}"))
    }

    /// The name of files that belong to it: `jsocketd.conf`, `jsocketd-shop.conf`.
    pub fn web_server_file(&self) -> String {
        self.with("jsocketd.conf", |name| format!("jsocketd-{name}.conf"))
    }

    /// The name of nginx's upstream: letters, digits and `_`. Two instances never have the same one.
    pub fn upstream(&self) -> String {
        self.with("jsocketd", |name| format!("jsocketd_{}", name.replace('-', "_")))
    }

    /// The configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.with("/etc/jsocketd/jsocketd.toml", |name| {
            format!("/etc/jsocketd/{name}.toml")
        })
        .into()
    }

    /// The file of the unit.
    pub fn unit_file(&self) -> String {
        self.with("jsocketd.service", |_| "jsocketd@.service".to_owned())
    }

    /// The unit, as systemctl takes it.
    pub fn unit(&self) -> String {
        self.with("jsocketd.service", |name| format!("jsocketd@{name}.service"))
    }

    /// The administrators' socket of an instance. The server would find it without being told, but `jsocketd status`
    /// would ask the server without an instance.
    pub fn admin_listen(&self) -> Option<String> {
        let Instance(name) = self.instance.as_ref()?;
        Some(format!("unix:/run/jsocketd-{name}/admin.sock"))
    }

    /// The flag that other commands need to find the same server: empty without an instance.
    pub fn flag(&self) -> String {
        self.with("", |name| format!(" --config /etc/jsocketd/{name}.toml"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_names_of_its_own() {
        let names = Names::of(Some("shop-2".parse().unwrap()));
        assert_eq!(names.web_server_file(), "jsocketd-shop-2.conf");
        assert_eq!(names.upstream(), "jsocketd_shop_2");
        assert_eq!(names.configuration(), PathBuf::from("/etc/jsocketd/shop-2.toml"));
        assert_eq!(
            (names.unit().as_str(), names.unit_file().as_str()),
            ("jsocketd@shop-2.service", "jsocketd@.service")
        );
        assert_eq!(names.admin_listen().unwrap(), "unix:/run/jsocketd-shop-2/admin.sock");
        assert_eq!(names.flag(), " --config /etc/jsocketd/shop-2.toml");
        assert_eq!(names.record(), "setup-shop-2");
        let names = Names::of(None);
        assert_eq!(
            (names.record(), names.flag(), names.admin_listen()),
            ("setup".into(), String::new(), None)
        );
    }

    #[test]
    fn a_name_is_a_part_of_a_path_and_of_a_unit() {
        for bad in [
            "",
            "-a",
            "1a",
            "a_b",
            "A",
            "a b",
            "a/b",
            "..",
            "a.b",
            "jsocketd",
            "a\n",
            "%i",
            &"a".repeat(33),
        ] {
            assert!(bad.parse::<Instance>().is_err(), "{bad:?}");
        }
        for good in ["a", "shop", "shop-2", &"a".repeat(32)] {
            assert!(good.parse::<Instance>().is_ok(), "{good}");
        }
    }
}
