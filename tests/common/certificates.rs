//! An authority of its own for one test, the certificates that it issues, and both ends of a TLS connection. OpenSSL
//! makes them, so that the files look as an administrator's do.
//!
//! Rejected: rcgen. OpenSSL is needed by other tests in any case.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::DerefMut;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection, SideData,
    StreamOwned,
};

/// For how long a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valid {
    /// A month.
    Long,
    /// Some days.
    Short,
    /// Until the first of March 2020.
    Expired,
    /// From the first of January 2049 on.
    NotYet,
}

/// An authority. Its files are gone when it is dropped.
pub struct Authority {
    folder: tempfile::TempDir,
    issued: AtomicUsize,
}

/// The files of a certificate, in PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The server's end of a connection.
pub type Serving = StreamOwned<ServerConnection, TcpStream>;

/// The client's end of a connection.
pub type Asking = StreamOwned<ClientConnection, TcpStream>;

impl Authority {
    /// One that nobody else knows.
    pub fn new() -> Self {
        let own = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            issued: AtomicUsize::new(0),
        };
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {} -out {} -days 30 -subj /CN=root \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign",
            own.path("root.key"),
            own.path("root.pem")
        ));
        let config = "[ca]\ndefault_ca=own\n[own]\ndatabase={0}\nnew_certs_dir={1}\nrand_serial=yes\ndefault_md=sha256\n\
                      unique_subject=no\npolicy=any\n[any]\ncommonName=supplied\n";
        let folder = own.folder.path().display().to_string();
        own.write(
            "config",
            &config.replace("{0}", &own.path("index")).replace("{1}", &folder),
        );
        own.write("index", "");
        own
    }

    /// The file with its own certificate, for `ca` keys and `--ca`.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// Its own certificate, as if it were a server's: what `openssl req -x509` makes by itself.
    pub fn itself(&self) -> Certificate {
        Certificate {
            chain: self.root(),
            key: self.path("root.key").into(),
        }
    }

    /// Issues a certificate for these names, as `DNS:example.org` or `IP:127.0.0.1`. Each call makes new files. One
    /// call at a time.
    pub fn issue(&self, names: &[&str], valid: Valid) -> Certificate {
        let n = self.issued.fetch_add(1, Ordering::Relaxed);
        let file = |end: &str| self.path(&format!("{n}.{end}"));
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {} -out {} -subj /CN=certificate-{n}",
            file("key"),
            file("request")
        ));
        let names = names.join(",");
        self.write(
            &format!("{n}.names"),
            &format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n"),
        );
        let dates = match valid {
            Valid::Long => "-days 30",
            Valid::Short => "-days 5",
            Valid::Expired => "-startdate 20200101000000Z -enddate 20200301000000Z",
            Valid::NotYet => "-startdate 20490101000000Z -enddate 20491201000000Z",
        };
        openssl(&format!(
            "ca -batch -config {} -cert {} -keyfile {} -in {} -out {} -extfile {} {dates} -notext",
            self.path("config"),
            self.path("root.pem"),
            self.path("root.key"),
            file("request"),
            file("pem"),
            file("names")
        ));
        Certificate {
            chain: file("pem").into(),
            key: file("key").into(),
        }
    }

    /// Connects TLS as a client that trusts this authority alone; `name` is the server's.
    pub fn client(&self, name: &str, stream: TcpStream) -> Asking {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let client = ClientConnection::new(self.settings(), name);
        StreamOwned::new(client.expect("a client"), stream)
    }

    /// The settings of a client that trusts this authority alone.
    pub fn settings(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.root()) {
            roots.add(root).expect("a root");
        }
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.into()
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join(file).display().to_string()
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).expect("a file");
    }
}

impl Certificate {
    /// A file with the certificate and its key, as HAProxy needs it.
    pub fn in_one_file(&self) -> PathBuf {
        let both = self.chain.with_extension("both");
        let [chain, key] = [&self.chain, &self.key].map(|file| std::fs::read(file).expect("it was made"));
        std::fs::write(&both, [chain, key].concat()).expect("a file");
        both
    }

    /// The settings of a server that shows this certificate.
    pub fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a key");
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the versions of TLS")
            .with_no_client_auth()
            .with_single_cert(certificates(&self.chain), key);
        Arc::new(config.expect("the key is the certificate's"))
    }
}

/// The server's end of a connection. The handshake comes with the first read or write.
pub fn serve(config: &Arc<ServerConfig>, stream: TcpStream) -> Serving {
    StreamOwned::new(ServerConnection::new(config.clone()).expect("a server"), stream)
}

/// Carries bytes both ways between an end of a TLS connection and a plain connection until one of them is closed.
///
/// # Errors
/// One of them has failed.
pub fn relay<C, S: SideData>(mut tls: StreamOwned<C, TcpStream>, mut plain: TcpStream) -> io::Result<()>
where
    C: DerefMut<Target = ConnectionCommon<S>>,
{
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    let pause = Some(Duration::from_millis(2));
    tls.sock.set_read_timeout(pause)?;
    plain.set_read_timeout(pause)?;
    let mut buffer = [0; 65_536];
    loop {
        for inwards in [true, false] {
            let read = match inwards {
                true => tls.read(&mut buffer),
                false => plain.read(&mut buffer),
            };
            match read {
                Ok(0) => {
                    tls.conn.send_close_notify();
                    return tls.flush();
                }
                Ok(len) if inwards => plain.write_all(&buffer[..len])?,
                Ok(len) => tls.write_all(&buffer[..len])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn certificates(file: &Path) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_file_iter(file).expect("a PEM file");
    found.map(|der| der.expect("a certificate")).collect()
}

fn openssl(arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .output()
        .expect("openssl runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {errors}");
}
