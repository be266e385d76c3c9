//! A proxy between a server and its database. A test switches its behaviour while connections are open. The proxy is
//! the only place where tests make a network slow, lossy or hostile. All addresses are on 127.0.0.1.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::ports::close;

/// How often the proxy looks for connections and for the end of a trick.
const MOMENT: Duration = Duration::from_millis(1);

/// The behaviour towards the database's clients, for open and for new connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trick {
    /// Nothing: every byte passes at once.
    #[default]
    Pass,
    /// Each answer comes this much later, like that of a server that is so far away.
    Delay(Duration),
    /// Everything that the server says passes byte by byte, each after this time.
    Drip(Duration),
    /// So many bytes of the server pass; the rest when the trick is over.
    Stall(usize),
    /// Of the next answer so many bytes pass, then nothing more until the client leaves.
    Stop(usize),
    /// Of the next answer so many bytes pass, then the connection ends.
    Truncate(usize),
    /// In the server's bytes these are replaced by those; there are as many.
    Swap(Vec<u8>, Vec<u8>),
    /// The next that the client says is answered with this. Nothing of that connection reaches the server any more.
    Answer(Vec<u8>),
    /// A connection ends as soon as the client says something.
    Hang,
    /// All connections end at once. New ones are taken and end at once.
    Cut,
    /// The same by a reset.
    Reset,
    /// Everything is taken and nothing is answered. New connections are taken too, and end when the trick is over.
    Swallow,
    /// The port is closed: new connections are refused. Open ones are left alone.
    Refuse,
}

/// The proxy. When dropped it takes no more connections; open ones go on until one side ends them.
pub struct Between {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    /// `Delay`, `Stop` and `Truncate` are for answers to questions of at least so many bytes.
    long: usize,
    trick: Mutex<Trick>,
    links: Mutex<Vec<Weak<Link>>>,
    /// Connections that came.
    count: AtomicUsize,
    /// How often something was done to an answer, a question or a new connection.
    played: AtomicUsize,
    /// Bytes that the server said.
    said: AtomicUsize,
    /// The bytes that clients sent after `Answer` began.
    heard: Mutex<Vec<u8>>,
    over: AtomicBool,
}

/// A client and its connection to the server.
struct Link {
    client: TcpStream,
    server: TcpStream,
    /// A long question was asked and not answered yet.
    asked: AtomicBool,
    /// The client must see a reset: no orderly end may be sent before it.
    reset: AtomicBool,
}

impl Between {
    /// Stands in front of this server and passes everything.
    pub fn new(server: SocketAddr) -> Self {
        Self::for_questions_of(server, 0)
    }

    /// The same as if the server were so far away: each answer comes that much later.
    pub fn far(server: SocketAddr, away: Duration) -> Self {
        let between = Self::new(server);
        between.play(Trick::Delay(away));
        between
    }

    /// Tricks with single answers are played on answers to questions of at least so many bytes only.
    pub fn for_questions_of(server: SocketAddr, long: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            server,
            long,
            trick: Mutex::default(),
            links: Mutex::default(),
            count: AtomicUsize::new(0),
            played: AtomicUsize::new(0),
            said: AtomicUsize::new(0),
            heard: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        thread::spawn(move || own.accept(listener));
        Self { addr, shared }
    }

    /// From now on it does this.
    pub fn play(&self, trick: Trick) {
        let mut links = lock(&self.shared.links);
        links.retain(|link| link.strong_count() > 0);
        let ends = matches!(trick, Trick::Cut | Trick::Reset);
        let reset = trick == Trick::Reset;
        *lock(&self.shared.trick) = trick;
        if ends {
            links.drain(..).filter_map(|link| link.upgrade()).for_each(|link| {
                link.reset.store(reset, Ordering::SeqCst);
                link.end();
            });
        }
    }

    /// Connections that came.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// How often a trick was played on an answer, a question or a new connection.
    pub fn played(&self) -> usize {
        self.shared.played.load(Ordering::SeqCst)
    }

    /// Bytes that the server said.
    pub fn said(&self) -> usize {
        self.shared.said.load(Ordering::SeqCst)
    }

