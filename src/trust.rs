//! Whom this program trusts when it speaks TLS as a client: Mozilla's roots, which are built in, and the authorities in
//! the files that an administrator names. Webhooks, the commands that ask a server, and the doctor share this. It says
//! what is wrong with a certificate; the callers say where it was shown.
//!
//! Rejected: the roots of the system (rustls-native-certs). A server of a few megabytes in a bare container would have
//! none, and the same binary would trust others on each machine.

use std::io;
use std::path::{Path, PathBuf};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, InvalidMessage, RootCertStore,
    SignatureScheme, WantsVerifier, client::WantsClientCert,
};
use thiserror::Error;

/// A certificate should be renewed so many days before it expires; certbot does it 30 days before.
pub const DAYS: u64 = 14;

/// The names of a certificate that a message lists.
const SHOWN: usize = 5;

/// Why a file with authorities cannot be used.
#[derive(Debug, Error)]
#[error("{}: {why}", file.display())]
pub struct BadFile {
    /// The file.
    pub file: PathBuf,
    /// The reason, as a clause about the file.
    pub why: String,
}

/// The authorities that are trusted.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: RootCertStore,
}

impl Trust {
    /// The built-in roots, and those in these PEM files.
    ///
    /// # Errors
    /// A file cannot be read, or has no usable certificate.
    pub fn new(files: &[PathBuf]) -> Result<Self, BadFile> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        for file in files {
            add(&mut roots, file).map_err(|why| BadFile {
                file: file.clone(),
                why,
            })?;
        }
        Ok(Self { roots })
    }

    /// The settings of a client that accepts only servers with a good certificate. Copies share their sessions, so that
    /// a second connection to a server costs less.
    pub fn client(&self) -> ClientConfig {
        finish(builder().with_root_certificates(self.roots.clone()))
    }

    /// Judges the chain that a server with this name has shown, as of this time.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>, at: UnixTime) -> Result<(), Error> {
        let (end, between) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let provider = ring::default_provider();
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots.clone().into(), provider.into())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end, between, name, &[], at).map(|_| ())
    }
}

/// The settings of a client that accepts every server, whatever certificate it shows.
pub fn client_of_any() -> ClientConfig {
    client_of(None)
}

/// The settings of a client that accepts only the server that shows the first certificate in this file, under any name
/// and at any time: our own server.
///
/// # Errors
/// The file cannot be read, or has no certificate.
pub fn client_of_own(file: &Path) -> Result<ClientConfig, BadFile> {
    match certificates(file).map(|mut all| all.swap_remove(0)) {
        Ok(known) => Ok(client_of(Some(known))),
        Err(error) => Err(BadFile {
            file: file.to_owned(),
            why: why(&error),
        }),
    }
}

fn client_of(known: Option<CertificateDer<'static>>) -> ClientConfig {
    let provider = ring::default_provider();
    let verifier: Box<dyn ServerCertVerifier> = Box::new(Known { known, provider });
    finish(builder().dangerous().with_custom_certificate_verifier(verifier.into()))
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3")
}

fn finish(builder: ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientConfig {
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let unread = |error| format!("it has a certificate that cannot be read: {error}");
    let mut all = certificates(file).map_err(|error| why(&error))?.into_iter();
    all.try_for_each(|der| roots.add(der).map_err(unread))
}

/// The certificates in a PEM file, at least one.
///
/// # Errors
/// The file cannot be read, or has no certificate (`NoItemsFound`).
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let all = CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>()?;
    match all.is_empty() {
        true => Err(pem::Error::NoItemsFound),
        false => Ok(all),
    }
}

fn why(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "it has no certificate in PEM".into(),
        error => format!("it is no PEM file: {error}"),
    }
}

/// The error of TLS in one of reading or writing.
pub fn in_io(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// What went wrong in a TLS connection to this host, as a clause.
pub fn what(error: &Error, host: &str) -> String {
    match error {
        Error::InvalidCertificate(error) => flaw(error, host),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "it does not speak TLS at this port".into(),
        Error::AlertReceived(alert) => format!("it refuses the TLS connection: {alert:?}"),
        Error::PeerIncompatible(_) => format!("it speaks no TLS that this program speaks, 1.2 or 1.3: {error}"),
        error => format!("TLS: {error}"),
    }
}

/// The same with what to do about it. `authorities` is where an administrator names further ones, as `--ca FILE`.
pub fn what_to_do(error: &Error, host: &str, authorities: &str) -> String {
    let what = what(error, host);
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            format!("{what}; if it is an authority of your own, name its certificate with {authorities}")
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            format!("{what}: write http://, or the port that speaks TLS")
        }
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }) => {
            format!("{what}: use a name that it is for")
        }
        Error::InvalidCertificate(error) if is_authority(error) => {
            format!("{what}: make one with `openssl req -x509 -addext basicConstraints=critical,CA:FALSE …`")
        }
        _ => what,
    }
}

