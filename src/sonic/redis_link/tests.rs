use super::*;

#[test]
fn what_a_server_says_is_cut_and_cleaned() {
    let said = |text: &str| {
        let value = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).expect("an error");
        let redis::Value::ServerError(error) = value else {
            panic!("{value:?}")
        };
        RedisFailure::Refused(error.into()).to_string()
    };
    assert!(said("ERR no such thing").contains("no such thing"));
    let long = said(&format!("ERR {}", "x".repeat(60_000)));
    assert!(long.chars().count() <= 205, "{long}");
    assert!(!said("ERR \u{202e}\u{1b}[31m").contains(['\u{202e}', '\u{1b}']));
}

/// Answers each SELECT and PING at once, on a thread of its own.
fn quick_redis() -> RedisServer {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("accepted");
        let mut bytes = [0; 1024];
        while let Ok(1..) = socket.read(&mut bytes) {
            socket.write_all(b"+OK\r\n+PONG\r\n").expect("written");
        }
    });
    RedisServer::tcp("127.0.0.1", port)
}

#[tokio::test]
async fn that_we_get_no_cpu_is_not_taken_for_a_redis_that_hangs() {
    let starved = async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        std::thread::sleep(PATIENCE + Duration::from_millis(300));
    };
    let server = quick_redis();
    let (link, ()) = tokio::join!(Link::open(&server, 0), starved);
    let mut link = link.expect("a connection");
    let mut ask = redis::pipe();
    ask.cmd("SELECT").arg(0).cmd("PING");
    let starved = async {
        tokio::task::yield_now().await;
        std::thread::sleep(PATIENCE + Duration::from_millis(300));
    };
    let (replies, ()) = tokio::join!(link.ask(&ask), starved);
    assert_eq!(replies.expect("replies").len(), 2);
}

#[tokio::test]
async fn a_redis_that_hangs_is_given_up_after_the_patience_for_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = RedisServer::tcp("127.0.0.1", listener.local_addr().expect("an address").port());
    let opened = tokio::time::timeout(PATIENCE * 10, Link::open(&server, 0)).await;
    assert!(matches!(opened, Ok(Err(RedisFailure::Timeout))), "{opened:?}");
}
