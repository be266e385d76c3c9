//! The settings of the scenarios, as flags and as a TOML file alike. A setting is declared once, with one default, for
//! both. `scenario.rs` checks them.

use clap::Args;
use serde::Deserialize;

/// Echo as fast as the server does.
#[derive(Args, Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Echo {
    /// Connections
    #[arg(long, default_value_t = Echo::default().connections)]
    pub connections: usize,
    /// Payload of a message, in bytes
    #[arg(long, default_value_t = Echo::default().size)]
    pub size: usize,
    /// Messages in flight on each connection
    #[arg(long, default_value_t = Echo::default().pipeline)]
    pub pipeline: usize,
    /// Measure for so many seconds
    #[arg(long, default_value_t = Echo::default().seconds)]
    pub seconds: f64,
    /// Measure until so many replies have come, instead of for some seconds; 0: by time
    #[arg(long, default_value_t = Echo::default().messages)]
    pub messages: u64,
    /// Binary messages instead of text
    #[arg(long)]
    pub binary: bool,
    /// The server sends back the very bytes it got, as the floor does
    #[arg(long)]
    pub raw: bool,
}

/// Shake hands and then send nothing.
#[derive(Args, Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Idle {
    /// Connections
    #[arg(long, default_value_t = Idle::default().connections)]
    pub connections: usize,
    /// Handshakes in flight at once
    #[arg(long, default_value_t = Idle::default().burst)]
    pub burst: usize,
    /// Hold them for so many seconds
    #[arg(long, default_value_t = Idle::default().seconds)]
    pub seconds: f64,
    /// Connect to the app of --app and subscribe to one channel that all share
    #[arg(long, conflicts_with = "identified")]
    pub subscribe: bool,
    /// Connect as the users of --visitors and subscribe to the channel of their view level
    #[arg(long)]
    pub identified: bool,
}

/// Arrive all at once, each with one console command.
#[derive(Args, Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Console {
    /// Connections
    #[arg(long, default_value_t = Console::default().connections)]
    pub connections: usize,
    /// Handshakes in flight at once; 0: all of them
    #[arg(long, default_value_t = Console::default().burst)]
    pub burst: usize,
    /// Send the command in the same segment as the handshake
    #[arg(long)]
    pub early: bool,
}

/// A few good clients beside many half-finished handshakes.
#[derive(Args, Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct HalfOpen {
    /// Half-finished handshakes
    #[arg(long, default_value_t = HalfOpen::default().half_open)]
    pub half_open: usize,
    /// Good clients
    #[arg(long, default_value_t = HalfOpen::default().connections)]
    pub connections: usize,
    /// Payload of their messages, in bytes
    #[arg(long, default_value_t = HalfOpen::default().size)]
    pub size: usize,
    /// Measure for so many seconds, without and then with
    #[arg(long, default_value_t = HalfOpen::default().seconds)]
    pub seconds: f64,
}

/// Echo on two servers in turns.
#[derive(Args, Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Compare {
    /// The kind of the other server: `floor` (raw bytes come back) or any other name
    #[arg(long, default_value_t = Compare::default().against)]
    pub against: String,
    /// Connections
    #[arg(long, default_value_t = Compare::default().connections)]
    pub connections: usize,
    /// Payload of a message, in bytes
    #[arg(long, default_value_t = Compare::default().size)]
    pub size: usize,
    /// Messages in flight on each connection
    #[arg(long, default_value_t = Compare::default().pipeline)]
    pub pipeline: usize,
    /// Rounds on each side
    #[arg(long, default_value_t = Compare::default().rounds)]
    pub rounds: usize,
    /// Measure for so many seconds in each round
    #[arg(long, default_value_t = Compare::default().seconds)]
    pub seconds: f64,
}

