//! All apps by number, id and key, and how a new configuration changes them.

use super::app::App;
use crate::config;
use crate::protocol::actions::{Action, Actions};
use crate::time::Time;

/// All apps.
#[derive(Debug, Default)]
pub struct Apps {
    apps: Vec<App>,
}

impl Apps {
    /// The apps of a configuration, without connections. `start` distinguishes this run of the server from other runs.
    pub fn new(settings: &[config::App], start: u32) -> Self {
        Self {
            apps: settings
                .iter()
                .enumerate()
                .map(|(number, settings)| App::new(number, settings.clone(), start))
                .collect(),
        }
    }

    /// Applies a new configuration. Apps that are still in it keep their connections and get the new settings. New apps
    /// are added; `start` is for them. An app that is missing is disabled, and its connections are closed.
    pub fn reconfigure(&mut self, settings: &[config::App], start: u32, actions: &mut Actions) {
        for app in &mut self.apps {
            match settings.iter().find(|new| new.id == app.configured) {
                Some(new) => app.settings = new.clone(),
                None => app.settings.enabled = false,
            }
            if !app.settings.enabled {
                for (id, _) in app.roster.sessions.iter() {
                    actions.push(Action::Close(id, 4003, "application is disabled".into()));
                }
            }
        }
        for new in settings {
            if self.find_configured(&new.id).is_none() {
                self.apps.push(App::new(self.apps.len(), new.clone(), start));
            }
        }
    }

    /// The apps with open connections that other settings lack: the id that the configuration gave each, and its number
    /// of connections. All of these connections would be closed. An app that is there with `enabled = false` is not in
    /// the list: that is intentional.
    pub fn closed_by(&self, settings: &[config::App]) -> Vec<(&str, usize)> {
        let is_missing = |app: &&App| settings.iter().all(|other| other.id != app.configured);
        let open = self.apps.iter().filter(|app| app.settings.enabled);
        open.filter(is_missing)
            .map(|app| (app.configured.as_str(), app.roster.connections()))
            .filter(|(_, connections)| *connections > 0)
            .collect()
    }

    /// The app to which the configuration gives this id.
    pub fn find_configured(&self, id: &str) -> Option<usize> {
        self.apps.iter().position(|app| app.configured == id)
    }

    /// The app with this id.
    pub fn find_id(&self, id: &str) -> Option<usize> {
        self.apps.iter().position(|app| app.settings.id == id)
    }

    /// The app with this key.
    pub fn find_key(&self, key: &str) -> Option<usize> {
        self.apps.iter().position(|app| app.settings.key == key)
    }

    /// The app, if there is exactly one.
    pub fn only(&self) -> Option<usize> {
        (self.apps.len() == 1).then_some(0)
    }

    /// An app by its number.
    pub fn app(&self, n: usize) -> &App {
        &self.apps[n]
    }

    /// An app by its number.
    pub fn app_mut(&mut self, n: usize) -> &mut App {
        &mut self.apps[n]
    }

    /// All apps, by number.
    pub fn iter(&self) -> impl Iterator<Item = &App> {
        self.apps.iter()
    }

    /// All apps.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut App> {
        self.apps.iter_mut()
    }

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        self.apps.iter().map(App::deadline).min().unwrap_or(Time::NEVER)
    }
}
