//! The site, and the app whose connections are its visitors. This file applies the site's answers to the app: to its
//! channels, rows and credentials.

use std::time::Duration;

use super::asked::missed;
use super::members::Speaks;
use super::page::Page;
use crate::config::Config;
use crate::hub::app::App;
use crate::hub::apps::Apps;
use crate::hub::roster::Reviewed;
use crate::id::ConnectionId;
use crate::joomla::site::SiteConfig;
use crate::outbox::{Outbox, Seen};
use crate::protocol::actions::Actions;
use crate::protocol::keys::Keys;
use crate::site::Site;
use crate::time::Now;

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Home {
    /// `None`: there is no site.
    site: Option<Box<Site>>,
    /// The number of the site's app; `None`: there is no site, or the configuration has no such app.
    app: Option<usize>,
    /// This process is one of a cluster.
    is_in_cluster: bool,
    /// What was logged about the secret of this app, as long as it is true.
    complaint: Option<String>,
}

impl Home {
    /// This process is one of a cluster. Call it before the site is found.
    pub(super) fn join_cluster(&mut self) {
        self.is_in_cluster = true;
    }

    /// The site was found, or its configuration changed.
    pub(super) fn set_site(
        &mut self,
        facts: SiteConfig,
        config: &Config,
        keys: &Keys,
        apps: &mut Apps,
        actions: &mut Actions,
    ) {
        let most = config.apps.iter().map(|app| app.max_event_size).max().unwrap_or(0);
        match &mut self.site {
            Some(site) => site.reconfigure(facts, config, most, actions.effects()),
            None if self.is_in_cluster => {
                let keys = keys.clone().of_site(&facts.secret.0);
                self.site = Some(Box::new(Site::new(facts, config, &keys, most)));
            }
            None => self.site = Some(Box::new(Site::new(facts, config, keys, most))),
        }
        self.find_app(config, apps);
    }

    /// Finds the app of the site.
    pub(super) fn find_app(&mut self, config: &Config, apps: &mut Apps) {
        self.app = self
            .site
            .as_ref()
            .and_then(|_| apps.find_configured(&config.joomla.app));
        if let Some(app) = self.app {
            let retention = Duration::from_secs(config.database.retention);
            apps.app_mut(app).belong_to_site(retention);
        }
    }

    /// The number of the site's app.
    pub(super) fn app(&self) -> Option<usize> {
        self.app
    }

    /// The site.
    pub(super) fn site(&self) -> Option<&Site> {
        self.site.as_deref()
    }

    /// The site.
    pub(super) fn site_mut(&mut self) -> Option<&mut Site> {
        self.site.as_deref_mut()
    }

    /// The site, if the app with this number is its app.
    pub(super) fn of(&self, app: usize) -> Option<&Site> {
        self.site.as_deref().filter(|_| self.app == Some(app))
    }

    /// The site, if the app with this number is its app.
    pub(super) fn of_mut(&mut self, app: usize) -> Option<&mut Site> {
        self.site.as_deref_mut().filter(|_| self.app == Some(app))
    }

    fn both<'a>(&'a mut self, apps: &'a mut Apps) -> Option<(&'a mut App, &'a mut Site)> {
        Some((apps.app_mut(self.app?), self.site.as_deref_mut()?))
    }

    /// Why a visitor's connection must be closed; `None`: it may stay. Console connections always stay.
    pub(super) fn turned_away(&self, id: ConnectionId, speaks: &Speaks) -> Option<(u16, &'static str)> {
        match speaks {
            Speaks::Pusher(app) => self.of(*app)?.turned_away(id),
            Speaks::Http | Speaks::Console(_) | Speaks::Echo => None,
        }
    }

    /// Passes the position of the outbox table to the app.
    pub(super) fn set_table(&mut self, apps: &mut Apps, actions: &mut Actions) {
        if let Some((app, site)) = self.both(apps) {
            app.set_table(site.outbox().map(Outbox::told_position), actions);
        }
    }

    /// Checks subscriptions again that the site's rules admitted.
    pub(super) fn review(&mut self, which: Reviewed<'_>, apps: &mut Apps, now: Now, actions: &mut Actions) {
        if let Some((app, site)) = self.both(apps) {
            app.review(which, |id, name| site.review(id, name, now), now, actions);
        }
    }

    /// Held subscriptions go on, if they are no longer in doubt.
    pub(super) fn release(&mut self, apps: &mut Apps, now: Now, actions: &mut Actions) {
        if let Some((app, site)) = self.both(apps) {
            app.release(missed(Some(site), now), now, actions);
        }
    }

    /// Finishes the work of the control rows among the effects.
    pub(super) fn settle(&mut self) {
        if let Some(site) = &mut self.site {
            site.settle();
        }
    }

    /// Carries out a row that became visible in the outbox table. A row is judged by the control rows before it and not
    /// by later ones: a later control row that ends a session would also end the doubts that hold this row.
    pub(super) fn publish_row(&mut self, seen: &Seen, apps: &mut Apps, now: Now, actions: &mut Actions) {
        if let Some(site) = &mut self.site {
            match seen {
                Seen::Control(control) => site.carry_out(control, now, actions.effects()),
                Seen::Gap => site.doubt_all(now),
                Seen::Event(_) | Seen::Past(..) => site.settle(),
            }
        }
        let Some((app, site)) = self.both(apps) else {
            return;
        };
        let site = &*site;
        let is_doubted = site.has_doubts().then(|| {
            let doubts_channel = matches!(seen, Seen::Event(event) if site.doubts_channel(&event.channel));
            move |id, by_rule| by_rule && doubts_channel || site.doubts_visitor(id)
        });
        app.publish_row(seen, is_doubted, now, actions);
    }

    /// The component's parameters contain the credentials of the site's app. Credentials in the configuration take
    /// precedence. The page contains the key.
    pub(super) fn take_credentials(&mut self, config: &Config, apps: &mut Apps, page: &mut Page) {
        self.set_credentials(config, apps);
        page.refresh(config, apps.iter().map(|app| &app.settings));
    }

    fn set_credentials(&mut self, config: &Config, apps: &mut Apps) {
        let (Some(app), Some(site)) = (self.app, self.site.as_deref()) else {
            return;
        };
        let app = apps.app_mut(app);
        let own = config.apps.iter().find(|own| own.id == config.joomla.app);
        if own.is_some_and(|own| !own.secret.is_empty()) {
            app.former = None;
            self.complaint = None;
            return;
        }
        let Some(parameters) = site.parameters() else { return };
        // Credentials that the component had before stay.
        let is_off =
            app.settings.secret.is_empty() || parameters.credentials.is_some() || parameters.weakness.is_some();
        let complaint = parameters.complaint(&config.joomla.app).filter(|_| is_off);
        if let Some(why) = complaint.as_ref().filter(|_| complaint != self.complaint) {
            log::warn!("{why}");
        }
        self.complaint = complaint;
        let Some(credentials) = &parameters.credentials else {
            return;
        };
        app.former = credentials.former.as_ref().map(|former| former.secret.clone());
        let settings = &mut app.settings;
        if (&settings.id, &settings.key, &settings.secret) != (&credentials.id, &credentials.key, &credentials.secret) {
            log::info!("the app {} has its key and secret from the component", credentials.id);
            settings.id.clone_from(&credentials.id);
            settings.key.clone_from(&credentials.key);
            settings.secret.clone_from(&credentials.secret);
        }
    }
}
