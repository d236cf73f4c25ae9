//! Who can read what the exporter serves: addresses, logins, the files of web.config.file, its certificate.

use std::time::SystemTime;

use chrono::{DateTime, Utc};

use super::{Area, Finding};
use crate::cli::doctor::collected::WebSeen;

/// A certificate that expires sooner is a problem, as for the alert DualTorCertificateExpiring7d.
const SOON_DAYS: i64 = 7;
/// The same, for a note: DualTorCertificateExpiring30d.
const LATER_DAYS: i64 = 30;

/// Nothing where it was not looked at.
pub(super) fn check(web: Option<&WebSeen>, now: DateTime<Utc>) -> Vec<Finding> {
    let Some(web) = web else { return Vec::new() };
    let mut findings = Vec::new();
    let (mut login, mut tls) = (false, false);
    match &web.file {
        None => {}
        Some((path, Err(reason))) => findings.push(Finding::problem(
            Area::Web,
            path.display().to_string(),
            format!("cannot be used: {reason}"),
            "the exporter does not start with it: correct it, then run this again",
        )),
        Some((path, Ok(file))) => {
            (login, tls) = (file.knows_clients, file.expiry.is_some());
            findings.push(Finding::ok(Area::Web, path.display().to_string(), &file.summary));
        }
    }
    findings.extend(listens(web, login, tls));
    for (path, mode) in web.secret_files.iter().filter(|(_, mode)| mode & 0o004 != 0) {
        findings.push(Finding::problem(
            Area::Web,
            path.display().to_string(),
            format!("every user of this host can read it (mode {mode:03o}), and it holds a key or passwords' hashes"),
            format!("chmod o= {}", path.display()),
        ));
    }
    if let Some((_, Ok(file))) = &web.file {
        findings.extend(file.expiry.map(|expiry| certificate(expiry, now)));
    }
    findings
}

/// Who can connect, if it is known what they need then.
fn listens(web: &WebSeen, login: bool, tls: bool) -> Option<Finding> {
    let (area, subject) = (Area::Web, "listens on");
    let wide = web.listen.iter().map(String::as_str).filter(|at| is_wide(at));
    let wide = wide.collect::<Vec<_>>().join(", ");
    if wide.is_empty() {
        let text = format!("{}: this host only", web.listen.join(", "));
        return Some(Finding::ok(area, subject, text));
    }
    if matches!(&web.file, Some((_, Err(_)))) || login && tls {
        return None;
    }
    let (text, remedy) = if login {
        let remedy = "give web.config.file a certificate (tls_server_config)".to_owned();
        (
            format!("{wide}: passwords cross the network in plain text"),
            remedy,
        )
    } else {
        let default = if web.is_assumed { ", the default" } else { "" };
        let text =
            format!("{wide}{default}: everyone who can connect can read what it serves, without a login");
        (text, open_to_all(web.is_assumed))
    };
    Some(Finding::note(area, subject, text, remedy))
}

/// What to do where everyone can read what is served.
fn open_to_all(is_assumed: bool) -> String {
    let remedy = "--web.listen-address 127.0.0.1:9075, or a firewall, or logins (--web.config.file)";
    match is_assumed {
        true => format!("if the exporter has one of these flags, run doctor with it too; else: {remedy}"),
        false => remedy.to_owned(),
    }
}

fn certificate(expiry: SystemTime, now: DateTime<Utc>) -> Finding {
    let expiry = DateTime::<Utc>::from(expiry);
    let date = expiry.format("%Y-%m-%d %H:%M UTC");
    let days = (expiry - now).num_days();
    let remedy = "have it renewed; the exporter reads new files within 10 s, without a restart";
    if expiry <= now {
        Finding::problem(Area::Web, "certificate", format!("has expired on {date}"), remedy)
    } else if days < SOON_DAYS {
        Finding::problem(Area::Web, "certificate", format!("expires on {date}"), remedy)
    } else if days < LATER_DAYS {
        Finding::note(
            Area::Web,
            "certificate",
            format!("expires on {date}"),
            remedy.to_owned(),
        )
    } else {
        Finding::ok(Area::Web, "certificate", format!("valid until {date}"))
    }
}

