//! Advice for an administrator about a server's refusal. There is advice for errors whose own text has none, and for
//! accounts that the driver cannot log in to. The driver panics for some of these accounts. The panic's message names
//! the problem; nothing else of the panic is shown.

use std::any::Any;

use mysql::DriverError;

use super::fault::Fault;

/// Access is denied: the password is wrong, or the user may not log in from this host or in this way.
const DENIED: [u16; 2] = [1045, 1698];

/// After too many log-ins with a wrong user name or password the server delays all further log-ins.
const DELAYED: &str = "servers that delay log-ins after wrong passwords (plugin connection_control) do so until a log-in with \
                       the right password has waited for its turn: correct the user and the password, and run `jsocketd \
                       check`, which waits longer than the server may; or, as root, SET GLOBAL \
                       connection_control_failed_connections_threshold = 3 (of the component: \
                       component_connection_control.failed_connections_threshold), which forgets all wrong passwords";

/// The outcome of the log-ins so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogIns {
    /// The last log-in that had an answer was refused.
    denied: bool,
}

impl LogIns {
    /// Notes the outcome of a log-in, and adds advice to a failure.
    pub(super) fn note<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        match &outcome {
            Ok(_) | Err(Fault::Unfit(_)) => self.denied = false,
            Err(Fault::Server(code, _)) => self.denied = DENIED.contains(code),
            // The server is there and received the log-in. A probe would only wait for its greeting, and the server
            // would count it against us.
            Err(Fault::Lost { late: true, .. }) if self.denied => {
                return Err(Fault::Unfit(format!(
                    "it refused the user or the password, and now it does not answer a log-in in time: {DELAYED}"
                )));
            }
            Err(Fault::Lost { .. }) => {}
        }
        outcome
    }
}

/// Adds advice to the fault of a log-in that was not answered in time, although the server had greeted.
pub(super) fn unanswered(fault: Fault) -> Fault {
    match fault {
        Fault::Lost { late: true, why } => Fault::Lost {
            late: true,
            why: format!("{why} when we logged in; {DELAYED}"),
        },
        fault => fault,
    }
}

/// The server's words about an error, with advice where the words do not contain it.
pub(super) fn advised(code: u16, words: &str) -> String {
    let advice = match code {
        1461 => {
            "raise max_prepared_stmt_count on the server; the status variable Prepared_stmt_count says how many statements \
             all clients have prepared, and a count that only grows is a client that forgets to close them"
        }
        1203 => "the account has no connection left (MAX_USER_CONNECTIONS or the server's max_user_connections)",
        1226 => {
            "the hoster limits what the account may do in an hour, and the site needs it too: SHOW CREATE USER shows the \
             limits (MAX_QUERIES_PER_HOUR, MAX_UPDATES_PER_HOUR, MAX_CONNECTIONS_PER_HOUR, MAX_USER_CONNECTIONS). Have them \
             raised, or give jsocketd a database user of its own"
        }
        _ => return words.to_owned(),
    };
    format!("{words} ({advice})")
}

/// The fault that an error of the driver itself means.
pub(super) fn of_driver(error: &DriverError) -> Fault {
    match error {
        DriverError::UnknownAuthPlugin(name) => Fault::Unfit(plugin(name)),
        DriverError::CleartextPluginDisabled => Fault::Unfit(plugin("mysql_clear_password")),
        DriverError::OldMysqlPasswordDisabled => Fault::Unfit(plugin("mysql_old_password")),
        error => Fault::lost(&error.to_string()),
    }
}

/// The fault that a panic of the driver means.
pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Fault {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text.as_str(),
        (None, None) => "",
    };
    if text.contains("authentication plugin") {
        let known = ["ed25519", "parsec"].into_iter().find(|name| text.contains(name));
        return Fault::Unfit(plugin(known.unwrap_or("of a kind that the driver does not name")));
    }
    if text.contains("message too long") {
        return Fault::Unfit(
            "the password is too long for a connection without encryption: it must fit into one block of the server's RSA key \
             (213 bytes with a key of 2048 bits). Encrypt the connection ([database] tls), connect through a Unix socket, or \
             choose a shorter password"
                .to_owned(),
        );
    }
    Fault::lost("the driver could not make sense of the server's answer")
}

/// The sentence for an account whose authentication plugin the driver does not have. Servers name a plugin also for
/// users that do not exist, so that clients cannot find out which users exist.
fn plugin(name: &str) -> String {
    let mysql = "ALTER USER … IDENTIFIED WITH caching_sha2_password BY '…'";
    let mariadb = "ALTER USER … IDENTIFIED VIA mysql_native_password USING PASSWORD('…')";
    let remedy = match name {
        "ed25519" | "client_ed25519" | "parsec" | "dialog" | "auth_gssapi_client" => mariadb.to_owned(),
        "sha256_password" => mysql.to_owned(),
        name if name.starts_with("authentication_") => mysql.to_owned(),
        _ => format!("{mysql} on MySQL, {mariadb} on MariaDB"),
    };
    format!(
        "the server asks for a log-in by the plugin {name}, which jsocketd does not have. See first whether the user's name is \
         right, since servers answer like this for users that do not exist; then give the user a plugin that PHP has as well: \
         {remedy}"
    )
}

/// Suppresses the messages of panics of the driver, which is fenced: the reason for the missing connection already
/// contains their text. To be called once, at the start of a program.
pub fn silence_driver_panics() {
    let write = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_of_driver = |file: &str| file.contains("/mysql_common-") || file.contains("/mysql-");
        if !panic.location().is_some_and(|place| is_of_driver(place.file())) {
            write(panic);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late() -> Result<(), Fault> {
        Err(Fault::Lost {
            late: true,
            why: "it did not answer in time".to_owned(),
        })
    }

    fn denied() -> Result<(), Fault> {
        Err(Fault::Server(1045, "Access denied".to_owned()))
    }

    #[test]
    fn a_late_log_in_after_a_wrong_password_is_explained_as_a_delay() {
        let mut log_ins = LogIns::default();
        assert!(matches!(log_ins.note(late()), Err(Fault::Lost { late: true, .. })));
        assert!(matches!(log_ins.note(denied()), Err(Fault::Server(1045, _))));
        for _ in 0..2 {
            match log_ins.note(late()) {
                Err(Fault::Unfit(why)) => assert!(why.contains("connection_control"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
        assert!(log_ins.note(Ok(())).is_ok());
        assert!(matches!(log_ins.note(late()), Err(Fault::Lost { late: true, .. })));
    }

    #[test]
    fn panics_of_the_driver_become_sentences() {
        let ed25519 = "Can't create response for `ed25519` authentication plugin — `mysql_common/client_ed25519` feature is disabled.";
        let sentence = |panic: Box<dyn Any + Send>| of_panic(panic.as_ref()).to_string();
        assert!(sentence(Box::new(ed25519)).contains("the plugin ed25519"));
        assert!(sentence(Box::new(ed25519.replace("ed25519", "parsec"))).contains("the plugin parsec"));
        assert!(sentence(Box::new("message too long")).contains("Unix socket"));
        assert!(sentence(Box::new(7)).contains("could not make sense"));
    }

    #[test]
    fn an_error_that_explains_itself_gets_no_advice() {
        assert_eq!(advised(1045, "Access denied"), "Access denied");
        assert!(advised(1461, "no more").contains("max_prepared_stmt_count"));
    }
}
