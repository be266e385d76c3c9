//! The certificates of `[tls]`: reads and checks the files, and makes of them the settings of the TLS sessions of the
//! server. `server::process` decides when the files are read again; `net::tls` speaks TLS by the settings.
//!
//! What a client would refuse is an error where no client could connect (no certificate, no key, the key of another
//! certificate), and a warning otherwise: an expired certificate is still better than none, since some clients do not
//! check.
//!
//! Sessions are resumed by stateless tickets, so nothing is kept for a client that is gone, and a crowd that comes back
//! after a restart of its network costs few signatures. Tickets are valid for 6 to 12 hours and for this process only.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, ServerConfig};

use crate::config::Tls;
use crate::trust::{self, DAYS, Trust};

/// The end of the year 9999, after every certificate.
const FOR_EVER: u64 = 253_402_300_799;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    /// A file cannot be read, or does not have what it must have.
    #[error("{key} {}: {why}", file.display())]
    File {
        /// Where the configuration names the file.
        key: String,
        /// The file.
        file: PathBuf,
        /// The reason.
        why: String,
    },
    /// The library refuses it.
    #[error("TLS cannot begin: {0}")]
    Library(Error),
}

/// Certificates that were read.
#[derive(Debug)]
pub struct Loaded {
    /// The settings with these certificates.
    pub settings: Arc<ServerConfig>,
    /// The facts about these certificates.
    pub found: Found,
}

/// The facts about certificates that were read.
#[derive(Debug)]
pub struct Found {
    /// One line about each certificate.
    pub lines: Vec<String>,
    /// The faults for which clients refuse a certificate, now or soon.
    pub warnings: Vec<String>,
    /// When the first of them expires, in seconds since 1970.
    pub expires: u64,
}

/// What outlives a change of certificates: the key of the tickets.
#[derive(Debug)]
pub struct Maker {
    tickets: Arc<dyn ProducesTickets>,
}

impl Maker {
    /// A new key.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Self, BadCertificate> {
        let tickets = ring::Ticketer::new().map_err(BadCertificate::Library)?;
        Ok(Self { tickets })
    }

    /// Reads the files.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(&self, tls: &Tls) -> Result<Loaded, BadCertificate> {
        let mut found = Found {
            lines: Vec::new(),
            warnings: Vec::new(),
            expires: FOR_EVER,
        };
        let default = found.read("[tls] certificate", &tls.certificate, &tls.key, None)?;
        let mut names = Vec::new();
        for name in &tls.names {
            let key = format!("[[tls.names]] {} certificate", name.name);
            let shown = found.read(&key, &name.certificate, &name.key, Some(&name.name))?;
            names.push((name.name.clone(), shown));
        }
        let mut settings = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(BadCertificate::Library)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ByName { default, names }));
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        settings.session_storage = Arc::new(NoServerSessionStorage {});
        settings.ticketer = self.tickets.clone();
        Ok(Loaded {
            settings: settings.into(),
            found,
        })
    }
}

/// The files that `load` reads.
pub fn files(tls: &Tls) -> Vec<PathBuf> {
    let mut all = vec![&tls.certificate, &tls.key];
    all.extend(tls.names.iter().flat_map(|name| [&name.certificate, &name.key]));
    all.into_iter().map(PathBuf::from).collect()
}

