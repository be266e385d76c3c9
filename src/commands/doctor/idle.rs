//! Whether a connection on which nothing is said stays open until the server says something: a proxy whose time-out is
//! shorter than that cuts all quiet visitors off. The wait runs beside the other hops.

use std::time::{Duration, Instant};

use super::client::End;
use super::report::{Findings, hop};
use super::socket::{Silent, Socket, Target};

/// The longest time in which an end is read that came before.
const AT_ONCE: Duration = Duration::from_millis(100);

/// A silent connection, and what became of it.
pub struct Idle {
    silent: Silent,
    /// The last time when the connection was known to be open.
    alive: Duration,
    /// The server's ping, or how the connection ended, and after how long.
    over: Option<(Duration, Option<End>)>,
    limit: Duration,
}

impl Idle {
    /// `limit`: how long the silence may last.
    pub fn new(silent: Silent, limit: Duration) -> Self {
        Self {
            silent,
            alive: Duration::ZERO,
            over: None,
            limit,
        }
    }

    /// Looks without waiting: the more often, the better is it known when the connection was cut.
    pub fn look(&mut self) {
        self.wait(Instant::now() + Duration::from_millis(1));
    }

    /// Waits for the end.
    pub fn finish(&mut self) {
        self.wait(self.silent.since + self.limit);
    }

    fn wait(&mut self, until: Instant) {
        let began = self.silent.since.elapsed();
        while self.over.is_none() {
            let heard = self.silent.client.next(until);
            let after = self.silent.since.elapsed();
            match heard {
                Ok(frame) if frame.event == "pusher:ping" => self.over = Some((after, None)),
                Ok(_) => {}
                Err(End::Late) => {
                    self.alive = after;
                    return;
                }
                Err(end) => {
                    // It was waited for, so it is just over.
                    if after.saturating_sub(began) > AT_ONCE {
                        self.alive = after;
                    }
                    self.over = Some((after, Some(end)));
                }
            }
        }
    }

    /// What was found.
    pub fn judge(&self, target: &Target, socket: &Socket, findings: &mut Findings) {
        let (product, activity) = (socket.product, socket.activity_timeout);
        let name = product.map_or("the proxy".to_owned(), |product| product.to_string());
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        match &self.over {
            Some((after, None)) => findings.ok(
                hop::IDLE,
                format!(
                    "a silent connection lives until the server's ping, which came after {}",
                    seconds(*after)
                ),
            ),
            Some((after, Some(End::Closed(code, reason)))) => findings.fault(
                hop::IDLE,
                format!(
                    "the server closed a silent connection after {} with {code}: {reason}",
                    seconds(*after)
                ),
                "see `journalctl -u jsocketd`",
            ),
            Some((after, _)) => {
                let when = match after.saturating_sub(self.alive) < Duration::from_secs(1) {
                    true => format!("after {}", seconds(*after)),
                    false => format!("between {} and {} of silence", seconds(self.alive), seconds(*after)),
                };
                findings.fault_with(
                    hop::IDLE,
                    format!("{name} cuts a silent connection {when}, before the server has sent a ping"),
                    format!(
                        "set its time-out for silent connections (proxy_read_timeout in nginx, timeout= of ProxyPass in Apache, \
                         timeout tunnel in HAProxy) to more than ping_interval and ping_timeout together, 300 s; or set \
                         ping_interval in [limits] of jsocketd.toml below {}",
                        seconds(*after)
                    ),
                    target.snippet(product),
                );
            }
            None => findings.warn(
                hop::IDLE,
                format!(
                    "a silent connection lived for {}, and the server has sent no ping in that time",
                    seconds(self.alive)
                ),
                format!(
                    "to prove more, wait longer: --idle {}, or more than ping_interval of jsocketd.toml",
                    activity.max(self.limit.as_secs()) + 10
                ),
            ),
        }
    }
}
