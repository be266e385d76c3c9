//! Judges a chain of certificates as browsers do: by Mozilla's roots, and by those of `--ca`. Connections themselves
//! accept every chain, so that one bad certificate hides no other fault.

use std::path::PathBuf;
use std::time::Duration;

use jsocketd::trust::{self, DAYS, Trust};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, Error};

use super::report::{Findings, hop};

/// What is trusted.
pub struct Tls {
    trust: Trust,
    config: ClientConfig,
}

impl Tls {
    /// `files`: PEM files of further roots.
    ///
    /// # Errors
    /// A sentence: a file cannot be used.
    pub fn new(files: &[PathBuf]) -> Result<Self, String> {
        Ok(Self {
            trust: Trust::new(files).map_err(|bad| format!("--ca {bad}"))?,
            config: trust::client_of_any(),
        })
    }

    /// For a connection.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Judges the chain of a server with this name, now and in two weeks.
    pub fn judge(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>, findings: &mut Findings) {
        let now = UnixTime::now();
        let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + DAYS * 86_400));
        let host = name.to_str();
        match self
            .trust
            .verify(chain, name, now)
            .map_err(|error| words(&error, &host))
        {
            Err((says, mend)) => findings.fault(hop::TLS, says, mend),
            Ok(()) => match self.trust.verify(chain, name, soon) {
                Ok(()) => findings.ok(
                    hop::TLS,
                    format!("the certificate is for {host}, trusted, and valid for {DAYS} more days at least"),
                ),
                Err(error) => findings.warn(
                    hop::TLS,
                    format!("in {DAYS} days the certificate will be bad: {}", words(&error, &host).0),
                    "see why it is not renewed by itself: `certbot renew --dry-run`, or the log of what renews it",
                ),
            },
        }
    }
}

/// What is wrong with a certificate, and what to do.
fn words(error: &Error, host: &str) -> (String, &'static str) {
    const RENEW: &str = "renew it (`certbot renew`), and reload the web server, which keeps the old one until then";
    let mend = match error {
        Error::InvalidCertificate(CertificateError::ExpiredContext { .. } | CertificateError::Expired) => RENEW,
        Error::InvalidCertificate(CertificateError::NotValidYetContext { .. }) => {
            "compare this machine's clock with the time, and the date of the certificate with what was ordered"
        }
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }) => {
            "have a certificate issued that has this name too (`certbot --expand -d …`), and see whether the web \
             server's block for this name shows it; or use the name that it is for"
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "let the web server send the whole chain (fullchain.pem, not cert.pem); name the root of an authority of \
             your own with --ca FILE"
        }
        _ => "have a new one issued",
    };
    (trust::what(error, host), mend)
}
