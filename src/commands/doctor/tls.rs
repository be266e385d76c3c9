//! Judges a chain of certificates as browsers do: by Mozilla's roots, and by those of `--ca`. Connections themselves
//! accept every chain, so that one bad certificate hides no other fault.

use std::path::PathBuf;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::report::{Findings, hop};

/// A certificate should be renewed so many days before it expires.
const DAYS: u64 = 14;

/// What is trusted.
pub struct Tls {
    roots: RootCertStore,
    config: ClientConfig,
}

impl Tls {
    /// `files`: PEM files of further roots.
    ///
    /// # Errors
    /// A sentence: a file cannot be used.
    pub fn new(files: &[PathBuf]) -> Result<Self, String> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        for file in files {
            let bad = |why: &dyn std::fmt::Display| format!("--ca {}: {why}", file.display());
            let found = CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))?;
            let mut some = false;
            for der in found {
                let der = der.map_err(|error| bad(&error))?;
                roots.add(der).map_err(|error| bad(&error))?;
                some = true;
            }
            if !some {
                return Err(bad(&"the file has no certificate"));
            }
        }
        let any: Box<dyn ServerCertVerifier> = Box::new(Any(ring::default_provider()));
        let mut config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(any.into())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { roots, config })
    }

    /// For a connection.
    pub fn config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Judges the chain of a server with this name, now and in two weeks.
    pub fn judge(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>, findings: &mut Findings) {
        let now = UnixTime::now();
        let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + DAYS * 86_400));
        let host = name.to_str();
        match self.verify(chain, name, now).map_err(|error| words(&error, &host)) {
            Err((says, mend)) => findings.fault(hop::TLS, says, mend),
            Ok(()) => match self.verify(chain, name, soon) {
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

    fn verify(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>, at: UnixTime) -> Result<(), Error> {
        let (end, between) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let provider = ring::default_provider();
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots.clone().into(), provider.into())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end, between, name, &[], at).map(|_| ())
    }
}

/// What is wrong with a certificate, and what to do.
fn words(error: &Error, host: &str) -> (String, &'static str) {
    const RENEW: &str = "renew it (`certbot renew`), and reload the web server, which keeps the old one until then";
    let Error::InvalidCertificate(error) = error else {
        return (
            format!("the certificate cannot be used: {error}"),
            "have a new one issued",
        );
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            (format!("the certificate expired on {}", date(*not_after)), RENEW)
        }
        CertificateError::Expired => ("the certificate has expired".into(), RENEW),
        CertificateError::NotValidYetContext { not_before, .. } => (
            format!("the certificate is valid only from {} on", date(*not_before)),
            "compare this machine's clock with the time, and the date of the certificate with what was ordered",
        ),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().map(String::as_str).collect();
            (
                format!("the certificate is not for {host}, but for {}", listed(&names)),
                "have a certificate issued that has this name too (`certbot --expand -d …`), and see whether the web \
                 server's block for this name shows it; or use the name that it is for",
            )
        }
        CertificateError::UnknownIssuer => (
            "no root that browsers trust has issued the certificate, or the chain is not complete".into(),
            "let the web server send the whole chain (fullchain.pem, not cert.pem); name the root of an authority of \
             your own with --ca FILE",
        ),
        CertificateError::Revoked => ("the certificate was revoked".into(), "have a new one issued"),
        error => (
            format!("the certificate cannot be used: {error}"),
            "have a new one issued",
        ),
    }
}

/// Names as the peer wrote them, without the form of the library, at most five.
fn listed(names: &[&str]) -> String {
    let plain = |name: &&str| {
        let name = name.split_once("DnsName(\"").map_or(*name, |(_, rest)| rest);
        name.trim_end_matches("\")").to_owned()
    };
    match names {
        [] => "no name at all".into(),
        names => names.iter().take(5).map(plain).collect::<Vec<_>>().join(", "),
    }
}

/// `2026-11-30`
fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let date = jiff::Timestamp::from_second(seconds).map(|time| time.to_string());
    date.ok()
        .and_then(|date| date.get(..10).map(str::to_owned))
        .unwrap_or_else(|| "a date that cannot be written".into())
}

/// Accepts every chain, but no signature of another key than the certificate's.
#[derive(Debug)]
struct Any(CryptoProvider);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _end: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
