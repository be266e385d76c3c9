//! The options that hold for the site. The server's own configuration takes precedence over the component's parameters.

use super::parameters::Parameters;
use crate::config;
use crate::store::Extensions;
use crate::time::Now;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Options {
    guests: Option<bool>,
    presence_names: Option<bool>,
    parameters: Parameters,
}

impl Options {
    /// The configuration's options; the component's parameters are not known yet.
    pub(super) fn new(settings: &config::Joomla) -> Self {
        Self {
            guests: settings.guests,
            presence_names: settings.presence_names,
            parameters: Parameters::default(),
        }
    }

    /// Applies a new configuration.
    pub(super) fn reconfigure(&mut self, settings: &config::Joomla) {
        (self.guests, self.presence_names) = (settings.guests, settings.presence_names);
    }

    /// Applies the component's parameters in Joomla's stored form.
    pub(super) fn read(&mut self, said: &Extensions, now: Now) {
        let was_enabled = self.is_enabled();
        self.parameters = Parameters::read(said.com_websockets.as_deref(), &self.parameters, now);
        match (was_enabled, self.is_enabled()) {
            (true, false) => log::warn!("the site has switched jsocketd off: its app's connections are closed"),
            (false, true) => log::info!("the site has switched jsocketd on again"),
            _ => {}
        }
    }

    pub(super) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Whether the site has this server switched on: the kill switch of the component.
    pub(super) fn is_enabled(&self) -> bool {
        self.parameters.enabled.unwrap_or(true)
    }

    /// Whether guests may subscribe to channels without a prefix.
    pub(super) fn is_open_to_guests(&self) -> bool {
        self.guests.or(self.parameters.guests).unwrap_or(true)
    }

    /// Whether members of presence channels appear with their ids and names.
    pub(super) fn shows_names(&self) -> bool {
        self.presence_names.or(self.parameters.presence_names).unwrap_or(false)
    }
}
