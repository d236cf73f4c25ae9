//! HTTP/2 as no sane client sends it: sequences of frames from a seeded mutator, and the status codes of what comes back.

use fastrand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::harness::LONG;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The numbers of streams that a client has used.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    last: u32,
}

impl Streams {
    /// A new stream, as a client should number it.
    fn next(&mut self) -> u32 {
        self.last = if self.last == 0 { 1 } else { self.last + 2 };
        self.last
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// HPACK: a literal field without indexing.
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        // A prefix of seven bits, then seven bits a byte (RFC 7541, section 5.1).
        match text.len() {
            length @ ..127 => field.push(length as u8),
            length => {
                field.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    field.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                field.push(rest as u8);
            }
        }
        field.extend(text);
    }
    field
}

const PATHS: [&[u8]; 8] = [
    b"/metrics",
    b"/",
    b"/api/v1/ports?limit=1",
    b"/api/v1/ports/Ethernet0",
    b"/ports/%ff",
    b"/-/healthy",
    b"*",
    b"",
];

/// A block of header fields: sane, or with one fault.
fn block(random: &mut Rng) -> Vec<u8> {
    let path = PATHS[random.usize(..PATHS.len())];
    let mut fields = vec![
        field(b":method", b"GET"),
        field(b":scheme", b"https"),
        field(b":authority", b"localhost"),
        field(b":path", path),
    ];
    // Mostly sane: else nearly nothing would come to be a request.
    match random.u8(..50) {
        0 => drop(fields.remove(random.usize(..4))),
        1 => fields.push(field(b":path", b"/twice")),
        2 => fields.push(field(b"connection", b"keep-alive")),
        3 => fields.push(field(b"UPPER", b"case")),
        4 => fields.push(field(b"te", b"gzip")),
        5 => fields.insert(0, field(b"early", b"before the pseudo headers")),
        6 => fields.push(field(b"bad", b"a\r\nb\0c")),
        7 => fields.push(field(b"", b"no name")),
        8 => fields.push(field(b"large", &vec![b'x'; random.usize(1..15_000)])),
        9 => fields.extend((0..random.usize(1..1_000)).map(|_| field(b"a", b""))),
        10 => fields[0] = field(b":method", b"CONNECT"),
        11 => fields.push(field(b":status", b"200")),
        12 => fields.push(field(b"content-length", b"5")),
        13 => {
            // An index that no table has; a table as large as a number can be; a string that is longer than its block.
            let odd: [&[u8]; 3] = [
                &[0xff, 0xff, 0xff, 0xff, 0x0f],
                &[0x3f, 0xff, 0xff, 0xff, 0x7f],
                &[0, 0x7f, 0xff],
            ];
            fields.push(odd[random.usize(..3)].to_vec());
        }
        _ => {}
    }
    let mut block = fields.concat();
    if random.u8(..20) == 0 && !block.is_empty() {
        let at = random.usize(..block.len());
        block[at] = random.u8(..);
    }
    block
}

/// What a connection begins with; sometimes not what it should.
pub(crate) fn preface(random: &mut Rng) -> Vec<u8> {
    let setting = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let settings = match random.u8(..24) {
        // The smallest window and the smallest frame; no header table; values that are not allowed.
        0 => setting(4, 0),
        1 => setting(1, 0),
        2 => setting(1, u32::MAX),
        3 => setting(5, 1),
        4 => setting(4, u32::MAX),
        5 => setting(random.u16(..), random.u32(..)),
        _ => Vec::new(),
    };
    let mut begin = PREFACE.to_vec();
    if random.u8(..20) == 0 {
        let at = random.usize(..begin.len());
        begin[at] ^= 1 << random.u8(..8);
    }
    begin.extend(frame(SETTINGS, 0, 0, &settings));
    begin
}

fn noise(random: &mut Rng, most: usize) -> Vec<u8> {
    (0..random.usize(..most)).map(|_| random.u8(..)).collect()
}

