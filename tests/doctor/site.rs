//! The smallest site: a server of pages that plays Joomla's page with the package's options, its cookie and its clock.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::json;

/// What the site does.
#[derive(Clone, Debug)]
pub struct Manner {
    /// The status of the page.
    pub status: u16,
    /// The address of the socket, and the key.
    pub socket: (String, String),
    /// The version of the package; `None`: it is not installed.
    pub package: Option<String>,
    /// Whether the page loads the script.
    pub loads: bool,
    /// `Set-Cookie`
    pub cookie: String,
    /// Seconds by which its clock is ahead.
    pub ahead: i64,
    /// The page redirects to itself.
    pub redirects: bool,
}

/// The site. Its thread ends with the process.
pub struct Site {
    /// Where it listens.
    pub addr: SocketAddr,
    manner: Arc<Mutex<Manner>>,
}

impl Site {
    /// Starts it.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("its address");
        let manner = Arc::new(Mutex::new(manner));
        let own = Arc::clone(&manner);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let manner = own.lock().expect("no thread panics with it").clone();
                thread::spawn(move || serve(stream, &manner));
            }
        });
        Self { addr, manner }
    }

    /// Changes what it does.
    pub fn change(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.manner.lock().expect("no thread panics with it"));
    }
}

/// One request for a connection. Nobody reads the answer when the client is gone.
fn serve(mut stream: TcpStream, manner: &Manner) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&buffer[..read]),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, kind, more, body) = match path {
        "/" if manner.redirects => (302, "text/html", "Location: /\r\n".to_owned(), String::new()),
        "/" => (
            manner.status,
            "text/html",
            format!("Set-Cookie: {}\r\n", manner.cookie),
            page(manner),
        ),
        "/media/com_websockets/joomla.asset.json" if manner.package.is_some() => {
            let manifest = json!({"name": "com_websockets", "version": manner.package});
            (200, "application/json", String::new(), manifest.to_string())
        }
        _ => (
            404,
            "text/html",
            String::new(),
            "<html>404 - not found</html>".to_owned(),
        ),
    };
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\nDate: {}\r\nContent-Type: {kind}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        date(manner.ahead),
        body.len()
    );
}

/// A page as Joomla renders it.
fn page(manner: &Manner) -> String {
    let (url, key) = &manner.socket;
    let mut options = json!({"system.paths": {"root": "", "base": ""}});
    if let (Some(version), true) = (&manner.package, manner.loads) {
        let module = format!("/media/com_websockets/js/websockets.min.js?{version}");
        options["com_websockets"] = json!({"url": url, "key": key, "module": module});
    }
    let form = match manner.status {
        503 => "<form><input name=\"option\" value=\"com_users\"><input name=\"task\" value=\"user.login\"></form>",
        _ => "",
    };
    let options = options.to_string().replace('/', "\\/");
    format!(
        "<!DOCTYPE html><html><head><script type=\"application/json\" class=\"joomla-script-options new\">{options}</script>\
         </head><body>{form}</body></html>"
    )
}

/// The value of a `Date` header.
fn date(ahead: i64) -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("it is later");
    let seconds = i64::try_from(now.as_secs()).expect("it is earlier") + ahead;
    let time = jiff::Timestamp::from_second(seconds).expect("a time");
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
