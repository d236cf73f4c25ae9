//! Plain text or TLS: what rows and file require, and the result.

use super::*;
use crate::sonic::inventory::tests::config_db;

#[test]
fn grpcclient_tells_how_the_socs_are_spoken_to() {
    const CERTS: &str =
        "ca_crt=/c/ca.pem client_crt=/c/c.pem client_key=/c/c.key grpc_ssl_credential=soc.example";
    let check = |rows: &[(&str, &str)], expected: Option<Security>| {
        let expected = expected.map_or(GrpcSettings::Nothing, GrpcSettings::Settings);
        assert_eq!(by_rows(&config_db(rows)), expected, "{rows:?}");
    };
    let tls = |client: bool, name: Option<&str>| {
        Some(Security::Tls(TlsSettings {
            ca: "/c/ca.pem".into(),
            client: client.then(|| ClientIdentity {
                cert: "/c/c.pem".into(),
                key: "/c/c.key".into(),
            }),
            server_name: name.map(str::to_owned),
        }))
    };
    let name = Some("soc.example");
    check(&[], None);
    check(&[("GRPCCLIENT|certs", CERTS)], None);
    check(
        &[
            ("GRPCCLIENT|config", "auth_level=server"),
            ("GRPCCLIENT|certs", CERTS),
        ],
        None,
    );
    check(
        &[("GRPCCLIENT|config", "type=insecure auth_level=mutual")],
        Some(Security::Plain),
    );
    for (level, client) in [("server", false), ("mutual", true), ("client", true)] {
        let config = format!("type=secure auth_level={level}");
        check(
            &[("GRPCCLIENT|config", &config), ("GRPCCLIENT|certs", CERTS)],
            tls(client, name),
        );
        check(
            &[("GRPC_CLIENT|config", &config), ("GRPC_CLIENT|certs", CERTS)],
            tls(client, name),
        );
    }
    check(
        &[
            ("GRPCCLIENT|config", "type=secure"),
            ("GRPCCLIENT|certs", "ca_crt=/c/ca.pem"),
        ],
        tls(false, None),
    );
    // The deployed name wins.
    let both = [
        ("GRPCCLIENT|config", "type=insecure"),
        ("GRPC_CLIENT|config", "type=secure auth_level=server"),
        ("GRPC_CLIENT|certs", CERTS),
    ];
    check(&both, Some(Security::Plain));
}

#[test]
fn grpcclient_that_cannot_be_met_says_what_is_missing() {
    let check = |config: &str, certs: &str, named: &str| {
        let tables = config_db(&[("GRPCCLIENT|config", config), ("GRPCCLIENT|certs", certs)]);
        match by_rows(&tables) {
            GrpcSettings::Incomplete(why) | GrpcSettings::Wrong(why) => {
                assert!(why.contains(named), "{config}, {certs}: {why}");
            }
            other => panic!("{config}, {certs}: {other:?}"),
        }
    };
    check("type=secure", "x=y", "ca_crt");
    check(
        "type=secure",
        "ca_crt=/c/ca.pem grpc_ssl_credential=no!name",
        "grpc_ssl_credential",
    );
    check(
        "type=secure auth_level=mutual",
        "ca_crt=/c/ca.pem client_crt=/c/c.pem",
        "client_key",
    );
    check("type=secure auth_level=both", "ca_crt=/c/ca.pem", "auth_level");
    check("type=tls", "ca_crt=/c/ca.pem", "found \"tls\"");
    check("type=secure", "ca_crt=ca.pem", "expected an absolute path");
    let mut tables = Tables::new("|");
    tables.set("GRPCCLIENT|config".into(), Some(Entry::Value("x".into())));
    assert!(matches!(by_rows(&tables), GrpcSettings::Unreadable(_)));
}

const CERTS: &str = "ca_crt=/c/ca.pem";

fn tls() -> Option<Security> {
    Some(Security::Tls(TlsSettings {
        ca: "/c/ca.pem".into(),
        client: None,
        server_name: None,
    }))
}

/// One namespace, step by step: what its rows and the file require, and how its SoCs are then dialled.
struct Steps(Vec<ConfigDbCopy>);

impl Steps {
    fn new() -> Self {
        Self(vec![ConfigDbCopy::unread(&"".into())])
    }

