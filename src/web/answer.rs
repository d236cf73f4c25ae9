//! A rendered scrape, how clients read it, and how much memory all of them may take.
//!
//! An answer is kept packed (gzip), which takes a twentieth of its text, and is shared by all requests that it was rendered for.
//! A client that did not ask for gzip gets it unpacked, piece by piece as it reads. So a client that stops reading holds neither
//! text nor snapshot, only a share of the packed answer.
//!
//! A client may read slowly for minutes while others scrape again, so the memory of all answers needs a limit: [`Shelf`] keeps
//! [`KEPT`] bytes of them, but at least the newest [`KEPT_ANSWERS`]. Beyond that it drops the pieces of the oldest answer. A
//! client that still reads that one gets an error: its connection is closed before the announced `Content-Length`.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use http_body::{Body, Frame, SizeHint};

/// Most bytes of all answers that are still being read, packed: about 25 answers of a thousand SoCs.
const KEPT: usize = 8 << 20;
/// This many are kept whatever their size, so that the next scrape by others does not cut off a slow client.
const KEPT_ANSWERS: usize = 4;
/// Packed bytes in one piece.
const PIECE: usize = 32 << 10;
/// Unpacked bytes in one piece. A client that stops reading holds one or two of them.
const UNPACKED_PIECE: usize = 16 << 10;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Answer {
    /// `None`: dropped by the shelf.
    pieces: Mutex<Option<Vec<Bytes>>>,
    packed: usize,
    unpacked: u64,
}

impl Answer {
    fn pieces(&self) -> MutexGuard<'_, Option<Vec<Bytes>>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The piece at `index`; `None` after the last.
    fn piece(&self, index: usize) -> io::Result<Option<Bytes>> {
        match &*self.pieces() {
            Some(pieces) => Ok(pieces.get(index).cloned()),
            None => Err(io::Error::other(
                "the answer was dropped because the client read too slowly",
            )),
        }
    }
}

/// Packs text as it is rendered.
pub(super) struct Packer {
    encoder: GzEncoder<Vec<u8>>,
    pieces: Vec<Bytes>,
    unpacked: u64,
}

impl Default for Packer {
    fn default() -> Self {
        Self {
            // The text is so repetitive that a higher level makes it no smaller and takes nine times as long.
            encoder: GzEncoder::new(Vec::new(), Compression::fast()),
            pieces: Vec::new(),
            unpacked: 0,
        }
    }
}

impl Packer {
    pub(super) fn add(&mut self, text: &str) {
        // Writing into a Vec cannot fail.
        let _ = self.encoder.write_all(text.as_bytes());
        self.unpacked += text.len() as u64;
        self.cut();
    }

    fn cut(&mut self) {
        let packed = self.encoder.get_mut();
        if packed.len() >= PIECE {
            // A copy of the exact size: the Vec's capacity may be larger.
            self.pieces.push(Bytes::copy_from_slice(packed));
            packed.clear();
        }
    }

    pub(super) fn finish(mut self) -> Answer {
        // Writing into a Vec cannot fail.
        let rest = self.encoder.finish().unwrap_or_default();
        self.pieces.push(Bytes::copy_from_slice(&rest));
        Answer {
            packed: self.pieces.iter().map(Bytes::len).sum(),
            unpacked: self.unpacked,
            pieces: Mutex::new(Some(self.pieces)),
        }
    }
}

/// All answers that clients are reading, oldest first. The references are weak: an answer is freed when its last reader ends.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<VecDeque<Weak<Answer>>>);

impl Shelf {
    /// Adds an answer, and drops the pieces of the oldest ones if the limit is exceeded.
    pub(super) fn put(&self, answer: Answer) -> Arc<Answer> {
        let answer = Arc::new(answer);
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.retain(|other| other.strong_count() > 0);
        shelf.push_back(Arc::downgrade(&answer));
        let mut kept: usize = shelf.iter().filter_map(Weak::upgrade).map(|one| one.packed).sum();
        while kept > KEPT
            && shelf.len() > KEPT_ANSWERS
            && let Some(oldest) = shelf.pop_front()
        {
            if let Some(oldest) = oldest.upgrade() {
                kept -= oldest.packed;
                *oldest.pieces() = None;
            }
        }
        answer
    }
}

/// The body of a response: one client's position in an answer. Its length is known.
pub(super) struct AnswerBody {
    left: u64,
    source: Taken,
}

enum Taken {
    Packed(PackedPieces),
    Unpacked(Box<GzDecoder<PackedPieces>>),
}

