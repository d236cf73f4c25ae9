//! Logins, headers, the rate limit, and the names that pages may be asked for.

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::cases::{Cases, HEADERS, LOGINS, RATE, REMEMBERED};
use super::site::{ANY, Client, LONG, MUTUAL, Site, ask, login, tls, users};
use crate::web::web_config::tests::HASHES;

/// alice123, with a cost that takes a while.
const COSTLY: &str = "$2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze";

#[tokio::test]
async fn logins_are_checked() {
    let mut cases = Cases::of(LOGINS);
    for over in ["plain", "TLS"] {
        let section = if over == "TLS" { tls("") } else { String::new() };
        let site = Site::start(&format!("{section}{}", users(&HASHES[..3]))).await;
        let asked = async |path: &str, headers: &[(&str, &str)]| match over {
            "TLS" => ask(site.tls(ANY).await.expect("TLS"), path, headers)
                .await
                .expect("an answer"),
            _ => site.get(path, headers).await,
        };
        let none = asked("/metrics", &[]).await;
        assert!(none.starts_with("HTTP/1.1 401"), "{none}");
        let asks = "www-authenticate: basic\r\n";
        assert!(none.to_lowercase().contains(asks), "{none}");
        cases.held(&format!("auth, {over}: none is 401 with WWW-Authenticate: Basic"));
        for (user, password, status) in [
            ("dave", "dave123", 200),
            ("alice", "alice123", 200),
            ("dave", "bad", 401),
            ("nobody", "nobody", 401),
            ("empty", "", 401),
            ("b", "colon:in:", 200),
            ("alice", "", 401),
            ("alice", "xxxxxxxxx", 401),
        ] {
            let answer = asked("/metrics", &[("Authorization", &login(user, password))]).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            cases.held(&format!("auth, {over}: {user}/{password} is {status}"));
        }
        for (name, other) in [
            ("auth: another scheme is 401", "Bearer abc"),
            ("auth: another scheme is 401", "Digest x"),
            ("auth: another scheme is 401", ""),
            ("auth: bad base64 is 401", "Basic !"),
            ("auth: bad base64 is 401", "Basic"),
        ] {
            let answer = asked("/metrics", &[("Authorization", other)]).await;
            assert!(answer.starts_with("HTTP/1.1 401"), "{other}: {answer}");
            cases.held(name);
        }
        for (path, status) in [
            ("/-/healthy", 200),
            ("/-/ready", 200),
            ("/-/reload", 401),
            ("/", 401),
            ("/-/healthy/", 401),
            ("/-/healthy/../../metrics", 401),
            ("//-/healthy", 401),
            ("/none", 401),
        ] {
            let answer = asked(path, &[]).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{path}: {answer}"
            );
        }
    }
    cases.end();
}

#[tokio::test]
async fn a_password_is_remembered_for_its_user_and_its_hash_alone() {
    let mut cases = Cases::of(REMEMBERED);
    let site = Site::start(&users(&[("alice", COSTLY)])).await;
    let status = async |user: &str, password: &str| {
        let began = Instant::now();
        let answer = site
            .get("/metrics", &[("Authorization", &login(user, password))])
            .await;
        (answer[9..12].to_owned(), began.elapsed())
    };
    let (first, slow) = status("alice", "alice123").await;
    let (again, fast) = status("alice", "alice123").await;
    assert_eq!((&*first, &*again), ("200", "200"));
    // Hundreds of times faster.
    assert!(fast < slow / 2, "{slow:?}, then {fast:?}");
    cases.held("auth: a right password is remembered (79 ms, then 0.4 ms)");
    for _ in 0..2 {
        assert_eq!(status("nobody", "fakepassword").await.0, "401");
    }
    cases.held("auth: 'fakepassword' of an unknown user is 401, twice");
    // CVE-2022-46146: name, hash and password of a right login, joined, were those of a wrong one, divided at another place.
    for (user, password) in [
        (&format!("alice{COSTLY}")[..], "alice123"),
        (&format!("alice{COSTLY}alice123"), ""),
        ("alice", &format!("{COSTLY}alice123")),
        ("alice", "alice123:"),
        ("alice:alice123", ""),
        ("alice\0", "alice123"),
        ("alic", "ealice123"),
    ] {
        for _ in 0..2 {
            assert_eq!(status(user, password).await.0, "401", "{user}");
        }
    }
    assert_eq!(status("alice", "alice123").await.0, "200");
    cases.held("auth: the cache cannot be poisoned (CVE-2022-46146)");
    cases.end();
}

