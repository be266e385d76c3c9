//! The result of a probe of the database's server, which waits for the server's greeting.

/// Why the database's server greeted no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoGreeting {
    /// The reason, as a sentence.
    pub why: String,
    /// Whether the connection was accepted. Servers count the clients that disconnect before they log in.
    pub taken: bool,
}
