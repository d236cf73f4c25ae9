//! One look at a SoC, for those who ask once: one dial, one round.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::channel::{Channel, Failure, TlsStore};
use super::probe::{self, Ready};
use super::transport::OutgoingError;
use crate::model::{Cause, ChannelEvent, ProbeSettings, Report, Target};
use crate::runtime::defect::{Defect, caught};

/// The result of one look.
#[derive(Debug)]
pub enum Found {
    /// Why it was never READY.
    NeverReady(Failure),
    /// It was READY, and these are its answers.
    Ready {
        /// From the dial to READY.
        after: Duration,
        /// The round.
        report: Box<Report>,
        /// Set if the connection ended before the round did.
        left: Option<Left>,
    },
}

/// How a connection ended soon after READY.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    /// After this long.
    pub after: Duration,
    /// `None`: in good order, by a GOAWAY without an error.
    pub failure: Option<Failure>,
}

impl Left {
    fn of(event: ChannelEvent, after: Duration) -> Option<Self> {
        let failure = match event {
            ChannelEvent::Failed { cause, detail } => Some(Failure { cause, detail }),
            ChannelEvent::State { cause: None, .. } => None,
            _ => return None,
        };
        Some(Self { after, failure })
    }
}

/// For people.
impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = self.after.as_secs_f64() * 1000.0;
        write!(f, "the connection ended {after:.1} ms after READY: ")?;
        match &self.failure {
            Some(failure) => write!(f, "{failure}")?,
            None => f.write_str("the SoC's server closed the connection in good order (GOAWAY NO_ERROR)")?,
        }
        f.write_str(". If this happens each time, the channel flaps")
    }
}

/// Dials once, and runs one round if the channel becomes READY. Also returns when the SoC's certificate expires, if it sent
/// one.
pub async fn look(
    target: Target,
    timeout: Duration,
    tls: &TlsStore,
) -> Result<(Found, Option<SystemTime>), OutgoingError> {
    unless_defect(look_once(target, timeout, tls)).await
}

/// A defect concerns this SoC only. It is reported as the reason why nothing was found.
async fn unless_defect(
    look: impl Future<Output = Result<(Found, Option<SystemTime>), OutgoingError>>,
) -> Result<(Found, Option<SystemTime>), OutgoingError> {
    let looked = caught(Box::pin(look)).await;
    looked.unwrap_or_else(|defect| Ok((Found::NeverReady(of_defect(&defect)), None)))
}

/// Why nothing was found.
pub(super) fn of_defect(defect: &Defect) -> Failure {
    Failure {
        cause: Cause::Local,
        detail: format!("a defect of this program, please report it: {defect}").into(),
    }
}

async fn look_once(
    target: Target,
    timeout: Duration,
    tls: &TlsStore,
) -> Result<(Found, Option<SystemTime>), OutgoingError> {
    let settings = ProbeSettings {
        timeout,
        ..ProbeSettings::default()
    };
    let channel = Channel::new(target, Arc::default(), tls)?;
    let round = |ready| probe::round(Some(ready), settings, Arc::default());
    let DialedOnce { expiry, found } = dial_once(channel, round).await;
    let found = match found {
        Err(failure) => Found::NeverReady(failure),
        Ok((after, report, left)) => Found::Ready {
            after,
            report: Box::new(report),
            left,
        },
    };
    Ok((found, expiry))
}

/// What one dial, and one round, gave.
pub(super) struct DialedOnce<T> {
    /// When the peer's certificate expires, if it sent one.
    pub(super) expiry: Option<SystemTime>,
    /// From the dial to READY, the round, and whether the connection ended before it did; or why it was never READY.
    pub(super) found: Result<(Duration, T, Option<Left>), Failure>,
}

/// Dials once, and runs the round if the channel becomes READY.
pub(super) async fn dial_once<T, R: Future<Output = T> + Unpin>(
    mut channel: Channel,
    round: impl FnOnce(Ready) -> R,
) -> DialedOnce<T> {
    let began = Instant::now();
    let mut expiry = None;
    loop {
        let signal = channel.next().await;
        match (signal.event, signal.transport) {
            (ChannelEvent::PeerCertificate { not_after }, _) => expiry = Some(not_after),
            (ChannelEvent::Failed { cause, detail }, _) => {
                let found = Err(Failure { cause, detail });
                return DialedOnce { expiry, found };
            }
            (ChannelEvent::State { epoch, .. }, Some(transport)) => {
                let after = began.elapsed();
                let mut round = round(Ready { epoch, transport });
                let (began, mut left) = (Instant::now(), None);
                loop {
                    // The channel and its RPCs make progress only while the channel is polled.
                    tokio::select! {
                        ended = &mut round => {
                            let found = Ok((after, ended, left));
                            return DialedOnce { expiry, found };
                        }
                        // It dials only once: after the end of the connection there is nothing more to wait for.
                        signal = channel.next(), if left.is_none() => {
                            left = Left::of(signal.event, began.elapsed());
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_as_why_nothing_was_found() {
        let look = async { panic!("out of its mind") };
        let (found, expiry) = unless_defect(look).await.expect("found");
        let expected = "local: a defect of this program, please report it: out of its mind";
        assert!(
            matches!(&found, Found::NeverReady(failure) if failure.to_string() == expected),
            "{found:?}"
        );
        assert_eq!(expiry, None);
    }
}
