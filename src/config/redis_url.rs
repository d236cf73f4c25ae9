//! `databases.url`: where a Redis is and as whom to log in. Strict, for a part that is not understood is one that the writer
//! meant and we would leave out. No error repeats the URL or any part of it: it may hold a password.

use std::net::{Ipv4Addr, Ipv6Addr};

use percent_encoding::percent_decode_str;

use super::{RedisAddress, RedisLogin, RedisServer};

const EXPECTED: &str =
    "expected redis+unix://[user:password@]/path/to/redis.sock or redis://[user:password@]host[:port]";
/// The TCP port of a Redis whose address names none.
pub(super) const DEFAULT_PORT: u16 = 6379;

/// Reads a URL; its error is for people.
pub(super) fn parse(url: &str) -> Result<RedisServer, String> {
    let but = |why: &str| Err(format!("{EXPECTED}, {why}"));
    if url.contains("${") {
        return but(
            "got ${...}: environment variables are not expanded, write the value itself ($ in a password as %24)",
        );
    }
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return but("without spaces (in a password: %20)");
    }
    if url.contains('?') {
        return but(
            "without a query (?...): each of SONiC's databases has its own number (? in a password: %3F)",
        );
    }
    if url.contains('#') {
        return but("without a fragment (#...; # in a password: %23)");
    }
    if let Some(rest) = url.strip_prefix("redis+unix://") {
        let (login, path) = match rest.split_once("@/") {
            Some((login, path)) if !rest.starts_with('/') => (Some(login), format!("/{path}")),
            _ => (None, rest.to_owned()),
        };
        if !path.starts_with('/') || path.len() < 2 {
            return but("with the socket's absolute path: redis+unix:///var/run/redis/redis.sock");
        }
        return server(RedisAddress::Unix(path.into()), login);
    }
    if url.starts_with("rediss://") {
        return but("without TLS: rediss:// is not supported");
    }
    let Some(rest) = url.strip_prefix("redis://") else {
        return Err(EXPECTED.to_owned());
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        return but(
            "without a path or database: each of SONiC's databases has its own number, STATE_DB is 6 (/ in a password: %2F)",
        );
    }
    let (login, place) = match authority.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, authority),
    };
    server(tcp(place)?, login)
}

fn server(at: RedisAddress, login: Option<&str>) -> Result<RedisServer, String> {
    Ok(RedisServer {
        login: login.map(read_login).transpose()?,
        ..RedisServer::at(at)
    })
}

/// `host`, `host:port`, `[address]:port`.
fn tcp(place: &str) -> Result<RedisAddress, String> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once(']')
                .ok_or_else(|| format!("{EXPECTED}, with a ] after the IPv6 address"))?;
            if host.parse::<Ipv6Addr>().is_err() {
                return Err(format!("{EXPECTED}, in brackets an IPv6 address"));
            }
            (host, port)
        }
        None => {
            if place.matches(':').count() > 1 {
                return Err(format!(
                    "{EXPECTED}, an IPv6 address in brackets: redis://[::1]:6379"
                ));
            }
            let (host, port) = place.split_at(place.find(':').unwrap_or(place.len()));
            if host.is_empty() {
                return Err(format!("{EXPECTED}, with a host"));
            }
            if !is_host(host) {
                return Err(format!(
                    "{EXPECTED}, as host a name such as redis.example or an address such as 127.0.0.1"
                ));
            }
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(port) => match port.parse() {
            // Rust reads it, a URL has none.
            _ if port.starts_with('+') => return Err(format!("{EXPECTED}, port 1 to 65535")),
            Ok(0) | Err(_) => return Err(format!("{EXPECTED}, port 1 to 65535")),
            Ok(port) => port,
        },
        None if port.is_empty() => DEFAULT_PORT,
        None => {
            return Err(format!("{EXPECTED}, after the ] nothing, or a colon and a port"));
        }
    };
    Ok(RedisAddress::Tcp(host.to_owned(), port))
}

/// A name: labels of letters, digits, `-` and `_` (containers have such), with neither a hyphen nor a dot at an end; or an IPv4 address.
fn is_host(host: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(good)
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().any(|c| c.is_ascii_alphanumeric())
    };
    // A fully qualified name may end in a dot.
    let labels = host.strip_suffix('.').unwrap_or(host);
    // What consists of digits and dots is an address, or a mistake.
    let address = labels.chars().all(|c| c.is_ascii_digit() || c == '.');
    host.len() <= 253 && labels.split('.').all(label) && (!address || host.parse::<Ipv4Addr>().is_ok())
}

/// `user:password`, `:password`, `user:` (an empty password).
fn read_login(login: &str) -> Result<RedisLogin, String> {
    let Some((username, password)) = login.split_once(':') else {
        return Err(format!(
            "{EXPECTED}, a password after the user: Redis takes a user without one for `default` (an empty password is user:@)"
        ));
    };
    let (username, password) = (decoded(username)?, decoded(password)?);
    if username.is_empty() && password.is_empty() {
        return Err(format!(
            "{EXPECTED}, something before and after the colon, or no @"
        ));
    }
    Ok(RedisLogin {
        username: (!username.is_empty()).then_some(username),
        password,
    })
}