    fn check(
        &mut self,
        rows: &[(&str, &str)],
        secrets: &Secrets,
        expected: Option<Security>,
    ) -> SecurityOrigin {
        self.0[0].tables = Some(config_db(rows));
        secure(&mut self.0, secrets);
        assert_eq!(self.0[0].secured.security, expected, "{rows:?} {secrets:?}");
        self.0[0].secured.origin.clone()
    }
}

fn file(json: &str) -> Secrets {
    Secrets::of(Path::new("/s.json"), Ok(json.as_bytes().to_vec()))
}

const SECURE: &[(&str, &str)] = &[
    ("GRPCCLIENT|config", "type=secure auth_level=server"),
    ("GRPCCLIENT|certs", CERTS),
];
const INSECURE: &[(&str, &str)] = &[("GRPCCLIENT|config", "type=insecure")];
const SECURE_FILE: &str =
    r#"{"GRPCCLIENT": {"config": {"type": "secure"}, "certs": {"ca_crt": "/c/ca.pem"}}}"#;
const INSECURE_FILE: &str = r#"{"GRPCCLIENT": {"config": {"type": "insecure"}}}"#;

#[test]
fn where_no_row_says_anything_the_file_counts() {
    let plain = Some(Security::Plain);
    let mut steps = Steps::new();
    assert_eq!(steps.check(&[], &Secrets::Absent, None), SecurityOrigin::Nowhere);
    assert_eq!(steps.check(&[], &file("{}"), None), SecurityOrigin::Nowhere);
    assert_eq!(steps.check(&[], &file(SECURE_FILE), tls()), SecurityOrigin::File);
    // A row without `type` counts as no row.
    let half = [("GRPCCLIENT|config", "log_level=debug")];
    assert_eq!(
        steps.check(&half, &file(SECURE_FILE), tls()),
        SecurityOrigin::File
    );
    assert_eq!(
        steps.check(INSECURE, &file(SECURE_FILE), plain.clone()),
        SecurityOrigin::Rows
    );
    assert_eq!(
        steps.check(SECURE, &file(INSECURE_FILE), tls()),
        SecurityOrigin::Rows
    );
    assert_eq!(
        steps.check(&[], &file(INSECURE_FILE), plain),
        SecurityOrigin::File
    );
}

#[test]
fn tls_ends_in_plain_text_only_where_rows_or_file_say_insecure() {
    let unread = Secrets::Unread("/s.json".into());
    let denied = Secrets::of(
        Path::new("/s.json"),
        Err(std::io::ErrorKind::PermissionDenied.into()),
    );
    let certs_only = [("GRPCCLIENT|certs", CERTS)];
    let config_only = [("GRPCCLIENT|config", "type=secure")];
    let no_type = [
        ("GRPCCLIENT|config", "auth_level=server"),
        ("GRPCCLIENT|certs", CERTS),
    ];
    let begin: [(&[(&str, &str)], Secrets); 2] = [(SECURE, Secrets::Absent), (&[], file(SECURE_FILE))];
    for (rows, secrets) in begin {
        let mut steps = Steps::new();
        steps.check(rows, &secrets, tls());
        for rows in [&[][..], &certs_only, &no_type] {
            for secrets in [&Secrets::Absent, &unread, &denied, &file("{}"), &file("{")] {
                let origin = steps.check(rows, secrets, tls());
                assert!(
                    matches!(origin, SecurityOrigin::Kept(_)),
                    "{rows:?} {secrets:?} {origin:?}"
                );
            }
        }
        assert!(matches!(
            steps.check(&config_only, &Secrets::Absent, tls()),
            SecurityOrigin::Kept(_)
        ));
        // A wrong value is reported to people, and does not mean plain text either.
        let wrong = [("GRPCCLIENT|config", "type=tls")];
        steps.0[0].tables = Some(config_db(&wrong));
        secure(&mut steps.0, &Secrets::Absent);
        assert!(matches!(steps.0[0].secured.security, Some(Security::Unusable(_))));
        steps.check(&[], &Secrets::Absent, tls());
        steps.check(INSECURE, &Secrets::Absent, Some(Security::Plain));
        // It was `insecure`: what follows does not count as TLS again.
        steps.check(&[], &Secrets::Absent, Some(Security::Plain));
    }
}