/// Whether others than this host can connect to `HOST:PORT`. A name that is not known here counts.
fn is_wide(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host.parse::<std::net::IpAddr>().map(|ip| ip.is_loopback());
    !(host == "localhost" || loopback == Ok(true))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::cli::doctor::collected::WebFileSeen;
    use crate::cli::doctor::findings::Level::{self, Note, Ok as Good, Problem};

    const DAY: u64 = 24 * 3600;

    fn levels(web: &WebSeen) -> Vec<(Level, String)> {
        let findings = check(Some(web), DateTime::<Utc>::from(SystemTime::UNIX_EPOCH));
        findings.into_iter().map(|one| (one.level, one.text)).collect()
    }

    fn seen(listen: &str, knows_clients: bool, days: Option<u64>) -> WebSeen {
        let expiry = days.map(|days| SystemTime::UNIX_EPOCH + Duration::from_secs(days * DAY));
        let file = WebFileSeen {
            summary: "TLS".to_owned(),
            knows_clients,
            expiry,
        };
        WebSeen {
            listen: vec![listen.to_owned()],
            is_assumed: false,
            file: Some((PathBuf::from("web.yml"), Ok(file))),
            secret_files: Vec::new(),
        }
    }

    #[test]
    fn what_is_open_to_all_or_about_to_end_is_told() {
        assert!(check(None, Utc::now()).is_empty());
        let check = |web: &WebSeen, expected: &[(Level, &str)]| {
            let seen = levels(web);
            assert_eq!(seen.len(), expected.len(), "{seen:?}");
            for ((level, text), (expected, words)) in seen.iter().zip(expected) {
                assert!(level == expected && text.contains(words), "{seen:?}");
            }
        };
        let plain = |listen: &str| WebSeen {
            file: None,
            ..seen(listen, false, None)
        };
        check(&plain("127.0.0.1:9075"), &[(Good, "this host only")]);
        check(&plain("[::1]:9075"), &[(Good, "this host only")]);
        check(&plain("localhost:9075"), &[(Good, "this host only")]);
        for wide in [
            ":9075",
            "0.0.0.0:9075",
            "[::]:9075",
            "192.0.2.7:9075",
            "tor-a:9075",
        ] {
            check(&plain(wide), &[(Note, "without a login")]);
        }
        let assumed = WebSeen {
            is_assumed: true,
            ..plain(":9075")
        };
        check(&assumed, &[(Note, ":9075, the default: everyone")]);
        check(&seen(":1", true, None), &[(Good, "TLS"), (Note, "plain text")]);
        check(
            &seen(":1", false, Some(90)),
            &[(Good, "TLS"), (Note, "login"), (Good, "valid until")],
        );
        for (days, level, words) in [
            (0, Problem, "has expired"),
            (6, Problem, "expires on 1970-01-07"),
            (29, Note, "expires on"),
            (30, Good, "valid until"),
        ] {
            check(&seen(":1", true, Some(days)), &[(Good, "TLS"), (level, words)]);
        }
        let mut bad = seen(":1", true, None);
        bad.file = Some((PathBuf::from("web.yml"), Err("web.yml: a reason".to_owned())));
        check(&bad, &[(Problem, "a reason")]);
        let mut open = seen("localhost:1", true, None);
        let files = [("web.yml", 0o644), ("server.key", 0o640), ("other.key", 0o604)];
        open.secret_files = files.map(|(file, mode)| (file.into(), mode)).into();
        check(
            &open,
            &[
                (Good, "TLS"),
                (Good, "only"),
                (Problem, "mode 644"),
                (Problem, "mode 604"),
            ],
        );
    }
}