/// One request, and often something that is wrong, too much, or nothing that was asked for.
pub(crate) fn sequence(random: &mut Rng, streams: &mut Streams) -> Vec<u8> {
    let many = random.usize(1..200);
    let id = streams.next();
    let headers = frame(HEADERS, END_HEADERS | END_STREAM, id, &block(random));
    let reset = |id: u32| frame(RST_STREAM, 0, id, &[0, 0, 0, 8]);
    match random.u8(..40) {
        // Rapid reset: CVE-2023-44487.
        0 => {
            let mut all = [headers, reset(id)].concat();
            for _ in 0..many {
                let id = streams.next();
                all.extend(frame(HEADERS, END_HEADERS | END_STREAM, id, &block(random)));
                all.extend(reset(id));
            }
            all
        }
        // A header that does not end: the CONTINUATION flood.
        1 => {
            let mut all = frame(HEADERS, END_STREAM, id, &block(random));
            for _ in 0..many {
                let flags = if random.u8(..100) == 0 { END_HEADERS } else { 0 };
                all.extend(frame(CONTINUATION, flags, id, &field(b"a", &noise(random, 400))));
            }
            all
        }
        // Floods of what costs an answer, or nothing.
        2 => [headers, frame(PING, 0, 0, &[7; 8]).repeat(many)].concat(),
        3 => [headers, frame(SETTINGS, 0, 0, &[]).repeat(many)].concat(),
        4 => [
            frame(HEADERS, END_HEADERS, id, &block(random)),
            frame(DATA, 0, id, &[]).repeat(many),
        ]
        .concat(),
        5 => [headers, frame(PRIORITY, 0, id, &[0, 0, 0, 1, 7]).repeat(many)].concat(),
        6 => [headers, frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(many)].concat(),
        // Windows that grow too far, or by nothing.
        7 => [
            headers,
            frame(WINDOW_UPDATE, 0, id, &[0x7f, 0xff, 0xff, 0xff]).repeat(2),
        ]
        .concat(),
        8 => [headers, frame(WINDOW_UPDATE, 0, id, &[0; 4])].concat(),
        // Frames for streams that are closed, idle, the server's, or no stream at all.
        9 => [headers, frame(DATA, END_STREAM, id, b"after the end")].concat(),
        10 => frame(HEADERS, END_HEADERS | END_STREAM, random.u32(..), &block(random)),
        11 => frame(DATA, 0, random.u32(..9), &noise(random, 100)),
        12 => frame(PUSH_PROMISE, END_HEADERS, id, &block(random)),
        13 => [headers, frame(GOAWAY, 0, 0, &noise(random, 40))].concat(),
        // Padding that is longer than the frame; a dependency on itself.
        14 => frame(
            HEADERS,
            END_HEADERS | END_STREAM | 8,
            id,
            &[&[255], &block(random)[..]].concat(),
        ),
        15 => {
            let own = id.to_be_bytes();
            frame(
                HEADERS,
                END_HEADERS | END_STREAM | 32,
                id,
                &[&own[..], &[9], &block(random)].concat(),
            )
        }
        // Any frame with any content, and a length that is not its own.
        16 => {
            let (kind, flags, id) = (random.u8(..12), random.u8(..), random.u32(..8));
            frame(kind, flags, id, &noise(random, 100))
        }
        17 => {
            let mut all = headers;
            let at = random.usize(..all.len());
            all[at] = random.u8(..);
            all
        }
        // A fault ends most connections: without these there would be few requests.
        _ => headers,
    }
}

/// What came back on a connection.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The status codes of all answers.
    pub(crate) statuses: Vec<String>,
    /// Answers to PINGs.
    pub(crate) pongs: usize,
}

pub(crate) fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"are you?")
}

/// A request without a fault.
pub(crate) fn sane(streams: &mut Streams) -> Vec<u8> {
    let fields = [
        field(b":method", b"GET"),
        field(b":scheme", b"https"),
        field(b":authority", b"localhost"),
        field(b":path", b"/-/healthy"),
    ];
    frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        streams.next(),
        &fields.concat(),
    )
}

/// Reads until the connection ends. h2 writes a status by an index, or as a literal.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin), heard: watch::Sender<Heard>) {
    let mut head = [0; 9];
    loop {
        let read = timeout(LONG, stream.read_exact(&mut head)).await;
        if read.expect("it ends").is_err() {
            return;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        let read = timeout(LONG, stream.read_exact(&mut payload)).await;
        if read.expect("it ends").is_err() {
            return;
        }
        if head[3] == HEADERS {
            // RFC 7541, appendix A: 8 to 14 are statuses.
            let first = payload.first().copied().unwrap_or(0);
            let indexed = ["200", "204", "206", "304", "400", "404", "500"];
            let known = first.checked_sub(0x88).and_then(|n| indexed.get(usize::from(n)));
            let status = known.map_or_else(|| literal(&payload), |status| (*status).to_owned());
            heard.send_modify(|heard| heard.statuses.push(status));
        } else if head[3] == PING && head[4] & 1 != 0 {
            heard.send_modify(|heard| heard.pongs += 1);
        }
    }
}

/// A status that no index stands for: the name's index, then three digits, packed by Huffman's code or not.
fn literal(block: &[u8]) -> String {
    let text = match block {
        [0x48 | 0x08, 3, digits @ ..] => digits.get(..3),
        [0x48 | 0x08, length, packed @ ..] if length & 0x80 != 0 => packed.get(..usize::from(length & 0x7f)),
        _ => None,
    };
    match text {
        // Huffman's codes of digits 0, 1 and 2 have five bits: 00000, 00001, 00010; of 3 to 9 six: 011001 to 011111.
        Some(bytes) if !bytes.iter().all(u8::is_ascii_digit) => digits(bytes),
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "unknown".to_owned(),
    }
}

fn digits(packed: &[u8]) -> String {
    let bits: Vec<u8> = packed
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1))
        .collect();
    let mut rest = &bits[..];
    let mut text = String::new();
    while text.len() < 3 && rest.len() >= 5 {
        let of = |bits: &[u8]| bits.iter().fold(0, |number, bit| number * 2 + bit);
        let (digit, length) = match of(&rest[..5]) {
            digit @ 0..3 => (digit, 5),
            _ if rest.len() >= 6 => (of(&rest[..6]).wrapping_sub(0b011001).wrapping_add(3), 6),
            _ => break,
        };
        text.push(char::from(b'0'.wrapping_add(digit)));
        rest = &rest[length..];
    }
    text
}

#[test]
fn statuses_are_read() {
    for (block, expected) in [
        (&[0x88][..], "200"),
        (&[0x8e], "500"),
        (&[0x48, 3, b'5', b'0', b'3'], "503"),
        // 503 by Huffman's code: 011011 00000 011001, then ones.
        (&[0x48, 0x83, 0b0110_1100, 0b0000_1100, 0b1111_1111], "503"),
    ] {
        let head = frame(HEADERS, END_HEADERS, 1, block);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let (sender, heard) = watch::channel(Heard::default());
        runtime.expect("a runtime").block_on(read(&mut &head[..], sender));
        assert_eq!(heard.borrow().statuses, [expected]);
    }
}
