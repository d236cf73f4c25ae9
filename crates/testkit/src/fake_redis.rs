//! A server at Redis' address that is not Redis, or a broken one. It speaks the protocol as a test requires, and shares no code
//! with the exporter.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Its reply to a command.
pub enum FakeReply {
    /// Only this.
    Say(Vec<u8>),
    /// This, and then the other again and again, until the client is gone.
    Endless(Vec<u8>, Vec<u8>),
}

/// Its reply to each command. `None`: the reply of a healthy, empty Redis.
pub type Script = Box<dyn Fn(&[String]) -> Option<FakeReply> + Send + Sync>;

/// A server on a free port, until the process ends.
pub struct FakeRedis {
    pub port: u16,
    script: Arc<Mutex<Arc<Script>>>,
    /// Bytes that it has sent.
    sent: Arc<AtomicU64>,
}

impl FakeRedis {
    pub fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let script = Arc::new(Mutex::new(Arc::new(script)));
        let sent = Arc::new(AtomicU64::new(0));
        let (scripts, count) = (script.clone(), sent.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (scripts, count) = (scripts.clone(), count.clone());
                // It ends when the peer closes.
                std::thread::spawn(move || serve(stream, &scripts, &count));
            }
        });
        Self { port, script, sent }
    }

    /// From now on it replies with this script.
    pub fn says(&self, script: Script) {
        *self.script.lock().expect("no panic") = Arc::new(script);
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, scripts: &Mutex<Arc<Script>>, sent: &AtomicU64) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    let mut say = |bytes: &[u8]| {
        writer.write_all(bytes).ok()?;
        sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Some(())
    };
    loop {
        let command = command(&mut reader)?;
        let script = scripts.lock().expect("no panic").clone();
        match script(&command).unwrap_or_else(|| FakeReply::Say(healthy(&command))) {
            FakeReply::Say(bytes) => say(&bytes)?,
            FakeReply::Endless(first, more) => {
                say(&first)?;
                loop {
                    say(&more)?;
                }
            }
        }
    }
}

/// An array of bulk strings, as clients send them.
fn command(reader: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let number = |reader: &mut BufReader<TcpStream>| -> Option<usize> {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.get(1..)?.trim().parse().ok()
    };
    let count = number(reader)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut bytes = vec![0; number(reader)? + 2];
        reader.read_exact(&mut bytes).ok()?;
        bytes.truncate(bytes.len() - 2);
        words.push(String::from_utf8(bytes).ok()?);
    }
    Some(words)
}

/// The reply of a healthy Redis whose CONFIG_DB is complete and empty.
pub fn healthy(command: &[String]) -> Vec<u8> {
    let nils = |count: usize| format!("*{count}\r\n{}", "$-1\r\n".repeat(count));
    let said = match command[0].as_str() {
        "PING" => "+PONG\r\n".to_owned(),
        "GET" => "$1\r\n1\r\n".to_owned(),
        "SCAN" => "*2\r\n$1\r\n0\r\n*0\r\n".to_owned(),
        "HMGET" => nils(command.len() - 2),
        "HGETALL" => "*0\r\n".to_owned(),
        "HGET" => "$-1\r\n".to_owned(),
        "HSET" | "DEL" => ":1\r\n".to_owned(),
        "PSUBSCRIBE" => {
            let told = command[1..]
                .iter()
                .enumerate()
                .map(|(n, pattern)| format!("*3\r\n$10\r\npsubscribe\r\n{}:{}\r\n", bulk(pattern), n + 1));
            told.collect()
        }
        _ => "+OK\r\n".to_owned(),
    };
    said.into_bytes()
}

pub fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}