/// Publish to one channel that all clients subscribe to.
#[derive(Args, Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Fanout {
    /// Other servers that take turns: `floor-fanout` and `node-ws` send every posted event to every connection, any
    /// other name speaks the Pusher protocol; can be repeated, with an --against-url and --against-pid each
    #[arg(long)]
    pub against: Vec<String>,
    /// Subscribers
    #[arg(long, default_value_t = Fanout::default().connections)]
    pub connections: usize,
    /// Data of an event, in bytes
    #[arg(long, default_value_t = Fanout::default().size)]
    pub size: usize,
    /// Publishes a second, when there is no --burst
    #[arg(long, default_value_t = Fanout::default().rate)]
    pub rate: f64,
    /// Publish for so many seconds
    #[arg(long, default_value_t = Fanout::default().seconds)]
    pub seconds: f64,
    /// Publish so many events at once instead, pipelined on one connection
    #[arg(long, default_value_t = Fanout::default().burst)]
    pub burst: usize,
    /// Rounds on each side
    #[arg(long, default_value_t = Fanout::default().rounds)]
    pub rounds: usize,
}

/// Post events to the HTTP API as fast as it answers.
#[derive(Args, Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Publish {
    /// Keep-alive connections
    #[arg(long, default_value_t = Publish::default().connections)]
    pub connections: usize,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = Publish::default().pipeline)]
    pub pipeline: usize,
    /// Data of an event, in bytes
    #[arg(long, default_value_t = Publish::default().size)]
    pub size: usize,
    /// Over how many channels
    #[arg(long, default_value_t = Publish::default().channels)]
    pub channels: usize,
    /// Measure for so many seconds
    #[arg(long, default_value_t = Publish::default().seconds)]
    pub seconds: f64,
}

/// Join and leave presence channels.
#[derive(Args, Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Presence {
    /// Channels
    #[arg(long, default_value_t = Presence::default().channels)]
    pub channels: usize,
    /// Members of each channel
    #[arg(long, default_value_t = Presence::default().members)]
    pub members: usize,
    /// Members of each channel who stay all the time and must receive every join and leave
    #[arg(long, default_value_t = Presence::default().watchers)]
    pub watchers: usize,
    /// Joins and leaves a second, counted together
    #[arg(long, default_value_t = Presence::default().rate)]
    pub rate: f64,
    /// For so many seconds
    #[arg(long, default_value_t = Presence::default().seconds)]
    pub seconds: f64,
}

/// Users who are logged in to a Joomla site arrive with their cookies.
#[derive(Args, Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Identified {
    /// How many of --visitors
    #[arg(long, default_value_t = Identified::default().connections)]
    pub connections: usize,
    /// Handshakes in flight at once
    #[arg(long, default_value_t = Identified::default().burst)]
    pub burst: usize,
}

/// Nothing happens but that the server looks into its outbox table.
#[derive(Args, Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Polling {
    /// Measure for so many seconds
    #[arg(long, default_value_t = Polling::default().seconds)]
    pub seconds: f64,
}

impl Default for Identified {
    fn default() -> Self {
        Self {
            connections: 1000,
            burst: 256,
        }
    }
}

impl Default for Polling {
    fn default() -> Self {
        Self { seconds: 10.0 }
    }
}

impl Default for Fanout {
    fn default() -> Self {
        Self {
            against: Vec::new(),
            connections: 1000,
            size: 100,
            rate: 10.0,
            seconds: 2.0,
            burst: 0,
            rounds: 1,
        }
    }
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            connections: 10,
            pipeline: 1,
            size: 100,
            channels: 100,
            seconds: 2.0,
        }
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            channels: 20,
            members: 50,
            watchers: 10,
            rate: 2000.0,
            seconds: 2.0,
        }
    }
}

impl Default for Echo {
    fn default() -> Self {
        Self {
            connections: 100,
            size: 64,
            pipeline: 1,
            seconds: 2.0,
            messages: 0,
            binary: false,
            raw: false,
        }
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            connections: 1000,
            burst: 256,
            seconds: 3.0,
            subscribe: false,
            identified: false,
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self {
            connections: 1000,
            burst: 0,
            early: false,
        }
    }
}

impl Default for HalfOpen {
    fn default() -> Self {
        Self {
            half_open: 500,
            connections: 10,
            size: 64,
            seconds: 2.0,
        }
    }
}

impl Default for Compare {
    fn default() -> Self {
        Self {
            against: "floor".into(),
            connections: 100,
            size: 64,
            pipeline: 1,
            rounds: 5,
            seconds: 2.0,
        }
    }
}
