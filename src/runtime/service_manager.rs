//! Tells the service manager (systemd, by sd_notify(3)) how the exporter is: ready, reloading, stopping, alive.
//!
//! Nothing here waits: a message that the manager does not take at once is dropped. That is why this is not the crate sd-notify,
//! whose messages wait for the manager, and the fleet sends some of them.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::debug;

use crate::model::component::APP;

/// The way to the service manager. The default is that there is none.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager(Option<Arc<ManagerLink>>);

#[derive(Debug)]
struct ManagerLink {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Whether it knows that we are ready.
    ready: AtomicBool,
}

impl ServiceManager {
    /// At an address as in `NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    pub fn at(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                let text = "expected a path from the root, or @ and a name";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self(Some(Arc::new(ManagerLink {
            socket,
            address,
            ready: AtomicBool::new(false),
        }))))
    }

    fn send(&self, message: &str) {
        let Some(link) = &self.0 else { return };
        if let Err(error) = link.socket.send_to_addr(message.as_bytes(), &link.address) {
            debug!(target: APP, %error, message, "the service manager does not take a message");
        }
    }

    fn is_ready(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|link| link.ready.load(Ordering::Relaxed))
    }

    /// The start is complete.
    pub fn ready(&self) {
        if let Some(link) = &self.0 {
            link.ready.store(true, Ordering::Relaxed);
        }
        self.send("READY=1\n");
    }

    /// A reload begins. During the start there is nothing to report: the start goes on.
    pub fn reloading(&self) {
        if self.is_ready() {
            let now = clock_gettime(ClockId::Monotonic);
            let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32);
            self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.as_micros()));
        }
    }

    /// The reload has ended.
    pub fn reloaded(&self) {
        if self.is_ready() {
            self.send("READY=1\n");
        }
    }

    /// The stop begins.
    pub fn stopping(&self) {
        self.send("STOPPING=1\n");
    }
}

/// Reports that one task is alive, as often as the service manager wants to hear it.
#[derive(Debug, Default)]
pub struct Watchdog {
    manager: ServiceManager,
    /// `None`: never.
    every: Option<Duration>,
    ticks: Option<Interval>,
}

impl Watchdog {
    /// `limit` as in `WATCHDOG_USEC`: after so many microseconds without a report the manager restarts us. It gets two in that
    /// time.
    pub fn new(manager: ServiceManager, limit: Option<&OsStr>) -> Self {
        let limit = limit.and_then(|limit| limit.to_str()?.parse::<u64>().ok());
        let limit = limit.filter(|limit| *limit > 0).map(Duration::from_micros);
        // A tenth of a millisecond: whatever stands there, it takes no CPU time to speak of.
        let every = limit.map(|limit| (limit / 2).max(Duration::from_micros(100)));
        Self {
            every: every.filter(|_| manager.0.is_some()),
            manager,
            ticks: None,
        }
    }

    /// Waits for the next time, and reports. Cancel-safe.
    pub async fn report(&mut self) {
        let Some(every) = self.every else {
            return std::future::pending().await;
        };
        let ticks = self.ticks.get_or_insert_with(|| {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        ticks.tick().await;
        self.manager.send("WATCHDOG=1\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut message = [0; 100];
        let read = socket.recv(&mut message).expect("a message");
        String::from_utf8(message[..read].to_vec()).expect("UTF-8")
    }

    #[test]
    fn messages_are_those_of_sd_notify_by_path_and_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let name = format!("dualtor-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("a name");
        for (socket, address) in [
            (UnixDatagram::bind(&path), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name), format!("@{name}").into()),
        ] {
            let socket = socket.expect("a socket");
            let manager = ServiceManager::at(&address).expect("an address");
            // During the start, a reload is not reported.
            manager.reloading();
            manager.reloaded();
            manager.ready();
            assert_eq!(received(&socket), "READY=1\n");
            manager.reloading();
            let message = received(&socket);
            let rest = message
                .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
                .expect("both");
            assert!(rest.trim_end().parse::<u64>().expect("a number") > 0);
            manager.reloaded();
            assert_eq!(received(&socket), "READY=1\n");
            manager.stopping();
            assert_eq!(received(&socket), "STOPPING=1\n");
        }
        assert!(ServiceManager::at(OsStr::new("vsock:2:1")).is_err());
    }

    #[test]
    fn a_manager_that_reads_nothing_or_is_gone_keeps_no_one_waiting() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let manager = ServiceManager::at(path.as_os_str()).expect("an address");
        // More than the kernel keeps.
        for _ in 0..10_000 {
            manager.ready();
        }
        drop(socket);
        manager.stopping();
        ServiceManager::default().ready();
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_reported_twice_in_the_given_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let manager = ServiceManager::at(path.as_os_str()).expect("an address");
        let mut watchdog = Watchdog::new(manager.clone(), Some(OsStr::new("30000000")));
        let began = tokio::time::Instant::now();
        for n in 0..4 {
            watchdog.report().await;
            assert_eq!(received(&socket), "WATCHDOG=1\n");
            assert_eq!(began.elapsed(), Duration::from_secs(15) * n);
        }
        for limit in [None, Some("0"), Some("often")] {
            let watchdog = Watchdog::new(manager.clone(), limit.map(OsStr::new));
            assert!(watchdog.every.is_none());
        }
    }
}
