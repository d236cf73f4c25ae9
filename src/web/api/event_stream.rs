//! `/api/v1/events`: Server-Sent Events. First the fleet, then rows of ports as they change.
//!
//! A task makes a view four times a second and shows it on the board, as long as a stream is open. Each stream sends at most one
//! message in the same time. A stream ends at the stop, so that it does not hold it up; when web.config.file has changed, as its
//! login may be gone; and when a client with another address needs its place (`stream_places`).

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::board::{Board, Message, SentUpTo};
use super::stream_places::StreamPlaces;
use super::{Api, ApiError, NO_STORE};
use crate::web::ViewSource;
use crate::web::limits::{OpenStream, WebStats};
use crate::web::out_of_date::OutOfDate;
use crate::web::peer_address::PeerAddress;
use crate::web::reply_body::no_body;

/// The time between two views, and at least between two messages of a stream: four in a second.
const EVERY: Duration = Duration::from_millis(250);
/// The fleet is sent this often, changed or not: a page tells by it that the stream lives.
const BEAT: Duration = Duration::from_secs(10);
/// A comment is sent this often, so that proxies keep the connection.
const COMMENT: Duration = Duration::from_secs(15);
/// The board stays this long after its last stream, for clients that come back.
const LINGER: Duration = Duration::from_secs(60);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The streams of all clients.
pub(in crate::web) struct EventStreams {
    source: ViewSource,
    // A std mutex, as the next: it is held for a lookup, never across an await.
    places: Mutex<StreamPlaces>,
    stats: Arc<WebStats>,
    stop: CancellationToken,
    shown: Mutex<BoardState>,
}

#[derive(Debug)]
struct BoardState {
    /// Tells ids of this board from those of an earlier one.
    run: u64,
    board: Board,
    /// Tells the streams that the board has changed. `None`: no task follows the fleet.
    changed: Option<watch::Sender<()>>,
}

impl BoardState {
    fn new() -> Self {
        Self {
            run: fastrand::u64(..),
            board: Board::default(),
            changed: None,
        }
    }
}

impl EventStreams {
    /// For at most `most` clients at a time.
    pub(in crate::web) fn new(
        source: ViewSource,
        most: usize,
        stats: Arc<WebStats>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            source,
            places: Mutex::new(StreamPlaces::new(most)),
            stats,
            stop,
            shown: Mutex::new(BoardState::new()),
        }
    }

    fn places(&self) -> MutexGuard<'_, StreamPlaces> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> MutexGuard<'_, BoardState> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of changes; starts the task that follows the fleet if none runs.
    fn subscribe(self: &Arc<Self>) -> watch::Receiver<()> {
        let mut shown = self.shown();
        if let Some(changed) = &shown.changed {
            return changed.subscribe();
        }
        let (changed, receiver) = watch::channel(());
        shown.changed = Some(changed);
        let streams = self.clone();
        tokio::spawn(async move { streams.follow().await });
        receiver
    }

    /// Shows views until the last stream has been gone for `LINGER`, or until the stop.
    async fn follow(&self) {
        let mut last_beat = Instant::now();
        let mut last_stream = Instant::now();
        while let Some(view) = (self.source)().await {
            let beat = last_beat.elapsed() >= BEAT;
            if beat {
                last_beat = Instant::now();
            }
            if !self.show(&view, beat, &mut last_stream) {
                return;
            }
            drop(view);
            sleep(EVERY).await;
        }
    }

    /// Whether to go on.
    fn show(&self, view: &crate::model::View, beat: bool, last_stream: &mut Instant) -> bool {
        let mut shown = self.shown();
        let has_streams = shown
            .changed
            .as_ref()
            .is_some_and(|changed| changed.receiver_count() > 0);
        if has_streams {
            *last_stream = Instant::now();
        } else if last_stream.elapsed() >= LINGER {
            *shown = BoardState::new();
            return false;
        }
        shown.board.show(view, beat);
        if let Some(changed) = &shown.changed {
            changed.send_replace(());
        }
        true
    }
}

/// A stream's place, until it is dropped.
struct HeldPlace {
    streams: Arc<EventStreams>,
    key: u64,
    /// Another address has taken it.
    taken: CancellationToken,
}

impl HeldPlace {
    fn take(streams: &Arc<EventStreams>, peer: IpAddr) -> Option<Self> {
        let (key, taken) = streams.places().take(peer)?;
        let streams = streams.clone();
        Some(Self { streams, key, taken })
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        self.streams.places().leave(self.key);
    }
}

