//! The cases about the file itself: the toolkit's own table, and what else may stand in a file.
//!
//! Where rustls lacks something (TLS 1.0 and 1.1, CBC suites, CurveP521), the contract lets a case differ; the rows say so.

use std::collections::BTreeMap;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;
use crate::web::tests::cases::{Cases, FILES};

/// Made by crypt(3): `alice123`, `dave123`, `colon:in:`, and no password at all.
pub(in crate::web) const HASHES: [(&str, &str); 4] = [
    (
        "alice",
        "$2b$04$abcdefghijklmnopqrstuuCiRP6uwuebOgMsb3sB1n0pjVVBf0O3K",
    ),
    (
        "dave",
        "$2y$04$abcdefghijklmnopqrstuuT.VdioudKiCP.wBnKnIyRNAu9yUSXv2",
    ),
    (
        "b",
        "$2a$04$abcdefghijklmnopqrstuusvrxwX8zbHl4JuDEbyXFOvLQ.kPI9oK",
    ),
    (
        "empty",
        "$2b$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq",
    ),
];

/// alice, dave, and b.
pub(in crate::web) fn users() -> Users {
    let users = HASHES[..3].iter();
    let users = users.map(|(user, hash)| ((*user).to_owned(), (*hash).to_owned()));
    Users::new(users.collect()).expect("good hashes")
}

/// Certificate and key in PEM.
fn pair() -> (String, String) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    (
        params.self_signed(&key).expect("a certificate").pem(),
        key.serialize_pem(),
    )
}

