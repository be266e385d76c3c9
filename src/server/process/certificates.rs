//! The certificates while the server runs. They are read at the start, on SIGHUP, and when one of their files changes,
//! so that a renewed certificate needs nobody. New connections get the new one. Files that cannot be used (one half of
//! a renewed pair) change nothing and are tried again.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::certificates::{BadCertificate, Loaded, Maker, files};
use crate::config::Tls;
use crate::flight::Kind;
use crate::joomla::site::{Stamp, Watch};
use crate::net::poll::MioIo;
use crate::server::Server;
use crate::time::Time;

/// How often the files are checked for changes.
const CHECK: Duration = Duration::from_secs(2);

/// The certificates of the server, if it speaks TLS.
pub(super) struct Certificates {
    /// `None`: it speaks no TLS until a restart.
    maker: Option<Maker>,
    watched: Vec<(PathBuf, Watch)>,
    checked: Time,
    /// Why the files of the last attempt could not be used.
    refused: Option<String>,
}

impl Certificates {
    /// Reads the certificates, if there are any, and passes them to the server.
    pub(super) fn begin(tls: &Tls, server: &mut Server<MioIo>) -> Result<Self, BadCertificate> {
        let mut own = Self {
            maker: tls.is_on().then(Maker::new).transpose()?,
            watched: Vec::new(),
            checked: server.ended,
            refused: None,
        };
        if let Some(loaded) = own.read(tls)? {
            pass_on(loaded, server);
        }
        Ok(own)
    }

    /// Reads the files. Their stamps are taken before, so that a change while they are read is found later.
    fn read(&mut self, tls: &Tls) -> Result<Option<Loaded>, BadCertificate> {
        let Some(maker) = &self.maker else { return Ok(None) };
        self.watched = files(tls)
            .into_iter()
            .map(|file| {
                let stamp = fs::metadata(&file).ok().as_ref().map(Stamp::of);
                (file, Watch::new(stamp))
            })
            .collect();
        maker.load(tls).map(Some)
    }

    /// The time until `reread` has something to do.
    pub(super) fn wake(&self, now: Time) -> Option<Duration> {
        self.maker.as_ref().map(|_| (self.checked + CHECK).since(now))
    }

    /// Reads the files again if one has changed, or if they could not be used.
    pub(super) fn reread(&mut self, tls: &Tls, server: &mut Server<MioIo>) {
        let now = server.ended;
        if self.maker.is_none() || now.since(self.checked) < CHECK {
            return;
        }
        self.checked = now;
        let mut changed = self.refused.is_some();
        for (file, watch) in &mut self.watched {
            // Behind the links that certbot changes.
            changed |= watch.changed(fs::metadata(file).ok().as_ref().map(Stamp::of));
        }
        if changed {
            self.try_again(tls, server);
        }
        server.did(Kind::Certificates, "");
    }

    /// Reads the files anew and passes them to the server. If they cannot be used, everything stays as it was.
    pub(super) fn try_again(&mut self, tls: &Tls, server: &mut Server<MioIo>) {
        match self.read(tls) {
            Ok(None) => {}
            Ok(Some(loaded)) => {
                self.refused = None;
                log::info!("the certificates were read again");
                pass_on(loaded, server);
            }
            Err(error) => {
                let why = error.to_string();
                if self.refused.as_ref() != Some(&why) {
                    log::error!("the certificates of before stay in use, and the files are tried again: {why}");
                }
                self.refused = Some(why);
            }
        }
    }
}

/// Writes what was found to the log, and hands the settings to the server.
fn pass_on(loaded: Loaded, server: &mut Server<MioIo>) {
    for line in &loaded.found.lines {
        log::info!("certificate {line}");
    }
    for warning in &loaded.found.warnings {
        log::warn!("certificate {warning}");
    }
    server.set_tls(loaded.settings, loaded.found.expires);
}