#[test]
fn a_file_that_is_there_and_cannot_be_used_is_no_plain_text() {
    for secrets in [
        Secrets::Unread("/s.json".into()),
        Secrets::of(
            Path::new("/s.json"),
            Err(std::io::ErrorKind::PermissionDenied.into()),
        ),
        file("{"),
    ] {
        let mut steps = Steps::new();
        steps.0[0].tables = Some(config_db(&[]));
        secure(&mut steps.0, &secrets);
        match &steps.0[0].secured.security {
            Some(Security::Unusable(why)) => assert!(why.starts_with("/s.json: "), "{why}"),
            other => panic!("{secrets:?}: {other:?}"),
        }
    }
}

/// Neither plain text nor TLS.
fn refused(steps: &Steps) -> bool {
    matches!(steps.0[0].secured.security, Some(Security::Unusable(_)))
}

#[test]
fn what_asked_for_tls_and_could_not_be_met_does_not_become_plain_text_when_it_vanishes() {
    let incomplete = [("GRPCCLIENT|config", "type=secure")];
    let relative = [
        ("GRPCCLIENT|config", "type=secure"),
        ("GRPCCLIENT|certs", "ca_crt=ca.pem"),
    ];
    let odd = [("GRPCCLIENT|config", "type=tls")];
    let by_rows: [(&[(&str, &str)], Secrets); 3] = [
        (&incomplete, Secrets::Absent),
        (&relative, Secrets::Absent),
        (&odd, Secrets::Absent),
    ];
    let by_file = [
        r#"{"GRPCCLIENT": {"config": {"type": "secure"}}}"#,
        r#"{"GRPCCLIENT": {"config": {"type": "tls"}}}"#,
    ];
    let by_file = by_file.map(|json| (&[][..], file(json)));
    for (rows, secrets) in by_rows.into_iter().chain(by_file) {
        for insecure_before in [false, true] {
            let mut steps = Steps::new();
            if insecure_before {
                steps.check(INSECURE, &Secrets::Absent, Some(Security::Plain));
            }
            for (rows, secrets) in [(rows, &secrets), (&[], &Secrets::Absent)] {
                steps.0[0].tables = Some(config_db(rows));
                secure(&mut steps.0, secrets);
                assert!(refused(&steps), "{rows:?} {secrets:?}: {:?}", steps.0[0].secured);
            }
            steps.check(SECURE, &Secrets::Absent, tls());
        }
    }
}

#[test]
fn a_file_that_nobody_has_looked_at_yet_has_asked_for_nothing() {
    let mut steps = Steps::new();
    steps.0[0].tables = Some(config_db(&[]));
    secure(&mut steps.0, &Secrets::Unread("/s.json".into()));
    assert!(refused(&steps));
    assert_eq!(steps.check(&[], &Secrets::Absent, None), SecurityOrigin::Nowhere);
}

#[test]
fn what_was_never_understood_and_vanishes_is_not_the_same_as_nothing_ever() {
    let denied = std::io::ErrorKind::PermissionDenied;
    for bad in [file("{"), Secrets::of(Path::new("/s.json"), Err(denied.into()))] {
        for (then, expected) in [(INSECURE_FILE, Some(Security::Plain)), (SECURE_FILE, tls())] {
            let mut steps = Steps::new();
            for secrets in [&bad, &Secrets::Absent, &file("{}"), &Secrets::Absent] {
                steps.0[0].tables = Some(config_db(&[]));
                secure(&mut steps.0, secrets);
                assert!(refused(&steps), "{secrets:?}: {:?}", steps.0[0].secured);
            }
            match &steps.0[0].secured.security {
                Some(Security::Unusable(why)) => assert!(
                    why.starts_with("the settings for plain text or TLS are gone")
                        && why.contains("/s.json: ")
                        && why.len() < 400,
                    "{why}"
                ),
                other => panic!("{other:?}"),
            }
            steps.check(&[], &file(then), expected);
        }
        // After `insecure`, plain text stays: nothing has required TLS.
        let mut steps = Steps::new();
        steps.check(INSECURE, &Secrets::Absent, Some(Security::Plain));
        steps.check(&[], &bad, Some(Security::Plain));
        steps.check(&[], &Secrets::Absent, Some(Security::Plain));
    }
}
