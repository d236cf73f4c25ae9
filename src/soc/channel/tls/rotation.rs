//! Reads one set of files again and again, and keeps what was last good.
//!
//! One task per set, which ends with the set. It waits for no read longer than `files::PATIENCE`: a file system that hangs is
//! reported, and the next read is still tried, because the path may lead to another file system by then. A broken or half-written
//! set replaces nothing: it is reported once, with file and reason, and not again until something about it changes. A reader that ends by a defect is started anew; the last
//! good content serves meanwhile, and where there is none dials fail at their deadline.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use super::material::{Bad, Material, TlsFiles};
use crate::config::files::{PATIENCE, Reader, Unread};
use crate::model::component::TLS;
use crate::model::{TlsSettings, text};
use crate::runtime::defect::{Defect, Restarts, caught};

/// New files are used for the next connections within 10 s (half of that is left for reading them).
const READ_EVERY: Duration = Duration::from_secs(5);

/// The most certificates named in one line of the log: a file may be a bundle of hundreds.
const MAX_TOLD: usize = 5;

/// What is known of a set.
#[derive(Debug, Clone)]
pub(super) enum LatestFiles {
    /// Nothing yet.
    Unread,
    /// The last good content.
    Good(Arc<Material>),
    /// There has been none: what is wrong.
    Bad(Arc<str>),
}

/// A set that is being watched; dropping it ends that.
#[derive(Debug)]
pub(super) struct WatchedFiles {
    latest: watch::Receiver<LatestFiles>,
    _task: AbortOnDropHandle<()>,
}

impl WatchedFiles {
    pub(super) fn new(settings: TlsSettings) -> Self {
        let (tx, latest) = watch::channel(LatestFiles::Unread);
        Self {
            latest,
            _task: AbortOnDropHandle::new(tokio::spawn(supervised(settings, tx, attempt, PATIENCE))),
        }
    }

    /// What is known now.
    pub(super) fn latest(&self) -> LatestFiles {
        self.latest.borrow().clone()
    }

    /// What is known once the files have been read a first time. Cancel-safe.
    pub(super) async fn read(&self) -> LatestFiles {
        let mut latest = self.latest.clone();
        let known = latest
            .wait_for(|latest| !matches!(latest, LatestFiles::Unread))
            .await;
        // An error: the runtime is shutting down.
        known.map_or(LatestFiles::Unread, |known| known.clone())
    }
}

/// What the last attempt saw.
type FilesRead = Result<TlsFiles, Bad>;

/// `attempt`, but for tests.
type ReadFiles = fn(&TlsSettings, Option<&FilesRead>) -> Option<(FilesRead, Result<Material, Bad>)>;

async fn supervised(
    settings: TlsSettings,
    latest: watch::Sender<LatestFiles>,
    attempt: ReadFiles,
    patience: Duration,
) {
    let settings = Arc::new(settings);
    let mut restarts = Restarts::default();
    loop {
        let began = Instant::now();
        let defect = match caught(Box::pin(run(&settings, &latest, attempt, patience))).await {
            Ok(defect) | Err(defect) => defect,
        };
        let wait = restarts.wait(began.elapsed());
        let file = text::quote(settings.ca.display());
        error!(target: TLS, %file, %defect, started_anew_in = ?wait, "the reader of the TLS files has ended by a defect of this program: please report it");
        sleep(wait).await;
    }
}

