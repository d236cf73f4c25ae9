//! A rendered scrape, how it is read, and how much of all of them may stand in memory.
//!
//! It is kept packed (gzip), a twentieth of its text, and shared by those who were rendered for together. Who did not ask
//! for gzip gets it unpacked piece by piece as it reads. So a reader that stops costs its place in a packed answer: no
//! text, no snapshot. Of all answers together [`Shelf`] keeps [`KEPT`] bytes, or the newest [`KEPT_ANSWERS`] where these
//! are larger: beyond that the oldest is taken away, and a reader that is still at it finds its connection closed before
//! the end that `Content-Length` has promised.

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

/// What answers that are still being read may take, packed: some 25 of a thousand SoCs.
const KEPT: usize = 8 << 20;
/// So many are kept whatever their size: a slow reader is not cut off by the next scrape of the others.
const KEPT_ANSWERS: usize = 4;
/// Packed bytes in one piece.
const PIECE: usize = 32 << 10;
/// Unpacked bytes in one piece: a reader that stops holds one or two of them.
const UNPACKED_PIECE: usize = 16 << 10;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Answer {
    /// `None`: taken away.
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
                "the answer was taken away: its reader was too slow",
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
            // A scrape repeats itself so much that more effort makes it no smaller and takes nine times as long.
            encoder: GzEncoder::new(Vec::new(), Compression::fast()),
            pieces: Vec::new(),
            unpacked: 0,
        }
    }
}

impl Packer {
    pub(super) fn add(&mut self, text: &str) {
        // It writes into a Vec: that cannot fail.
        let _ = self.encoder.write_all(text.as_bytes());
        self.unpacked += text.len() as u64;
        self.cut();
    }

    fn cut(&mut self) {
        let packed = self.encoder.get_mut();
        if packed.len() >= PIECE {
            // As large as it is, not as the Vec has grown.
            self.pieces.push(Bytes::copy_from_slice(packed));
            packed.clear();
        }
    }

    pub(super) fn finish(mut self) -> Answer {
        // As above.
        let rest = self.encoder.finish().unwrap_or_default();
        self.pieces.push(Bytes::copy_from_slice(&rest));
        Answer {
            packed: self.pieces.iter().map(Bytes::len).sum(),
            unpacked: self.unpacked,
            pieces: Mutex::new(Some(self.pieces)),
        }
    }
}

/// All answers that somebody is reading, oldest first.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<VecDeque<Weak<Answer>>>);

impl Shelf {
    /// Puts one beside the others, and takes away the oldest where it gets too much.
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

/// An answer as one reader takes it: the body of a response, its length known.
pub(super) struct AnswerBody {
    left: u64,
    source: Taken,
}

enum Taken {
    Packed(Pieces),
    Unpacked(Box<GzDecoder<Pieces>>),
}

impl AnswerBody {
    /// As it is.
    pub(super) fn packed(answer: Arc<Answer>) -> Self {
        Self {
            left: answer.packed as u64,
            source: Taken::Packed(Pieces::of(answer)),
        }
    }

    /// As text.
    pub(super) fn plain(answer: Arc<Answer>) -> Self {
        Self {
            left: answer.unpacked,
            source: Taken::Unpacked(Box::new(GzDecoder::new(Pieces::of(answer)))),
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

/// An answer's pieces, one after the other.
struct Pieces {
    answer: Arc<Answer>,
    next: usize,
    current: Bytes,
}

impl Pieces {
    fn of(answer: Arc<Answer>) -> Self {
        Self {
            answer,
            next: 0,
            current: Bytes::new(),
        }
    }

    /// Empty at the end: no piece is.
    fn next(&mut self) -> io::Result<Bytes> {
        let piece = self.answer.piece(self.next)?;
        self.next += 1;
        Ok(piece.unwrap_or_default())
    }
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buf)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Pieces {
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

    /// Text that cannot be packed well.
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

    /// An answer of such a size.
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
        // What nobody reads any more takes no place.
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