/// What is wrong with a certificate, as a clause.
fn flaw(error: &CertificateError, host: &str) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate expired on {}", date(*not_after))
        }
        CertificateError::Expired => "the certificate has expired".into(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is valid only from {} on", date(*not_before))
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("the certificate is not for {host}, but for {}", listed(presented))
        }
        // The signature is bad where another authority of the same name is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority that is trusted has issued the certificate, or the chain is not complete".into()
        }
        CertificateError::Revoked => "the certificate was revoked".into(),
        CertificateError::ApplicationVerificationFailure => {
            "it shows another certificate than that in the configuration".into()
        }
        error if is_authority(error) => {
            "the certificate is that of an authority (CA:TRUE), which no server may use for itself".into()
        }
        error => format!("the certificate cannot be used: {error}"),
    }
}

/// Whether a certificate is one that may issue others. Those that `openssl req -x509` makes are such ones.
fn is_authority(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if other.0.to_string().contains("CaUsedAsEndEntity"))
}

/// Names as the peer wrote them, without the form of the library.
fn listed(names: &[String]) -> String {
    match names {
        [] => "no name at all".into(),
        names => {
            let shown = names.iter().take(SHOWN).map(|name| plain_name(name));
            shown.collect::<Vec<_>>().join(", ")
        }
    }
}

/// A name of a certificate as it was written, without the form of the library.
pub fn plain_name(name: &str) -> String {
    let inside = name.split_once('(').map_or(name, |(_, rest)| rest);
    inside.trim_end_matches(')').trim_matches('"').to_owned()
}

/// `2026-11-30`
pub fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let date = jiff::Timestamp::from_second(seconds).map(|time| time.to_string());
    date.ok()
        .and_then(|date| date.get(..10).map(str::to_owned))
        .unwrap_or_else(|| "a date that cannot be written".into())
}

/// Accepts a server that shows this certificate, or every server, but no signature of another key than the
/// certificate's.
#[derive(Debug)]
struct Known {
    known: Option<CertificateDer<'static>>,
    provider: CryptoProvider,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.known {
            Some(known) if known != end => Err(CertificateError::ApplicationVerificationFailure.into()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    #[test]
    fn a_file_without_authorities_is_named() {
        for (text, why) in [
            ("", "no certificate in PEM"),
            ("words\n", "no certificate in PEM"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "no PEM file"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "cannot be read",
            ),
        ] {
            let file = file(text);
            let said = Trust::new(&[file.path().to_owned()]).expect_err(text).to_string();
            assert!(said.contains(why), "{text:?}: {said}");
            assert!(said.starts_with(&file.path().display().to_string()), "{said}");
        }
        let missing = Trust::new(&["/nowhere/ca.pem".into()]).expect_err("there is none");
        assert_eq!(
            missing.to_string(),
            "/nowhere/ca.pem: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn the_names_of_a_certificate_are_shown_as_they_were_written() {
        let names: Vec<String> = ["DnsName(\"a.example\")", "IpAddress(127.0.0.1)", "b", "c", "d", "e"]
            .map(str::to_owned)
            .into();
        assert_eq!(listed(&names), "a.example, 127.0.0.1, b, c, d");
        assert_eq!(listed(&[]), "no name at all");
    }

    #[test]
    fn every_failure_of_a_connection_is_a_clause() {
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let said = what_to_do(&unknown, "h", "--ca FILE");
        assert!(said.contains("authority") && said.ends_with("with --ca FILE"), "{said}");
        let plain = Error::InvalidMessage(InvalidMessage::InvalidContentType);
        assert_eq!(
            what_to_do(&plain, "h", "--ca FILE"),
            "it does not speak TLS at this port: write http://, or the port that speaks TLS"
        );
        let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext {
            time: at(0),
            not_after: at(1_583_020_800),
        };
        let said = what(&Error::InvalidCertificate(expired), "h");
        assert_eq!(said, "the certificate expired on 2020-03-01");
    }
}