async fn run(
    settings: &Arc<TlsSettings>,
    latest: &watch::Sender<LatestFiles>,
    attempt: ReadFiles,
    patience: Duration,
) -> Defect {
    let mut last: Option<Arc<FilesRead>> = None;
    let mut expired = Vec::new();
    let (reader, mut hangs) = (Reader::default(), false);
    let mut every = interval(READ_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        // What was reported of a hang must be replaced by what is read now.
        let before = last.clone().filter(|_| !hangs);
        let (settings, ca) = (settings.clone(), settings.ca.clone());
        // A thread of its own: a file may lie on a file system that hangs.
        let attempt = reader.read(patience, move || attempt(&settings, before.as_deref()));
        let attempt = attempt.await;
        let hung = matches!(attempt, Err(Unread::Late(_) | Unread::TooMany(_)));
        match attempt {
            Ok(None) => {}
            Ok(Some((tried, outcome))) => {
                last = Some(Arc::new(tried));
                adopt(latest, outcome);
            }
            // Reported once: each attempt would report the same.
            Err(error @ (Unread::Late(_) | Unread::TooMany(_))) if !hangs => {
                adopt(
                    latest,
                    Err(Bad::new(&ca, format!("or another file of its set: {error}"))),
                );
            }
            Err(Unread::Late(_) | Unread::TooMany(_)) => {}
            Err(Unread::Panicked(defect)) => return defect,
            // The runtime is shutting down.
            Err(Unread::Stopped) => {}
        }
        hangs = hung;
        if let LatestFiles::Good(material) = &*latest.borrow() {
            expired = tell_expired(material.expired(SystemTime::now()), &expired);
        }
    }
}

/// Logs which certificates have expired, each once; returns those that were logged.
fn tell_expired(expired: Vec<String>, said: &[String]) -> Vec<String> {
    let new: Vec<&str> = expired
        .iter()
        .filter(|one| !said.contains(one))
        .map(|one| &**one)
        .collect();
    if !new.is_empty() {
        let more = new.len().saturating_sub(MAX_TOLD);
        let certificates = new[..new.len() - more].join("; ");
        warn!(target: TLS,
            certificates,
            more,
            "a certificate in our TLS files has expired: it is still used, but gRPC's own clients and SoCs refuse it"
        );
    }
    expired
}

/// Reads the files; `None` if all is as it was.
fn attempt(settings: &TlsSettings, before: Option<&FilesRead>) -> Option<(FilesRead, Result<Material, Bad>)> {
    let tried = TlsFiles::read(settings);
    if before == Some(&tried) {
        return None;
    }
    let outcome = match &tried {
        Ok(files) => Material::new(settings, files),
        Err(bad) => Err(bad.clone()),
    };
    Some((tried, outcome))
}