    /// The bytes that clients sent after `Answer` began.
    pub fn heard(&self) -> Vec<u8> {
        lock(&self.shared.heard).clone()
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn trick(&self) -> Trick {
        lock(&self.trick).clone()
    }

    fn note(&self) {
        self.played.fetch_add(1, Ordering::SeqCst);
    }

    fn accept(self: &Arc<Self>, listener: TcpListener) {
        let addr = listener.local_addr().expect("its address");
        let mut listener = Some(listener);
        let mut held = Vec::new();
        while !self.over.load(Ordering::SeqCst) {
            let trick = self.trick();
            if trick == Trick::Refuse
                && let Some(listener) = listener.take()
            {
                close(listener);
            }
            if trick != Trick::Swallow {
                held.clear();
            }
            if listener.is_none() && trick != Trick::Refuse {
                // Another socket may have this port for a moment, as the source port of a connection.
                listener = TcpListener::bind(addr).ok();
            }
            if let Some(listener) = &listener {
                listener.set_nonblocking(true).expect("a listener can do that");
                while let Ok((client, _)) = listener.accept() {
                    self.count.fetch_add(1, Ordering::SeqCst);
                    held.extend(self.take(client));
                }
            }
            thread::sleep(MOMENT);
        }
    }

    /// Serves a new connection; gives it back where it is to be held and not served.
    fn take(self: &Arc<Self>, client: TcpStream) -> Option<TcpStream> {
        match self.trick() {
            Trick::Cut => self.note(),
            Trick::Reset => {
                self.note();
                SockRef::from(&client)
                    .set_linger(Some(Duration::ZERO))
                    .expect("SO_LINGER");
            }
            Trick::Swallow => {
                self.note();
                return Some(client);
            }
            _ => {
                // Where the server is gone, the connection to the proxy ends.
                let server = TcpStream::connect(self.server).ok()?;
                for end in [&client, &server] {
                    end.set_nodelay(true).expect("TCP_NODELAY");
                }
                let link = Arc::new(Link {
                    client,
                    server,
                    asked: AtomicBool::new(false),
                    reset: AtomicBool::new(false),
                });
                lock(&self.links).push(Arc::downgrade(&link));
                let (answers, arrived) = mpsc::channel();
                let [own, others, last] = [(); 3].map(|()| (Arc::clone(self), Arc::clone(&link)));
                thread::spawn(move || own.0.pass_questions(&own.1));
                thread::spawn(move || others.0.read_answers(&others.1, &answers));
                thread::spawn(move || last.0.pass_answers(&last.1, arrived));
            }
        }
        None
    }

    fn pass_questions(&self, link: &Link) {
        let mut buffer = [0; 65_536];
        let mut answered = false;
        while let Ok(n @ 1..) = (&link.client).read(&mut buffer) {
            let bytes = &buffer[..n];
            if n >= self.long {
                link.asked.store(true, Ordering::SeqCst);
            }
            match self.trick() {
                Trick::Answer(answer) if !answered => {
                    self.note();
                    answered = true;
                    // The client may be gone.
                    let _ = (&link.client).write_all(&answer);
                }
                _ if answered => lock(&self.heard).extend_from_slice(bytes),
                Trick::Swallow => self.note(),
                Trick::Hang => {
                    self.note();
                    break;
                }
                _ => {
                    if (&link.server).write_all(bytes).is_err() {
                        break;
                    }
                }
            }
        }
        link.end();
    }

    /// Reads the server's bytes, and sets the time at which each piece is passed on. The order of the pieces stays.
    fn read_answers(&self, link: &Link, answers: &mpsc::Sender<(Instant, Vec<u8>)>) {
        let mut buffer = [0; 65_536];
        while let Ok(n @ 1..) = (&link.server).read(&mut buffer) {
            self.said.fetch_add(n, Ordering::SeqCst);
            let mut due = Instant::now();
            let is_meant = self.long == 0 || link.asked.swap(false, Ordering::SeqCst);
            let mut pass = n;
            let trick = self.trick();
            match trick {
                Trick::Delay(away) if is_meant => {
                    self.note();
                    due += away;
                }
                Trick::Stop(most) | Trick::Truncate(most) if is_meant => {
                    self.note();
                    pass = most.min(n);
                }
                Trick::Swallow => {
                    self.note();
                    continue;
                }
                _ => {}
            }
            if answers.send((due, buffer[..pass].to_vec())).is_err() {
                break;
            }
            match trick {
                Trick::Truncate(_) if is_meant => break,
                // The client hangs up, and then the server does.
                Trick::Stop(_) if is_meant => while let Ok(1..) = (&link.server).read(&mut buffer) {},
                _ => {}
            }
        }
    }

    fn pass_answers(&self, link: &Link, arrived: mpsc::Receiver<(Instant, Vec<u8>)>) {
        let mut passed = 0;
        for (due, mut bytes) in arrived {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let mut client = &link.client;
            let good = match self.trick() {
                Trick::Stall(most) => {
                    let now = bytes.len().min(most.saturating_sub(passed));
                    passed += now;
                    let first = client.write_all(&bytes[..now]);
                    if now < bytes.len() {
                        self.note();
                        while matches!(self.trick(), Trick::Stall(_)) {
                            thread::sleep(MOMENT);
                        }
                    }
                    first.and_then(|()| client.write_all(&bytes[now..]))
                }
                Trick::Drip(pause) => {
                    self.note();
                    bytes.iter().try_for_each(|byte| {
                        if matches!(self.trick(), Trick::Drip(_)) {
                            thread::sleep(pause);
                        }
                        client.write_all(&[*byte])
                    })
                }
                Trick::Swap(from, to) => {
                    self.note();
                    while let Some(at) = bytes.windows(from.len()).position(|window| window == from.as_slice()) {
                        bytes[at..at + from.len()].copy_from_slice(&to);
                    }
                    client.write_all(&bytes)
                }
                _ => client.write_all(&bytes),
            };
            if good.is_err() {
                break;
            }
        }
        link.end();
    }
}

impl Link {
    /// Ends both connections. Neither call can fail in a way that matters: the other side may have ended them already.
    fn end(&self) {
        let how = match self.reset.load(Ordering::SeqCst) {
            // Once the threads are gone the socket is closed, and that is the reset.
            true => {
                let _ = SockRef::from(&self.client).set_linger(Some(Duration::ZERO));
                Shutdown::Read
            }
            false => Shutdown::Both,
        };
        let _ = self.client.shutdown(how);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread of the proxy panics with a lock")
}
