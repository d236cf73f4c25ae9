//! One look at a SoC, for those who ask once: one dial, one round.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::channel::{Channel, Failure, TlsStore};
use super::probe::{self, Ready};
use super::transport::OutgoingError;
use crate::model::{Cause, ChannelEvent, ProbeSettings, Report, Target};
use crate::runtime::defect::caught;

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
    caught(Box::pin(look)).await.unwrap_or_else(|defect| {
        let failure = Failure {
            cause: Cause::Local,
            detail: format!("a defect of this program, please report it: {defect}").into(),
        };
        Ok((Found::NeverReady(failure), None))
    })
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
    let mut channel = Channel::new(target, Arc::default(), tls)?;
    let began = Instant::now();
    let mut expiry = None;
    loop {
        let signal = channel.next().await;
        match (signal.event, signal.transport) {
            (ChannelEvent::PeerCertificate { not_after }, _) => expiry = Some(not_after),
            (ChannelEvent::Failed { cause, detail }, _) => {
                return Ok((Found::NeverReady(Failure { cause, detail }), expiry));
            }
            (ChannelEvent::State { epoch, .. }, Some(transport)) => {
                let after = began.elapsed();
                let ready = Some(Ready { epoch, transport });
                let mut round = probe::round(ready, settings, Arc::default());
                let (began, mut left) = (Instant::now(), None);
                loop {
                    // The channel and its queries make progress only while the channel is polled.
                    tokio::select! {
                        report = &mut round => {
                            return Ok((Found::Ready { after, report: Box::new(report), left }, expiry));
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