/// One client's stream.
struct Follower {
    streams: Arc<EventStreams>,
    changed: watch::Receiver<()>,
    /// The id of the last message that the client has, if it comes back.
    resume: Option<String>,
    run: u64,
    place: SentUpTo,
    begun: bool,
    next_message: Instant,
    next_comment: Instant,
    out_of_date: OutOfDate,
    place_of_stream: HeldPlace,
    _open: OpenStream,
}

impl Follower {
    /// The next piece of the stream; `None`: it ends.
    async fn next(&mut self) -> Option<Bytes> {
        let (stop, taken) = (self.streams.stop.clone(), self.place_of_stream.taken.clone());
        let out_of_date = self.out_of_date.0.clone();
        // After any of the first three nothing is sent any more, so it does not matter where `piece` was.
        tokio::select! {
            () = stop.cancelled() => None,
            () = taken.cancelled() => None,
            () = out_of_date.cancelled() => None,
            piece = self.piece() => piece,
        }
    }

    async fn piece(&mut self) -> Option<Bytes> {
        loop {
            sleep_until(self.next_message).await;
            if let Some(message) = self.take() {
                self.next_message = Instant::now() + EVERY;
                return Some(self.written(&message));
            }
            tokio::select! {
                () = sleep_until(self.next_comment) => {
                    self.next_comment = Instant::now() + COMMENT;
                    return Some(Bytes::from_static(b": alive\n\n"));
                }
                // Its task ends at the stop, or after a panic: then the client asks again.
                changed = self.changed.changed() => changed.ok()?,
            }
        }
    }

    fn take(&mut self) -> Option<Message> {
        let shown = self.streams.shown();
        if shown.board.is_new() {
            return None;
        }
        if !self.begun {
            (self.begun, self.run, self.place) = (true, shown.run, shown.board.beginning());
            if let Some(id) = self.resume.take() {
                let number = id
                    .strip_prefix(&format!("{:x}-", shown.run))
                    .and_then(|n| n.parse().ok());
                match number.filter(|number| shown.board.knows(*number)) {
                    Some(number) => self.place = SentUpTo::at(number),
                    // After the fleet: the client forgets the rows that it has, and gets all again.
                    None => self.resume = Some(id),
                }
            }
            let number = self.place.number();
            return Some(Message {
                number,
                ..shown.board.fleet()
            });
        }
        if self.resume.take().is_some() {
            let (event, data) = ("reset", "{}".to_owned());
            return Some(Message {
                event,
                number: 0,
                data,
            });
        }
        // A stream that could not be sent for long may have missed more than is remembered.
        if self.run != shown.run || shown.board.is_lost(&self.place) {
            (self.run, self.place) = (shown.run, shown.board.beginning());
            let (event, data) = ("reset", "{}".to_owned());
            return Some(Message {
                event,
                number: 0,
                data,
            });
        }
        shown.board.after(&mut self.place)
    }

    fn written(&self, message: &Message) -> Bytes {
        let Message { event, number, data } = message;
        format!("event: {event}\nid: {:x}-{number}\ndata: {data}\n\n", self.run).into()
    }
}

pub(super) async fn events(
    State(api): State<Api>,
    out_of_date: Option<Extension<OutOfDate>>,
    peer: Option<Extension<PeerAddress>>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let head = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, NO_STORE),
    ];
    if method == Method::HEAD {
        return (head, no_body()).into_response();
    }
    // Without an address: one for all of these.
    let peer = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |Extension(peer)| peer.0);
    let Some(place_of_stream) = HeldPlace::take(&api.streams, peer) else {
        let text = "too many event streams (--web.max-event-streams): close one, or ask again later";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text).into_response();
    };
    let resume = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let now = Instant::now();
    let follower = Follower {
        _open: api.streams.stats.streams(),
        changed: api.streams.subscribe(),
        streams: api.streams,
        resume: resume.filter(|id| !id.is_empty()).map(str::to_owned),
        run: 0,
        place: SentUpTo::default(),
        begun: false,
        out_of_date: out_of_date.map(|Extension(token)| token).unwrap_or_default(),
        next_message: now,
        next_comment: now + COMMENT,
        place_of_stream,
    };
    let pieces = stream::unfold(follower, async |mut follower| {
        let piece = follower.next().await?;
        Some((Ok::<_, Infallible>(piece), follower))
    });
    (head, Body::from_stream(pieces)).into_response()
}