fn decoded(text: &str) -> Result<String, String> {
    let mut escapes = text.split('%').skip(1);
    let two_digits =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    let text = percent_decode_str(text).decode_utf8();
    match text {
        Ok(text) if escapes.all(two_digits) => Ok(text.into_owned()),
        _ => Err(format!(
            "{EXPECTED}, two hexadecimal digits after each % of user and password (% itself: %25)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(username: Option<&str>, password: &str) -> Option<RedisLogin> {
        Some(RedisLogin {
            username: username.map(str::to_owned),
            password: password.to_owned(),
        })
    }

    #[test]
    fn a_url_names_a_server_and_a_user() {
        let check = |url: &str, at: RedisServer, login| {
            assert!(parse(url) == Ok(RedisServer { login, ..at }), "{url}");
        };
        let tcp = |host: &str, port| RedisServer::tcp(host, port);
        check("redis+unix:///tmp/r.sock", RedisServer::unix("/tmp/r.sock"), None);
        check(
            "redis+unix:///tmp/r@x/r.sock",
            RedisServer::unix("/tmp/r@x/r.sock"),
            None,
        );
        let ours = login(Some("dualtor"), "p@s/s:$");
        let with = "redis+unix://dualtor:p%40s%2Fs:%24@/tmp/r.sock";
        check(with, RedisServer::unix("/tmp/r.sock"), ours.clone());
        check("redis://dualtor:p%40s%2Fs:$@h", tcp("h", 6379), ours);
        check(
            "redis+unix://:pw@/tmp/a@/r.sock",
            RedisServer::unix("/tmp/a@/r.sock"),
            login(None, "pw"),
        );
        check("redis://127.0.0.1", tcp("127.0.0.1", 6379), None);
        for host in ["localhost", "my_redis-1", "redis.example.", "1a.b"] {
            check(&format!("redis://{host}"), tcp(host, 6379), None);
        }
        check("redis://127.0.0.1:6380/", tcp("127.0.0.1", 6380), None);
        check("redis://[::1]", tcp("::1", 6379), None);
        check(
            "redis://u:p@[fd00::1]:6380",
            tcp("fd00::1", 6380),
            login(Some("u"), "p"),
        );
        check(
            "redis://:pw%21@127.0.0.1:1",
            tcp("127.0.0.1", 1),
            login(None, "pw!"),
        );
        check("redis://u:@h", tcp("h", 6379), login(Some("u"), ""));
        check("redis://u:p@ss@h", tcp("h", 6379), login(Some("u"), "p@ss"));
    }

    #[test]
    fn what_would_be_left_out_is_refused_with_words_and_without_being_repeated() {
        let check = |url: &str, words: &str| {
            let error = parse(url).map(|_| ()).expect_err(url);
            assert!(
                error.starts_with("expected redis+unix://") && error.contains(words),
                "{url}: {error}"
            );
            assert!(!error.contains("secret"), "{url}: {error}");
        };
        check("redis://secret@h", "takes a user without one for `default`");
        check(
            "redis+unix://secret@/r.sock",
            "takes a user without one for `default`",
        );
        check("redis://:@h", "something before and after the colon");
        check("redis://@h", "a password after the user");
        check("redis://:secret@h/6", "STATE_DB is 6");
        check("redis://:secret@h/secret", "without a path");
        check("redis://:sec/ret@h", "%2F");
        check("redis://h?db=6", "without a query");
        check("redis+unix:///r.sock?user=secret&pass=secret", "without a query");
        check("redis://:secret#@h", "%23");
        check("redis://h#secret", "without a fragment");
        check("redis://:${SECRET}@h", "environment variables are not expanded");
        check("${REDIS_URL}", "environment variables are not expanded");
        check("redis://:sec ret@h", "%20");
        check("redis://:secret%@h", "two hexadecimal digits");
        check("redis://:secret%zz@h", "two hexadecimal digits");
        check("redis://:secret%ff@h", "two hexadecimal digits");
        check("redis://:secret@h:99999", "port 1 to 65535");
        check("redis://:secret@h:0", "port 1 to 65535");
        check("redis://:secret@h:", "port 1 to 65535");
        check("redis://::1", "in brackets");
        check("redis://[secret]", "in brackets an IPv6 address");
        check("redis://[::1]x", "nothing, or a colon and a port");
        check("redis://[::1", "with a ] after the IPv6 address");
        check("redis://[::1]:0", "port 1 to 65535");
        check("redis://h:0", "port 1 to 65535");
        check("redis://h:-1", "port 1 to 65535");
        check("redis://h:+6379", "port 1 to 65535");
        check("redis://", "with a host");
        check("redis://:6379", "with a host");
        for host in [
            "-",
            "_",
            ".",
            "..",
            "a..b",
            "-a",
            "a-",
            "256.0.0.1",
            "127.0.1",
            "1",
            "sécret",
        ] {
            check(&format!("redis://{host}"), "as host a name such as");
        }
        check("rediss://:secret@h", "TLS");
        check("redis+unix://", "the socket's absolute path");
        check("redis+unix://r.sock", "the socket's absolute path");
        check("redis+unix:///", "the socket's absolute path");
        check("http://h", "");
        check("secret", "");
        check("", "");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(url in "(redis(\\+unix)?://)?\\PC{0,40}") {
            let _ = parse(&url);
        }
    }
}