/// A directory with certificates.
struct Directory(BTreeMap<&'static str, String>);

impl Directory {
    fn new() -> Self {
        let ((cert, key), (ca, other)) = (pair(), pair());
        Self(BTreeMap::from([
            ("/etc/web/server.crt", cert),
            ("/etc/web/server.key", key),
            ("/etc/web/ca.crt", ca),
            ("/etc/web/other.key", other),
        ]))
    }

    fn parse(&self, text: &str) -> Result<WebConfig, String> {
        let mut read = |path: &Path| match self.0.get(path.to_str().expect("UTF-8")) {
            Some(content) => Ok(content.clone().into_bytes()),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let path = Path::new("/etc/web/web.yml");
        WebConfig::parse(text, path, None, &mut read).map_err(|error| error.to_string())
    }

    /// `keys` beside a good pair.
    fn tls(&self, keys: &str) -> Result<WebConfig, String> {
        self.parse(&with_pair(keys))
    }
}

fn with_pair(keys: &str) -> String {
    format!("tls_server_config: {{cert_file: server.crt, key_file: server.key, {keys}}}")
}

/// As one would write it inline.
fn inline(key: &str, pem: &str) -> String {
    let lines: String = pem.lines().map(|line| format!("    {line}\n")).collect();
    format!("  {key}: |\n{lines}")
}

#[test]
fn each_bad_file_is_refused_with_key_and_expectation() {
    let mut cases = Cases::of(FILES);
    let directory = Directory::new();
    let missing = WebFile::load(Path::new("/nowhere/web.yml")).expect_err("no file");
    assert!(missing.to_string().contains("cannot be read"), "{missing}");
    cases.held("file refused: it does not exist");
    let mut refused = |case: &str, text: &str, words: &[&str]| {
        let error = directory.parse(text).map(|_| ()).expect_err(case);
        for word in ["/etc/web/web.yml"].iter().chain(words) {
            assert!(error.contains(word), "{case}: {word} is not in {error:?}");
        }
        assert!(
            !error.contains("MII") && !error.contains("abcdefghij"),
            "a secret: {error}"
        );
        // The toolkit's table lacks some of ours.
        cases.held_if_known(&format!("file refused: {case}"));
    };
    let tls = "tls_server_config";
    refused(
        "not a mapping",
        "[a, b]",
        &["expected keys with values (KEY: VALUE)"],
    );
    refused("not a mapping", "[]", &["expected keys with values"]);
    refused("not a mapping", "text", &["expected keys with values"]);
    refused(
        "a section that is a list",
        "tls_server_config: [a]",
        &[tls, "expected keys with values"],
    );
    refused(
        "a list that is none",
        &with_pair("client_auth_type: RequestClientCert, client_allowed_sans: a"),
        &["client_allowed_sans", "expected a list"],
    );
    for value in ["\"yes\"", "1", "[true]"] {
        refused(
            "http2",
            &format!("http_server_config: {{http2: {value}}}"),
            &["http_server_config.http2", "expected true or false"],
        );
    }
    refused(
        "unknown key",
        "tls_server_config: {certfile: x}",
        &[tls, "certfile", "cert_file"],
    );
    refused(
        "unknown section",
        "tls_config: {}",
        &["tls_config", "tls_server_config"],
    );
    refused("unknown key", "http_server_config: {http3: true}", &["http3"]);
    refused("unknown key", "rate_limit: {every: 1s}", &["every"]);
    for (case, text, key) in [
        (
            "empty cert_file",
            "cert_file: '', key_file: server.key",
            "cert_file",
        ),
        ("empty cert", "cert: '', key_file: server.key", "cert_file"),
        (
            "empty key_file",
            "cert_file: server.crt, key_file: ''",
            "key_file",
        ),
        ("empty key", "cert_file: server.crt, key: ''", "key_file"),
        (
            "both empty, but client_auth_type",
            "cert_file: '', key_file: '', client_auth_type: RequireAnyClientCert",
            "cert_file",
        ),
        (
            "cert_file does not exist",
            "cert_file: none.crt, key_file: server.key",
            "none.crt",
        ),
        (
            "key_file does not exist",
            "cert_file: server.crt, key_file: none.key",
            "none.key",
        ),
        (
            "key of another certificate",
            "cert_file: server.crt, key_file: other.key",
            "another certificate",
        ),
        (
            "swapped",
            "cert_file: server.key, key_file: server.crt",
            "swapped",
        ),
        (
            "no PEM",
            "cert: text, key_file: server.key",
            "no certificate in PEM",
        ),
        (
            "both",
            "cert_file: server.crt, cert: text, key_file: server.key",
            "got both",
        ),
        (
            "not a string",
            "cert_file: [server.crt], key_file: server.key",
            "cert_file",
        ),
    ] {
        let text = format!("{tls}: {{{text}}}");
        refused(case, &text, &["tls_server_config.", key]);
    }
    for (case, keys, words) in [
        (
            "client_ca without a policy",
            "client_ca_file: ca.crt",
            "client_auth_type",
        ),
        (
            "client_ca without a policy",
            "client_ca_file: ca.crt, client_auth_type: NoClientCert",
            "client_auth_type",
        ),
        (
            "client_ca_file does not exist",
            "client_ca_file: none.crt, client_auth_type: RequireAndVerifyClientCert",
            "none.crt",
        ),
        (
            "a policy without client_ca",
            "client_auth_type: RequireAndVerifyClientCert",
            "client_ca_file",
        ),
        (
            "unknown client_auth_type",
            "client_auth_type: Verify",
            "RequireAndVerifyClientCert",
        ),
        (
            "SANs without verification",
            "client_allowed_sans: [a], client_auth_type: RequireAnyClientCert",
            "client_allowed_sans",
        ),
        (
            "SANs without a policy",
            "client_allowed_sans: [a]",
            "client_allowed_sans",
        ),
        ("unknown cipher", "cipher_suites: [TLS_NONE]", "cipher_suites"),
        (
            "a cipher without forward secrecy",
            "cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256]",
            "cipher_suites",
        ),
        (
            "unknown curve",
            "curve_preferences: [CurveP999]",
            "curve_preferences",
        ),
        ("unknown TLS version", "min_version: TLS14", "min_version"),
        ("unknown TLS version", "max_version: SSL30", "max_version"),
        // rustls has neither.
        ("only what there is not", "max_version: TLS11", "max_version"),
        (
            "only what there is not",
            "curve_preferences: [CurveP521]",
            "CurveP521",
        ),
        (
            "only what there is not",
            "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]",
            "not supported",
        ),
        (
            "min over max",
            "min_version: TLS13, max_version: TLS12",
            "max_version",
        ),
    ] {
        refused(case, &with_pair(keys), &[tls, words]);
    }
    let http2 = "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]";
    refused(
        "http2 without its mandatory suite",
        &with_pair(http2),
        &["HTTP/2"],
    );
    refused(
        "not a bcrypt hash",
        "basic_auth_users: {alice: secret}",
        &["basic_auth_users.alice", "bcrypt"],
    );
    refused(
        "another prefix",
        &format!("basic_auth_users: {{a: {}}}", HASHES[0].1.replace("$2b", "$2c")),
        &["bcrypt"],
    );
    for nothing in ["null", "~", ""] {
        refused(
            "a user without a hash",
            &format!("basic_auth_users: {{a: {nothing}}}"),
            &["web.yml:1: basic_auth_users.a: expected a text, got null"],
        );
    }
    refused("a short hash", "basic_auth_users: {a: $2b$04$abc}", &["bcrypt"]);
    refused(
        "a cost of hours",
        &format!("basic_auth_users: {{a: {}}}", HASHES[0].1.replace("$04", "$31")),
        &["cost"],
    );
    refused(
        "a string for a mapping",
        &format!("basic_auth_users: {}", HASHES[0].1),
        &["basic_auth_users"],
    );
    refused(
        "a colon in a name",
        &format!("basic_auth_users: {{'a:b': {}}}", HASHES[0].1),
        &["colon"],
    );
    let headers = "http_server_config.headers";
    for (case, header, words) in [
        (
            "X-Content-Type-Options value",
            "X-Content-Type-Options: sniff",
            "nosniff",
        ),
        (
            "X-Frame-Options value",
            "X-Frame-Options: allow",
            "deny or sameorigin",
        ),
        ("header not on the list", "Server: x", "Strict-Transport-Security"),
        ("two lines", "X-XSS-Protection: \"a\\nb\"", "one line"),
    ] {
        refused(
            case,
            &format!("http_server_config: {{headers: {{{header}}}}}"),
            &[headers, words],
        );
    }
    for value in ["-1s", "1", "often"] {
        refused(
            "interval",
            &format!("rate_limit: {{interval: {value}}}"),
            &["rate_limit.interval: expected a duration of 0 or more", value],
        );
    }
    refused(
        "interval",
        "rate_limit: {interval: 100000h}",
        &["rate_limit.interval: expected at most a year"],
    );
    for value in ["-1", "1.5", "many", "4294967296"] {
        refused(
            "burst",
            &format!("rate_limit: {{interval: 1s, burst: {value}}}"),
            &["rate_limit.burst: expected a whole number", value],
        );
    }
    // It would answer 429 to everything.
    refused(
        "no burst",
        "rate_limit: {interval: 1s}",
        &["rate_limit.burst: expected a whole number"],
    );
    cases.end();
}

#[test]
fn each_good_file_is_accepted() {
    let directory = Directory::new();
    for text in [
        "",
        "{}",
        "# nothing",
        "tls_server_config:",
        "tls_server_config: {}\nrate_limit:\nbasic_auth_users: {}",
    ] {
        let config = directory
            .parse(text)
            .unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert!(
            config.tls.is_none() && config.users.len() == 0 && config.rate.is_none(),
            "{text:?}"
        );
    }
    let notes = |keys: &str| {
        let config = directory
            .tls(keys)
            .unwrap_or_else(|error| panic!("{keys}: {error}"));
        assert!(config.tls.is_some(), "{keys}");
        config.notes.len()
    };
    let gcm = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    for keys in [
        "",
        "client_auth_type: NoClientCert",
        "client_auth_type: RequestClientCert",
        "client_auth_type: RequireClientCert",
        "client_ca_file: ca.crt, client_auth_type: VerifyClientCertIfGiven",
        "client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [a]",
        "prefer_server_cipher_suites: true",
        "curve_preferences: [CurveP256, CurveP384, X25519]",
        &format!(
            "cipher_suites: [{gcm}, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_AES_128_GCM_SHA256]"
        ),
        "cipher_suites: [TLS_AES_128_GCM_SHA256], min_version: TLS13",
        "min_version: TLS12, max_version: TLS13",
    ] {
        assert_eq!(notes(keys), 0, "{keys}");
    }
    // What rustls lacks beside what it has is accepted, with one line about it.
    for keys in [
        "min_version: TLS10",
        "curve_preferences: [CurveP521, CurveP256]",
        &format!("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, {gcm}]"),
    ] {
        assert_eq!(notes(keys), 1, "{keys}");
    }
    let (cert, key) = (
        &directory.0["/etc/web/server.crt"],
        &directory.0["/etc/web/server.key"],
    );
    let text = format!(
        "tls_server_config:\n{}{}",
        inline("cert", cert),
        inline("key", key)
    );
    assert!(directory.parse(&text).expect("inline").tls.is_some());
    let text = with_pair("").replace("server.", "/etc/web/server.");
    assert!(directory.parse(&text).expect("absolute paths").tls.is_some());
}

#[test]
fn the_documented_example_is_good() {
    let mut directory = Directory::new();
    let ca = directory.0["/etc/web/ca.crt"].clone();
    directory.0.insert("/etc/web/clients-ca.crt", ca);
    let config = directory.parse(include_str!("../../../docs/web.yml"));
    let config = config.unwrap_or_else(|error| panic!("docs/web.yml: {error}"));
    assert_eq!(config.to_string(), "TLS with client certificates, 1 user");
    let (_, alice) = config.users.hash_of("alice");
    assert!(alice.is_of(b"alice123"));
}

#[test]
fn what_the_file_has_is_what_is_used() {
    let directory = Directory::new();
    let text = "http_server_config: {http2: false, headers: {X-Frame-Options: deny}}\nrate_limit: {interval: 1m30s, burst: 7}";
    let config = directory.parse(text).expect("good");
    assert!(!config.http2);
    assert_eq!(config.headers.len(), 1);
    let (interval, burst) = (Duration::from_secs(90), 7);
    assert_eq!(config.rate, Some(RateLimit { interval, burst }));
    assert_eq!(
        directory
            .parse("rate_limit: {interval: 0s, burst: 7}")
            .expect("good")
            .rate,
        None
    );
    let config = directory.tls("").expect("good");
    let tls = config.tls.as_ref().expect("TLS");
    assert_eq!(tls.config.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
    assert!(config.certificate_expiry().is_some());
    assert!(!config.is_like(&directory.parse("").expect("good")));
}

#[test]
fn hashes_of_other_programs_are_understood() {
    let passwords = ["alice123", "dave123", "colon:in:", ""];
    let users = HASHES.map(|(user, hash)| (user.to_owned(), hash.to_owned()));
    let users = Users::new(users.into()).expect("good hashes");
    for ((user, _), own) in HASHES.iter().zip(passwords) {
        for password in passwords {
            let (known, hash) = users.hash_of(user);
            assert_eq!(
                (known, hash.is_of(password.as_bytes())),
                (true, password == own),
                "{user}"
            );
        }
    }
    let (known, nobody) = users.hash_of("nobody");
    assert!(!known && !nobody.is_of(b"") && !nobody.is_of(b"fakepassword"));
    let long = "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";
    let users = Users::new([("a".to_owned(), long.to_owned())].into()).expect("good");
    assert!(users.hash_of("a").1.is_of(&[b'x'; 72]), "bcrypt reads 72 bytes");
    assert!(!users.hash_of("a").1.is_of(&[b'x'; 71]));
    assert_eq!(format!("{users:?}").matches("<secret>").count(), 2);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", keys in "[a-z_: {}\\[\\],$0-9\n-]{0,200}") {
        let directory = Directory(BTreeMap::new());
        let _ = directory.parse(&text);
        let _ = directory.parse(&format!("tls_server_config: {{{keys}}}"));
        let _ = directory.parse(&format!("basic_auth_users: {{{text}}}"));
    }
}
