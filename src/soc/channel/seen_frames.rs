//! What the sniffer has seen of a peer, for the driver of the connection: SETTINGS, a GOAWAY, another protocol, the first
//! failure of a read. Also how much h2 may still read before the other tasks get their turn.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::failure::Failure;
use crate::model::{Cause, NOT_GRPC};

/// Bits of `SeenFrames::flags`.
const SEEN_SETTINGS: u8 = 1;
const SEEN_GOAWAY: u8 = 2;
const SEEN_TLS: u8 = 4;
const SEEN_HTTP1: u8 = 8;
const SEEN_REPLY: u8 = 16;

/// Bytes that h2 may read in one turn. A round's replies are under 2 kB, and this much is decoded within a few milliseconds.
const TURN: usize = 64 * 1024;

/// A peer's GOAWAY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GoAway {
    pub(super) code: u32,
    pub(super) debug: Vec<u8>,
}

/// What has been seen so far. Shared with the connection's driver.
#[derive(Debug, Default)]
pub(super) struct SeenFrames {
    flags: AtomicU8,
    goaway: Mutex<Option<GoAway>>,
    failure: OnceLock<Failure>,
    /// Bytes that may still be read in this turn.
    turn: AtomicUsize,
}

impl SeenFrames {
    /// The peer's own SETTINGS frame (not an acknowledgement of ours) has arrived.
    pub(super) fn settings(&self) -> bool {
        self.flags.load(Ordering::Acquire) & SEEN_SETTINGS != 0
    }

    /// A GOAWAY, once. It is the first one, but a GOAWAY with an error replaces one without: a server may announce its end
    /// first and send the reason in a second frame.
    pub(super) fn take_goaway(&self) -> Option<GoAway> {
        if self.flags.load(Ordering::Acquire) & SEEN_GOAWAY == 0 {
            return None;
        }
        self.goaway.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What the first read error meant.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// The failure of a peer that speaks another protocol that we know.
    pub(super) fn other_protocol(&self) -> Option<Failure> {
        let seen = self.flags.load(Ordering::Acquire);
        let detail = if seen & SEEN_TLS != 0 {
            "the peer speaks TLS, and this channel is plain text".to_owned()
        } else if seen & SEEN_HTTP1 != 0 {
            format!("{NOT_GRPC}: it answers in HTTP/1")
        } else {
            return None;
        };
        Some(Failure::new(Cause::Protocol, detail))
    }

    /// h2 is about to be polled: it may read again.
    pub(super) fn new_turn(&self) {
        self.turn.store(TURN, Ordering::Relaxed);
    }

    pub(super) fn set_goaway(&self, goaway: GoAway) {
        let first = self.flags.fetch_or(SEEN_GOAWAY, Ordering::AcqRel) & SEEN_GOAWAY == 0;
        let mut kept = self.goaway.lock().unwrap_or_else(PoisonError::into_inner);
        let graceful_kept = kept.as_ref().is_some_and(|kept| kept.code == 0);
        if first || (graceful_kept && goaway.code != 0) {
            *kept = Some(goaway);
        }
    }

    /// The peer's own SETTINGS frame has arrived.
    #[inline]
    pub(super) fn set_settings(&self) {
        self.flags.fetch_or(SEEN_SETTINGS, Ordering::AcqRel);
    }

    /// A part of a reply (HEADERS or DATA) has begun to arrive.
    #[inline]
    pub(super) fn set_reply(&self) {
        self.flags.fetch_or(SEEN_REPLY, Ordering::Relaxed);
    }

    /// Whether any part of a reply has arrived since this was last called.
    pub(super) fn take_reply(&self) -> bool {
        self.flags.fetch_and(!SEEN_REPLY, Ordering::Relaxed) & SEEN_REPLY != 0
    }

    /// The first bytes were a TLS record.
    pub(super) fn speaks_tls(&self) {
        self.flags.fetch_or(SEEN_TLS, Ordering::AcqRel);
    }

    /// The first bytes are those of an HTTP/1 server.
    pub(super) fn speaks_http1(&self) {
        self.flags.fetch_or(SEEN_HTTP1, Ordering::AcqRel);
    }

    /// A read has failed. Only the first failure counts.
    pub(super) fn set_failure(&self, failure: Failure) {
        let _ = self.failure.set(failure);
    }

    /// Bytes that may still be read in this turn.
    #[inline]
    pub(super) fn left_in_turn(&self) -> usize {
        self.turn.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_left_in_turn(&self, bytes: usize) {
        self.turn.store(bytes, Ordering::Relaxed);
    }
}
