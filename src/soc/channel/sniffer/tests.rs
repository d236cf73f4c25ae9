//! What the sniffer sees, however the bytes are cut.

use proptest::prelude::*;

use super::*;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

fn seen_in(chunks: &[&[u8]]) -> Arc<SeenFrames> {
    let seen = Arc::new(SeenFrames::default());
    let mut frames = Frames::new(seen.clone(), Arc::default());
    for chunk in chunks {
        frames.feed(chunk);
    }
    seen
}

#[test]
fn the_peers_settings_are_proof_and_nothing_else_is() {
    let check = |bytes: Vec<u8>, proven: bool| {
        assert_eq!(seen_in(&[&bytes]).settings(), proven, "{bytes:?}");
    };
    check(frame(TYPE_SETTINGS, 0, &[]), true);
    check(frame(TYPE_SETTINGS, 0, &[0, 3, 0, 0, 0, 100]), true);
    check(
        [frame(0x6, 0, &[7; 8]), frame(TYPE_SETTINGS, 0, &[])].concat(),
        true,
    );
    check(frame(TYPE_SETTINGS, FLAG_ACK, &[]), false);
    check(frame(0x6, FLAG_ACK, &[7; 8]), false);
    check(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), false);
    check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), false);
    check(frame(TYPE_SETTINGS, 0, &[0; 6])[..14].to_vec(), false);
}

#[test]
fn a_goaway_is_told_once_with_its_code_and_debug_data() {
    let mut payload = vec![0, 0, 0, 1, 0, 0, 0, 11];
    payload.extend(b"too_many_pings");
    let seen = seen_in(&[&frame(GOAWAY, 0, &payload)]);
    let goaway = seen.take_goaway().expect("a goaway");
    assert_eq!(
        (goaway.code, goaway.debug.as_slice()),
        (11, b"too_many_pings".as_slice())
    );
    assert_eq!(seen.take_goaway(), None);
}

#[test]
fn of_two_goaways_the_one_with_an_error_counts_else_the_first() {
    let goaway = |code: u8, debug: &[u8]| {
        let payload = [&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, code], debug].concat();
        frame(GOAWAY, 0, &payload)
    };
    let check = |frames: [Vec<u8>; 2], expected: u32| {
        let seen = seen_in(&[&frames.concat()]);
        assert_eq!(seen.take_goaway().map(|goaway| goaway.code), Some(expected));
        assert_eq!(seen.take_goaway(), None, "once");
    };
    check([goaway(0, b"max_age"), goaway(0, b"")], 0);
    check([goaway(0, b""), goaway(11, b"too_many_pings")], 11);
    check([goaway(11, b"too_many_pings"), goaway(0, b"")], 11);
    check([goaway(2, b""), goaway(11, b"too_many_pings")], 2);
}

#[test]
fn a_peer_that_begins_with_a_tls_record_speaks_tls() {
    let check = |chunks: &[&[u8]], expected| {
        let other = seen_in(chunks).other_protocol();
        let tls = other.is_some_and(|failure| failure.detail.contains("TLS"));
        assert_eq!(tls, expected, "{chunks:?}");
    };
    check(&[&[TLS_ALERT, 3, 3, 0, 2, 2, 70]], true);
    check(&[&[TLS_HANDSHAKE], &[3]], true);
    check(&[&[TLS_ALERT]], false);
    check(&[&frame(TYPE_SETTINGS, 0, &[])], false);
    check(&[&frame(TYPE_SETTINGS, 0, &[]), &[TLS_ALERT, 3, 3]], false);
    check(&[b"HTTP/1.1 400 Bad Request\r\n"], false);
}

#[test]
fn a_huge_debug_text_is_cut() {
    let seen = seen_in(&[&frame(GOAWAY, 0, &[b'x'; 60_000])]);
    assert_eq!(seen.take_goaway().map(|g| g.debug.len()), Some(MAX_DEBUG));
}

#[test]
fn a_long_header_block_is_cut_at_its_frames_and_a_short_one_is_not() {
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    const END_HEADERS: u8 = 4;
    let mut frames = Frames::new(Arc::default(), Arc::default());
    frames.feed(&frame(HEADERS, 0, &[0; LONG_BLOCK]));
    assert_eq!(frames.cut(), None, "not long yet");
    frames.feed(&frame(CONTINUATION, 0, &[0; 10]));
    assert_eq!((frames.cut(), frames.block), (Some(HEADER_LEN), LONG_BLOCK + 10));
    let last = frame(CONTINUATION, END_HEADERS, &[0; 20]);
    frames.feed(&last[..5]);
    assert_eq!(frames.cut(), Some(4));
    frames.feed(&last[5..]);
    assert_eq!(frames.cut(), None);
    assert_eq!(frames.block_work, 2 * (LONG_BLOCK + 10) + 20);
    frames.feed(&frame(HEADERS, END_HEADERS, &[0; 2 * LONG_BLOCK]));
    assert_eq!((frames.cut(), frames.block_work), (None, 0));
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut_the_same_is_seen(cuts in prop::collection::vec(1usize..20, 0..40)) {
        let mut payload = vec![0, 0, 0, 1, 0, 0, 0, 2];
        payload.extend(b"debug");
        let bytes = [
            frame(0x6, 0, &[1; 8]),
            frame(TYPE_SETTINGS, 0, &[0, 3, 0, 0, 0, 100]),
            frame(0x0, 0, &[9; 50]),
            frame(GOAWAY, 0, &payload),
        ]
        .concat();
        let mut rest = bytes.as_slice();
        let mut chunks = Vec::new();
        for cut in cuts {
            let (chunk, tail) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        chunks.push(rest);
        let seen = seen_in(&chunks);
        prop_assert!(seen.settings());
        prop_assert_eq!(seen.take_goaway(), Some(GoAway { code: 2, debug: b"debug".to_vec() }));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        seen_in(&[&bytes]);
    }
}
