//! Who may see the page and the server's state, as a sentence for the start and for `check`. `service::caller` decides
//! it; a test of the built server compares the two.

use std::path::Path;

use super::{AdminListen, Config};

/// Says where the page and the state are open, where they are closed, and why. `file`: the configuration file, if one
/// was read. `listeners`: where the server listens. `admin`: where administrators need no token.
pub fn openness(config: &Config, file: Option<&Path>, listeners: &[String], admin: Option<&str>) -> String {
    let server = &config.server;
    let all = listeners.join(", ");
    let place = match file {
        Some(file) => format!("{} has no admin_token", file.display()),
        None => "there is no admin_token".to_owned(),
    };
    let first = match (config.embedded_defaults, server.admin_token.is_empty()) {
        (true, _) => format!("open at {all} to this machine, as there is no configuration file"),
        (false, false) => format!("open at {all} with admin_token"),
        (false, true) => format!("closed at {all}, as {place}"),
    };
    let mut others: Vec<String> = admin
        .map(|address| format!("at {address} without a token"))
        .into_iter()
        .collect();
    if config.has_site() {
        others.push("to users of the site who have a permission for it".to_owned());
    }
    let rest = match (others.is_empty(), &server.admin_listen) {
        (false, _) => format!("; open {}", others.join(", and ")),
        (true, _) if config.embedded_defaults || !server.admin_token.is_empty() => String::new(),
        (true, AdminListen::Off) => ", and admin_listen is empty; either opens them".to_owned(),
        (true, _) => ", and admin_listen names no address; either opens them".to_owned(),
    };
    let page = if config.console.enabled {
        ""
    } else {
        "; the page is off ([console] enabled = false)"
    };
    format!("{first}{rest}{page}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_who_may_see_the_page_and_why_not_the_others() {
        let file = Path::new("/etc/j.toml");
        let socket = "unix:/run/j/admin.sock";
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config
        };
        let token = |config: &mut Config| config.server.admin_token = "0123456789abcdef".into();
        let site = |config: &mut Config| config.joomla.root = "/srv".into();
        for (config, file, admin, said) in [
            (
                with(|_| ()),
                Some(file),
                None,
                "closed at 127.0.0.1:8080, as /etc/j.toml has no admin_token, and admin_listen names no address; either opens \
                 them",
            ),
            (
                with(|config| config.server.admin_listen = AdminListen::Off),
                None,
                None,
                "closed at 127.0.0.1:8080, as there is no admin_token, and admin_listen is empty; either opens them",
            ),
            (
                with(|_| ()),
                Some(file),
                Some(socket),
                "closed at 127.0.0.1:8080, as /etc/j.toml has no admin_token; open at unix:/run/j/admin.sock without a token",
            ),
            (
                with(site),
                Some(file),
                Some(socket),
                "closed at 127.0.0.1:8080, as /etc/j.toml has no admin_token; open at unix:/run/j/admin.sock without a token, \
                 and to users of the site who have a permission for it",
            ),
            (with(token), Some(file), None, "open at 127.0.0.1:8080 with admin_token"),
            (
                with(token),
                Some(file),
                Some(socket),
                "open at 127.0.0.1:8080 with admin_token; open at unix:/run/j/admin.sock without a token",
            ),
            (
                with(|config| (config.embedded_defaults, config.console.enabled) = (true, false)),
                None,
                None,
                "open at 127.0.0.1:8080 to this machine, as there is no configuration file; the page is off ([console] \
                 enabled = false)",
            ),
        ] {
            assert_eq!(openness(&config, file, &["127.0.0.1:8080".to_owned()], admin), said);
        }
    }
}
