//! Which client certificates are accepted.

use super::cases::{CLIENTS, Cases};
use super::site::{Client, MUTUAL, OF_12, OF_13, PAIR, Pems, Site, inline, tls};
use crate::web::Limits;

/// Whether a client is let in without a certificate, with one of the CA, with one that signed itself.
type Expected = (bool, bool, bool);

async fn check(cases: &mut Cases, name: Option<&str>, site: &Site, expected: Expected) {
    for base in [OF_12, OF_13] {
        let with = |identity| Client { identity, ..base };
        let seen = (
            site.lets_in(with(None)).await,
            site.lets_in(with(Some(&site.client))).await,
            site.lets_in(with(Some(&site.stranger))).await,
        );
        assert_eq!(seen, expected, "{name:?}");
    }
    let Some(name) = name else { return };
    let (none, client, stranger) = expected;
    for (who, let_in) in [("no", none), ("client", client), ("stranger", stranger)] {
        let outcome = if let_in { "works" } else { "fails" };
        cases.held(&format!("{name}: {who} certificate {outcome}"));
    }
}

#[tokio::test]
async fn client_certificates_are_asked_for_as_the_policy_says() {
    let mut cases = Cases::of(CLIENTS);
    let san = |san: &str| format!("{MUTUAL}, client_allowed_sans: [{san}]");
    let (all, only_client) = ((true, true, true), (false, true, false));
    for (name, keys, expected) in [
        (Some("NoClientCert"), "client_auth_type: NoClientCert", all),
        (
            Some("RequestClientCert"),
            "client_auth_type: RequestClientCert",
            all,
        ),
        (
            Some("RequireAnyClientCert"),
            "client_auth_type: RequireAnyClientCert",
            (false, true, true),
        ),
        (
            Some("RequireClientCert (old name)"),
            "client_auth_type: RequireClientCert",
            (false, true, true),
        ),
        (
            Some("VerifyClientCertIfGiven"),
            "client_ca_file: ca.crt, client_auth_type: VerifyClientCertIfGiven",
            (true, true, false),
        ),
        (Some("RequireAndVerifyClientCert"), MUTUAL, only_client),
        (
            Some("self-signed certificate in client_ca_file"),
            "client_ca_file: stranger.crt, client_auth_type: RequireAndVerifyClientCert",
            (false, false, true),
        ),
        (Some("allowed SAN, DNS"), &san("other, localhost"), only_client),
        (Some("allowed SAN, e-mail"), &san("ops@example.org"), only_client),
        (
            Some("allowed SAN, URI"),
            &san("'spiffe://example.org/prometheus'"),
            only_client,
        ),
        (Some("allowed SAN, IP"), &san("192.0.2.7"), only_client),
        (Some("no allowed SAN"), &san("example.org"), (false, false, false)),
        // Not in the toolkit's table.
        (None, &san("LOCALHOST"), (false, false, false)),
        (None, &san(""), (false, false, false)),
    ] {
        let site = Site::start(&tls(keys)).await;
        check(&mut cases, name, &site, expected).await;
    }
    let pems = Pems::new();
    let ca = inline("client_ca", &pems.ca.cert);
    let text = format!(
        "tls_server_config:\n{}  client_auth_type: RequireAndVerifyClientCert\n{ca}",
        PAIR.replace(", ", "\n")
            .lines()
            .map(|line| format!("  {line}\n"))
            .collect::<String>()
    );
    let site = Site::of(&text, Limits::default(), pems).await;
    let name = "RequireAndVerify, client_ca inline";
    check(&mut cases, Some(name), &site, only_client).await;
    cases.end();
}