impl AnswerBody {
    /// A body in gzip.
    pub(super) fn packed(answer: Arc<Answer>) -> Self {
        Self {
            left: answer.packed as u64,
            source: Taken::Packed(PackedPieces::of(answer)),
        }
    }

    /// A body in plain text.
    pub(super) fn plain(answer: Arc<Answer>) -> Self {
        Self {
            left: answer.unpacked,
            source: Taken::Unpacked(Box::new(GzDecoder::new(PackedPieces::of(answer)))),
        }
    }

    /// The next piece; empty at the end.
    fn next(&mut self) -> io::Result<Bytes> {
        match &mut self.source {
            Taken::Packed(pieces) => pieces.next(),
            Taken::Unpacked(decoder) => {
                let mut text = vec![0; UNPACKED_PIECE];
                let read = decoder.read(&mut text)?;
                text.truncate(read);
                Ok(text.into())
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match self.next() {
            Ok(piece) => piece,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        self.left = self.left.saturating_sub(piece.len() as u64);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Reads an answer's pieces one after the other.
struct PackedPieces {
    answer: Arc<Answer>,
    next: usize,
    current: Bytes,
}

impl PackedPieces {
    fn of(answer: Arc<Answer>) -> Self {
        Self {
            answer,
            next: 0,
            current: Bytes::new(),
        }
    }

    /// The next piece; empty at the end. A piece itself is never empty.
    fn next(&mut self) -> io::Result<Bytes> {
        let piece = self.answer.piece(self.next)?;
        self.next += 1;
        Ok(piece.unwrap_or_default())
    }
}

impl Read for PackedPieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buf)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for PackedPieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.is_empty() {
            self.current = self.next()?;
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        let _ = self.current.split_to(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(text: &str) -> Answer {
        let mut packer = Packer::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(50_000));
            packer.add(piece);
            rest = after;
        }
        packer.finish()
    }

    /// Text that gzip cannot make much smaller.
    fn noise(len: usize) -> String {
        let mut random = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(|| random.alphanumeric())
            .take(len)
            .collect()
    }

    fn read(mut reading: AnswerBody) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while !reading.is_end_stream() {
            let promised = reading.left;
            let piece = reading.next()?;
            assert!(!piece.is_empty() && piece.len() as u64 <= promised);
            reading.left -= piece.len() as u64;
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    #[test]
    fn what_is_read_is_what_was_rendered() {
        for text in [
            noise(300_000),
            "a".repeat(1_000_000),
            "# EOF\n".to_owned(),
            String::new(),
        ] {
            let answer = Arc::new(pack(&text));
            assert_eq!(
                read(AnswerBody::plain(answer.clone())).expect("all"),
                text.as_bytes()
            );
            let packed = read(AnswerBody::packed(answer.clone())).expect("all");
            assert_eq!(packed.len(), answer.packed);
            let mut unpacked = String::new();
            GzDecoder::new(&*packed)
                .read_to_string(&mut unpacked)
                .expect("gzip");
            assert_eq!(unpacked, text);
        }
    }

    /// An answer that counts as `packed` bytes.
    fn sized(packed: usize) -> Answer {
        Answer {
            pieces: Mutex::new(Some(vec![Bytes::from_static(b"a piece"); 2])),
            packed,
            unpacked: 0,
        }
    }

    fn is_there(answer: &Arc<Answer>) -> bool {
        answer.pieces().is_some()
    }

    #[test]
    fn the_oldest_answer_goes_when_all_are_too_much() {
        let shelf = Shelf::default();
        let put = || shelf.put(sized(KEPT / 8));
        let kept: Vec<_> = (0..8).map(|_| put()).collect();
        assert!(kept.iter().all(is_there));
        let mut slow = AnswerBody::packed(kept[0].clone());
        assert!(!slow.next().expect("a piece").is_empty());
        let _one_more = put();
        assert!(!is_there(&kept[0]) && kept[1..].iter().all(is_there));
        assert!(slow.next().is_err(), "its reader finds out");
        // An answer without readers does not count.
        drop(kept);
        let again: Vec<_> = (0..7).map(|_| put()).collect();
        assert!(again.iter().all(is_there));
    }

    #[test]
    fn a_few_are_kept_however_large() {
        let shelf = Shelf::default();
        let kept: Vec<_> = (0..6).map(|_| shelf.put(sized(KEPT * 2))).collect();
        let there: Vec<bool> = kept.iter().map(is_there).collect();
        assert_eq!(there, [false, false, true, true, true, true]);
    }
}