fn adopt(latest: &watch::Sender<LatestFiles>, outcome: Result<Material, Bad>) {
    let used = matches!(&*latest.borrow(), LatestFiles::Good(_));
    match outcome {
        Ok(material) => {
            info!(target: TLS, set = %material, "TLS files read: the next connections use them");
            let notes = material.notes();
            if !notes.is_empty() {
                let more = notes.len().saturating_sub(MAX_TOLD);
                let notes = notes[..notes.len() - more].join("; ");
                warn!(target: TLS, notes, more, "some content of the TLS files is not used");
            }
            latest.send_replace(LatestFiles::Good(Arc::new(material)));
        }
        Err(Bad { file, reason }) => {
            let path = text::quote(file.display());
            if used {
                warn!(target: TLS, file = %path, reason, "the TLS files have changed and cannot be used: the last good ones stay");
            } else {
                warn!(target: TLS, file = %path, reason, "the TLS files cannot be used: no dial succeeds until this is fixed");
                latest.send_replace(LatestFiles::Bad(format!("{path}: {reason}").into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

    use super::*;
    use crate::model::ClientIdentity;

    /// What is wrong, or nothing; `None` where nothing was said as nothing has changed.
    type Said = Option<Option<String>>;

    struct Reader {
        settings: TlsSettings,
        last: Option<FilesRead>,
    }

    impl Reader {
        fn look(&mut self) -> Said {
            let (tried, outcome) = attempt(&self.settings, self.last.as_ref())?;
            self.last = Some(tried);
            Some(outcome.err().map(|bad| bad.reason))
        }
    }

    fn ca_alone() -> TlsSettings {
        TlsSettings {
            ca: "ca.crt".into(),
            client: None,
            server_name: None,
        }
    }

    #[tokio::test]
    async fn a_reader_that_panics_is_started_anew() {
        static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
        let attempt: ReadFiles = |_, _| {
            if ATTEMPTS.fetch_add(1, Ordering::Relaxed) == 0 {
                panic!("a file that nobody has thought of");
            }
            let bad = Bad::new("ca.crt".as_ref(), "read");
            Some((Err(bad.clone()), Err(bad)))
        };
        let (tx, latest) = watch::channel(LatestFiles::Unread);
        let watched = WatchedFiles {
            latest,
            _task: AbortOnDropHandle::new(tokio::spawn(supervised(ca_alone(), tx, attempt, PATIENCE))),
        };
        let read = tokio::time::timeout(Duration::from_secs(60), watched.read()).await;
        assert!(matches!(read, Ok(LatestFiles::Bad(_))), "{read:?}");
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_is_said_and_the_next_read_is_served() {
        static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
        // The first two hang for longer than the test may take.
        let attempt: ReadFiles = |_, before| {
            assert!(before.is_none(), "what was said of the hang is taken back");
            if ATTEMPTS.fetch_add(1, Ordering::Relaxed) < 2 {
                std::thread::sleep(Duration::from_secs(30));
            }
            let bad = Bad::new("ca.crt".as_ref(), "read");
            Some((Err(bad.clone()), Err(bad)))
        };
        let (tx, mut latest) = watch::channel(LatestFiles::Unread);
        let began = Instant::now();
        let patience = Duration::from_millis(20);
        let _task = AbortOnDropHandle::new(tokio::spawn(supervised(ca_alone(), tx, attempt, patience)));
        for expected in ["hangs", "ca.crt: read"] {
            let says =
                |latest: &LatestFiles| matches!(latest, LatestFiles::Bad(why) if why.contains(expected));
            let said = tokio::time::timeout(Duration::from_secs(25), latest.wait_for(says)).await;
            assert!(matches!(said, Ok(Ok(_))), "{expected}");
        }
        assert!(began.elapsed() < Duration::from_secs(25));
    }

    #[test]
    fn what_is_wrong_is_said_when_it_begins_and_when_it_changes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["soc".to_owned()]).expect("a pair");
        let (cert, key) = (cert.pem(), signing_key.serialize_pem());
        let other = KeyPair::generate().expect("a key").serialize_pem();
        let mut reader = Reader {
            settings: TlsSettings {
                ca: path("ca.crt"),
                client: Some(ClientIdentity {
                    cert: path("c.crt"),
                    key: path("c.key"),
                }),
                server_name: None,
            },
            last: None,
        };
        let mut check = |expected: Option<&str>| {
            let said = reader.look().expect("something has changed");
            match (&said, expected) {
                (None, None) => {}
                (Some(said), Some(expected)) if said.contains(expected) => {}
                _ => panic!("{said:?}, expected {expected:?}"),
            }
            assert_eq!(reader.look(), None, "again, after {said:?}");
        };
        check(Some("cannot be read: No such file"));
        write("ca.crt", &cert);
        write("c.crt", &cert[..cert.len() / 2]);
        write("c.key", &other);
        check(Some("is not complete PEM"));
        write("c.crt", &cert);
        check(Some("is not the private key of"));
        write("c.key", &key);
        check(None);
        write("ca.crt", "");
        check(Some("holds no certificate"));
        write("ca.crt", &"x".repeat(1024 * 1024 + 1));
        check(Some("expected at most 1 MiB"));
        std::fs::remove_file(path("ca.crt")).expect("removed");
        std::fs::create_dir(path("ca.crt")).expect("a directory");
        check(Some("expected a regular file"));
        std::fs::remove_dir(path("ca.crt")).expect("removed");
        write("ca.crt", &cert);
        write("c.key", &key.replace("PRIVATE", "ENCRYPTED PRIVATE"));
        check(Some("is encrypted"));
        write("c.key", &key);
        check(None);
    }
}