#[tokio::test]
async fn headers_are_in_every_answer() {
    let mut cases = Cases::of(HEADERS);
    let headers = [
        ("strict-transport-security", "max-age=9"),
        ("x-frame-options", "deny"),
        ("x-content-type-options", "nosniff"),
        ("x-xss-protection", "1"),
        ("content-security-policy", "default-src 'self'"),
    ];
    let names = [
        "Strict-Transport-Security",
        "X-Frame-Options",
        "X-Content-Type-Options",
        "X-XSS-Protection",
        "Content-Security-Policy",
    ];
    let lines: String = names
        .iter()
        .zip(headers)
        .map(|(name, (_, value))| format!("    {name}: \"{value}\"\n"))
        .collect();
    let text = format!("http_server_config:\n  headers:\n{lines}{}", users(&HASHES[..1]));
    let site = Site::start(&text).await;
    for path in ["/-/healthy", "/metrics"] {
        let answer = site.get(path, &[]).await;
        for (header, value) in headers {
            let line = format!("{header}: {value}\r\n");
            assert!(answer.contains(&line), "{path}: {answer}");
            cases.held(&format!("headers: {header}"));
        }
    }
    cases.end();
}

#[tokio::test]
async fn requests_over_the_rate_are_refused_and_probes_of_health_are_not() {
    let mut cases = Cases::of(RATE);
    for (name, keys, answered) in [
        ("rate: interval 0 is no limit", "interval: 0s, burst: 0", 5),
        ("rate: burst 0 lets nobody in (429)", "interval: 1h, burst: 0", 0),
        ("rate: burst 3, then 429", "interval: 1h, burst: 3", 3),
    ] {
        let site = Site::start(&format!("rate_limit: {{{keys}}}")).await;
        for n in 0..5 {
            let status = if n < answered { 200 } else { 429 };
            let answer = site.get("/metrics", &[]).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{keys}: {n}");
            assert!(site.get("/-/ready", &[]).await.starts_with("HTTP/1.1 200"));
        }
        cases.held(name);
    }
    cases.end();
}

/// The status of a path under a name.
async fn under<S>(mut stream: S, host: &str, path: &str) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let end = timeout(LONG, stream.read_to_end(&mut answer)).await;
    end.expect("an end").expect("an answer");
    String::from_utf8_lossy(&answer[9..12]).into_owned()
}

#[tokio::test]
async fn pages_are_shown_under_known_names_only_unless_clients_are_known() {
    let site = Site::start("").await;
    let asked = async |host: &str, path: &str| {
        let stream = TcpStream::connect(site.address).await.expect("a listener");
        under(stream, host, path).await
    };
    for (host, path, status) in [
        ("127.0.0.1:9075", "/", "200"),
        ("localhost", "/", "200"),
        ("tor-a.example.org", "/", "200"),
        ("evil.example", "/", "403"),
        ("evil.example", "/api/v1/fleet", "403"),
        ("evil.example", "//metrics", "403"),
        ("evil.example", "/metrics/", "403"),
        // Read by programs, under whatever name they know it.
        ("evil.example", "/metrics", "200"),
        ("evil.example", "/-/healthy", "200"),
        ("evil.example", "/-/ready", "200"),
    ] {
        assert_eq!(asked(host, path).await, status, "{host}: {path}");
    }
    // A login, and a client certificate: a browser sends neither for a name that it does not know.
    let site = Site::start(&users(&HASHES[..1])).await;
    let answer = site
        .get(
            "/",
            &[
                ("Host", "evil.example"),
                ("Authorization", &login("alice", "alice123")),
            ],
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for (keys, status) in [(MUTUAL, "200"), ("client_auth_type: RequestClientCert", "403")] {
        let site = Site::start(&tls(keys)).await;
        let client = Client {
            identity: Some(&site.client),
            ..ANY
        };
        let stream = site.tls(client).await.expect("TLS");
        assert_eq!(under(stream, "evil.example", "/").await, status, "{keys}");
    }
}
