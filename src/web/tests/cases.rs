//! The cases of the exporter-toolkit's own table (v0.20.0) by their names, and which test holds which of them.

use std::collections::BTreeSet;

/// One name a line.
const NAMES: &str = include_str!("toolkit_cases.txt");

/// What the names of a test's cases begin with.
pub(in crate::web) type Beginnings = &'static [&'static str];

pub(in crate::web) const FILES: Beginnings = &["file refused: "];
pub(super) const PLAIN: Beginnings = &["works: empty file", "no file: "];
pub(super) const PAIRS: Beginnings = &[
    "works: cert",
    "works: relative",
    "works: RSA",
    "plain HTTP to a TLS port",
];
pub(super) const VERSIONS: Beginnings = &[
    "TLS 1.",
    "min_version",
    "max_version",
    "works: min_version",
    "works: all AEAD",
    "works: CBC",
    "works: prefer_",
    "works: curve",
    "suites: ",
    "curves: ",
];
pub(super) const ALPN: Beginnings = &["ALPN ", "http2: "];
pub(super) const CLIENTS: Beginnings = &[
    "NoClientCert: ",
    "Request",
    "Require",
    "VerifyClientCertIfGiven: ",
    "self-signed certificate",
    "allowed SAN",
    "no allowed SAN",
];
pub(super) const LOGINS: Beginnings = &["auth, ", "auth: another scheme", "auth: bad base64"];
pub(super) const REMEMBERED: Beginnings = &[
    "auth: a right password",
    "auth: 'fakepassword'",
    "auth: the cache",
];
pub(super) const HEADERS: Beginnings = &["headers: "];
pub(super) const RATE: Beginnings = &["rate: "];
pub(super) const NEW_USERS: Beginnings = &["reload: a new user", "reload: the removed one"];
pub(super) const NEW_CERTIFICATES: Beginnings = &[
    "reload: a new certificate",
    "reload: the certificate's file",
    "reload: client certificates",
];
const ALL: [Beginnings; 12] = [
    FILES,
    PLAIN,
    PAIRS,
    VERSIONS,
    ALPN,
    CLIENTS,
    LOGINS,
    REMEMBERED,
    HEADERS,
    RATE,
    NEW_USERS,
    NEW_CERTIFICATES,
];

/// The cases that a test must hold.
pub(in crate::web) struct Cases(BTreeSet<&'static str>);

impl Cases {
    pub(in crate::web) fn of(beginnings: Beginnings) -> Self {
        let is_ours = |name: &&str| beginnings.iter().any(|begin| name.starts_with(begin));
        Self(NAMES.lines().filter(is_ours).collect())
    }

    /// This one has held.
    pub(in crate::web) fn held(&mut self, name: &str) {
        assert!(NAMES.lines().any(|one| one == name), "no such case: {name}");
        self.0.remove(name);
    }

    /// The same, or it is one of our own.
    pub(in crate::web) fn held_if_known(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// All must have held.
    pub(in crate::web) fn end(self) {
        assert!(self.0.is_empty(), "cases that were not tried: {:#?}", self.0);
    }
}

#[test]
fn each_case_is_one_tests() {
    assert_eq!(NAMES.lines().count(), 125);
    for name in NAMES.lines() {
        let tests = ALL.iter().filter(|of| Cases::of(of).0.contains(name)).count();
        assert_eq!(tests, 1, "{name}");
    }
}