impl Found {
    /// Reads a certificate and its key, which the configuration names at `key`. `name`: the name that clients ask for.
    fn read(
        &mut self,
        key: &str,
        certificate: &str,
        private: &str,
        name: Option<&str>,
    ) -> Result<Arc<CertifiedKey>, BadCertificate> {
        let bad = |key: String, file: &str, why: String| BadCertificate::File {
            key,
            file: file.into(),
            why,
        };
        let chain = trust::certificates(certificate.as_ref())
            .map_err(|error| bad(key.to_owned(), certificate, why(&error, "certificate")))?;
        let of_key = || format!("{} key", key.trim_end_matches(" certificate"));
        let private_key = private_key(private.as_ref()).map_err(|why| bad(of_key(), private, why))?;
        let certified = CertifiedKey::from_der(chain, private_key, &ring::default_provider());
        let certified = certified.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => bad(
                of_key(),
                private,
                format!("it is not the key of the certificate in {certificate}"),
            ),
            Error::InvalidCertificate(_) => bad(
                key.to_owned(),
                certificate,
                format!("its first certificate cannot be read: {error}"),
            ),
            error => bad(of_key(), private, format!("this kind of key cannot be used: {error}")),
        })?;
        self.judge(certificate, &certified.cert, name);
        Ok(certified.into())
    }

    /// Notes what clients will say to a chain.
    fn judge(&mut self, file: &str, chain: &[CertificateDer<'_>], name: Option<&str>) {
        let Some(end) = chain.first() else { return };
        let names = names(end);
        // The first name of the certificate, so that a check for a name can succeed.
        let host = name
            .map(|name| name.replace('*', "any"))
            .or_else(|| names.first().cloned());
        let host = host.unwrap_or_else(|| "localhost".to_owned()).replace('*', "any");
        let Ok(server) = ServerName::try_from(host.clone()) else {
            return;
        };
        let listed = match names.is_empty() {
            true => "no name".to_owned(),
            false => names.join(", "),
        };
        if name.is_some()
            && ParsedCertificate::try_from(end).is_ok_and(|end| verify_server_name(&end, &server).is_err())
        {
            self.warnings.push(format!(
                "{file}: the certificate is for {listed}, and not for {}; its clients will refuse it",
                name.unwrap_or_default()
            ));
        }
        let Ok(trust) = Trust::new(&[]) else { return };
        let at = |seconds| trust.verify(chain, &server, UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
        let mut until = String::new();
        if let Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) = at(FOR_EVER) {
            self.expires = self.expires.min(not_after.as_secs());
            until = format!(", until {}", trust::date(not_after));
        }
        self.lines.push(format!("{file}: for {listed}{until}"));
        let now = UnixTime::now().as_secs();
        let soon = at(now + DAYS * 86_400);
        let is_date = |error: &Error| {
            use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
            let Error::InvalidCertificate(error) = error else {
                return false;
            };
            matches!(
                error,
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
            )
        };
        match (at(now), soon) {
            (Err(error), _) if is_date(&error) => {
                self.warnings
                    .push(format!("{file}: {}; clients refuse it", trust::what(&error, &host)));
            }
            (_, Err(error)) if is_date(&error) => self.warnings.push(format!(
                "{file}: the certificate expires within {DAYS} days{until}; see why it is not renewed by itself"
            )),
            (Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)), _) if chain.len() == 1 => {
                self.lines.push(format!(
                    "{file}: one certificate, of an authority that browsers do not know; if it is not your own \
                     authority's, name the file with the whole chain (fullchain.pem, not cert.pem)"
                ));
            }
            _ => {}
        }
    }
}

/// The names of a certificate.
fn names(end: &CertificateDer<'_>) -> Vec<String> {
    // The library lists them where they do not fit.
    let Ok(parsed) = ParsedCertificate::try_from(end) else {
        return Vec::new();
    };
    let Ok(nobody) = ServerName::try_from("nobody.invalid") else {
        return Vec::new();
    };
    match verify_server_name(&parsed, &nobody) {
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })) => {
            presented.iter().map(|name| trust::plain_name(name)).collect()
        }
        _ => Vec::new(),
    }
}

/// The first private key in a PEM file.
fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| {
        let is_encrypted = || std::fs::read_to_string(file).is_ok_and(|text| text.contains("ENCRYPTED"));
        match matches!(error, pem::Error::NoItemsFound) && is_encrypted() {
            true => "the key has a password; write it without one (`openssl pkey -in KEY -out FILE`)".into(),
            false => why(&error, "private key"),
        }
    })
}

fn why(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::Io(error) => format!("it cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("it has no {what} in PEM"),
        error => format!("it is no good PEM file: {error}"),
    }
}

/// The certificate that a client gets: by the name that it asks for, else the one of `[tls]`.
#[derive(Debug)]
struct ByName {
    default: Arc<CertifiedKey>,
    names: Vec<(String, Arc<CertifiedKey>)>,
}

impl ByName {
    fn find(&self, asked: &str) -> &Arc<CertifiedKey> {
        let exact = self.names.iter().find(|(name, _)| name.eq_ignore_ascii_case(asked));
        let covers = |name: &str| {
            let Some((label, rest)) = asked.split_once('.') else {
                return false;
            };
            name.strip_prefix("*.")
                .is_some_and(|own| !label.is_empty() && own.eq_ignore_ascii_case(rest))
        };
        let found = exact.or_else(|| self.names.iter().find(|(name, _)| covers(name)));
        found.map_or(&self.default, |(_, shown)| shown)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().map_or(&self.default, |name| self.find(name));
        Some(found.clone())
    }
}
