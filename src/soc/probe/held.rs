//! A server stream that is held open on a SoC's channel. It is opened when the channel becomes READY, and opened again with
//! backoff when it ends. Its owner knows what its messages mean.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::{Either, Pending, pending};
use prost::Message;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status};

use crate::model::component::PROBE;
use crate::soc::transport::typed_call::{TypedMessages, stream};
use crate::soc::transport::{Transport, is_peers};

/// Waits before a stream is opened again on a channel that stays READY. From 1 s, doubled each time, so that a server that
/// restarts is heard again soon; up to 60 s, so that one that always ends the stream is hardly loaded.
const REOPEN_MIN: Duration = Duration::from_secs(1);
const REOPEN_MAX: Duration = Duration::from_secs(60);

/// The messages of a stream, including its opening: response headers may come only with the first message. An open stream takes a
/// third of the memory of one that is being opened, so each has a box of its own.
pub(super) enum HeldMessages<T> {
    Opening(Pin<Box<dyn Future<Output = Result<TypedMessages<T>, Status>> + Send>>),
    Open(Box<TypedMessages<T>>),
}

impl<T: Message + Default + 'static> HeldMessages<T> {
    pub(super) fn opening<Q: Message + 'static>(
        transport: &Transport,
        path: &'static str,
        request: &Q,
    ) -> Self {
        Self::Opening(Box::pin(stream(transport, path, request)))
    }

    /// Must not be called again after an error.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<T>, Status>> {
        loop {
            match self {
                Self::Opening(open) => *self = Self::Open(Box::new(ready!(open.as_mut().poll(cx))?)),
                Self::Open(messages) => return messages.poll_message(cx),
            }
        }
    }
}

/// The RPC that is held open.
pub(super) trait HeldRpc {
    type Message: Message + Default + 'static;
    /// After this long without an error the stream counts as open. `None`: the owner does not need this.
    const OPEN_AFTER: Option<Duration>;

    /// A peer that allows fewer streams gets no such stream, because the queries need theirs.
    fn streams_needed(&self) -> usize;

    /// `None`: there is nothing to ask for.
    fn open(&self, transport: &Transport) -> Option<HeldMessages<Self::Message>>;
}

/// What happened to the stream.
#[derive(Debug)]
pub(super) enum HeldEvent<T> {
    /// It has been open for `OPEN_AFTER`.
    Open,
    Message(T),
    /// The SoC does not serve it. That changes only when the SoC restarts, so it is tried again on the next connection.
    Unimplemented,
    /// It ended, with or without an error. It will be opened again.
    Ended,
}

enum HeldPhase<T> {
    /// The channel is not READY, or there is nothing to hold on it.
    Off,
    /// Open, or being opened.
    On {
        messages: HeldMessages<T>,
        /// When it counts as open. `None`: it does already.
        opened: Option<Instant>,
    },
    /// It was not opened on this connection yet. The time at which to open it.
    Soon(Instant),
    /// It ended. The time at which to open it again.
    Waiting(Instant),
}

impl<T> fmt::Debug for HeldPhase<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::On { .. } => "On",
            Self::Soon(_) => "Soon",
            Self::Waiting(_) => "Waiting",
        })
    }
}

/// The stream of one SoC, across its connections.
#[derive(Debug)]
pub(super) struct Held<S: HeldRpc> {
    subscription: S,
    transport: Option<Transport>,
    phase: HeldPhase<S::Message>,
    reopen: Duration,
}

impl<S: HeldRpc> Held<S> {
    /// Off, until the channel is READY.
    pub(super) fn new(subscription: S) -> Self {
        Self {
            subscription,
            transport: None,
            phase: HeldPhase::Off,
            reopen: REOPEN_MIN,
        }
    }

    /// The channel is READY: opens the stream on it.
    pub(super) fn attach(&mut self, transport: Transport) {
        self.reopen = REOPEN_MIN;
        self.transport = Some(transport);
        self.open();
    }

    /// The same, but the stream is opened at `when`, or by `open_if_waiting` before.
    pub(super) fn attach_soon(&mut self, transport: Transport, when: Instant) {
        self.reopen = REOPEN_MIN;
        self.transport = Some(transport);
        self.phase = HeldPhase::Soon(when);
    }

    /// Opens the stream now, if it was not opened on this connection yet.
    pub(super) fn open_if_waiting(&mut self) {
        if matches!(self.phase, HeldPhase::Soon(_)) {
            self.open();
        }
    }

    /// Asks for something else from now on. On an open channel the stream is opened again at once.
    pub(super) fn ask(&mut self, subscription: S) {
        self.subscription = subscription;
        self.reopen = REOPEN_MIN;
        self.open();
    }

    /// The channel is not READY any more.
    pub(super) fn detach(&mut self) {
        self.transport = None;
        self.phase = HeldPhase::Off;
    }

    /// The next thing that happens. Cancel-safe: everything it waits for is kept in the struct.
    pub(super) async fn next(&mut self) -> HeldEvent<S::Message> {
        loop {
            match wait(&mut self.phase).await {
                Waited::Reopen => self.open(),
                Waited::Opened => {
                    if let HeldPhase::On { opened, .. } = &mut self.phase {
                        *opened = None;
                    }
                    self.reopen = REOPEN_MIN;
                    return HeldEvent::Open;
                }
                Waited::Message(message) => {
                    self.reopen = REOPEN_MIN;
                    return HeldEvent::Message(message);
                }
                Waited::Ended(Some(Code::Unimplemented)) => {
                    self.phase = HeldPhase::Off;
                    return HeldEvent::Unimplemented;
                }
                Waited::Ended(_) => {
                    self.phase = HeldPhase::Waiting(Instant::now() + self.reopen);
                    self.reopen = (self.reopen * 2).min(REOPEN_MAX);
                    return HeldEvent::Ended;
                }
            }
        }
    }

    fn open(&mut self) {
        self.phase = HeldPhase::Off;
        let Some(transport) = &self.transport else {
            return;
        };
        let max = transport.max_streams();
        let needed = self.subscription.streams_needed();
        if max < needed {
            tracing::debug!(target: PROBE,
                max,
                needed,
                "the peer allows too few streams: this one is not opened"
            );
            return;
        }
        if let Some(messages) = self.subscription.open(transport) {
            self.phase = HeldPhase::On {
                messages,
                opened: S::OPEN_AFTER.map(|after| Instant::now() + after),
            };
        }
    }
}

enum Waited<T> {
    Opened,
    Message(T),
    Ended(Option<Code>),
    Reopen,
}

async fn wait<T: Message + Default + 'static>(phase: &mut HeldPhase<T>) -> Waited<T> {
    match phase {
        HeldPhase::Off => pending().await,
        HeldPhase::Soon(when) | HeldPhase::Waiting(when) => {
            sleep_until(*when).await;
            Waited::Reopen
        }
        HeldPhase::On { messages, opened } => tokio::select! {
            message = std::future::poll_fn(|cx| messages.poll_next(cx)) => match message {
                Ok(Some(message)) => Waited::Message(message),
                // A code that we made, for example from a web server's 404, says nothing about the SoC's services.
                Err(status) if is_peers(&status) => Waited::Ended(Some(status.code())),
                Err(_) | Ok(None) => Waited::Ended(None),
            },
            () = until(*opened) => Waited::Opened,
        },
    }
}

/// Waits until `when`; without a moment, never ends. Not an async function: that would hold the moment beside the sleep.
pub(super) fn until(when: Option<Instant>) -> Either<Sleep, Pending<()>> {
    when.map_or_else(
        || Either::Right(pending()),
        |when| Either::Left(sleep_until(when)),
    )
}
