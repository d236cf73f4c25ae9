//! Certificates for tests: made for each test, written as the PEM files of a SoC and of the exporter.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dualtor_sim::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SanType, SigningKey as _, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use x509_cert::der::asn1::BitString;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::{Certificate, Version};

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub struct Pem {
    pub cert: String,
    pub key: String,
}

/// A CA that signs certificates.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub cert: String,
}

/// The years in which a certificate is valid, from New Year to New Year.
pub type Years = (i32, i32);
/// Every test runs in one of these years.
pub const VALID: Years = (2020, 2090);
pub const EXPIRED: Years = (2020, 2021);
pub const NOT_YET: Years = (2090, 2091);

/// The Unix time at which a year begins, in seconds.
pub fn new_year(year: i32) -> f64 {
    date_time_ymd(year, 1, 1).unix_timestamp() as f64
}

/// A client that trusts this certificate, speaks this protocol and has no certificate itself.
pub fn client(trusted: CertificateDer<'static>, protocol: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

fn params(name: &str, (from, to): Years) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    params
}

impl Ca {
    pub fn new(name: &str, years: Years) -> Self {
        let mut params = params(name, years);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            cert,
        }
    }

    /// Its certificate in DER.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("PEM")
    }

    /// A certificate for a SoC at 127.0.0.1.
    pub fn soc(&self, years: Years) -> Pem {
        self.server(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()), years)
    }

    /// A certificate for a SoC with a DNS name.
    pub fn named(&self, name: &str) -> Pem {
        self.server(SanType::DnsName(name.try_into().expect("a name")), VALID)
    }

    fn server(&self, name: SanType, years: Years) -> Pem {
        let mut params = params("soc", years);
        params.subject_alt_names.push(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    /// An intermediate CA's certificate, signed by this CA, for 127.0.0.1.
    pub fn intermediate(&self) -> Pem {
        let mut params = params("another CA", VALID);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .subject_alt_names
            .push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        self.sign(&params)
    }

    /// Another CA, signed by this one.
    pub fn below(&self, name: &str, years: Years) -> Self {
        self.below_with(name, years, Vec::new())
    }

    /// A CA with a critical extension that no program knows.
    pub fn odd_below(&self, name: &str) -> Self {
        let mut extension =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![0x05, 0x00]);
        extension.set_criticality(true);
        self.below_with(name, VALID, vec![extension])
    }

    fn below_with(&self, name: &str, years: Years, extensions: Vec<CustomExtension>) -> Self {
        let mut params = params(name, years);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.custom_extensions = extensions;
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            cert,
        }
    }

    /// The exporter's own certificate, of X.509 version 1, as a plain `openssl x509 -req` makes it.
    pub fn client_of_version_1(&self) -> Pem {
        let Pem { cert, key } = self.client(VALID);
        let der = CertificateDer::from_pem_slice(cert.as_bytes()).expect("PEM");
        let mut content = Certificate::from_der(&der).expect("a certificate");
        content.tbs_certificate.version = Version::V1;
        content.tbs_certificate.extensions = None;
        let signed = content.tbs_certificate.to_der().expect("DER");
        let signature = self.issuer.key().sign(&signed).expect("a signature");
        content.signature = BitString::from_bytes(&signature).expect("bits");
        let cert = pem("CERTIFICATE", &content.to_der().expect("DER"));
        Pem { cert, key }
    }

    /// The exporter's own certificate.
    pub fn client(&self, years: Years) -> Pem {
        let mut params = params("dualtor-exporter", years);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pem {
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pem {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A SoC's self-signed certificate that is marked as a CA, as `openssl req -x509` makes it.
pub fn self_signed(years: Years) -> Pem {
    let mut params = params("soc", years);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .subject_alt_names
        .push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    let key = KeyPair::generate().expect("a key");
    Pem {
        cert: params.self_signed(&key).expect("a certificate").pem(),
        key: key.serialize_pem(),
    }
}

/// One block of PEM.
pub fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 bytes make a line of 64 characters.
    for line in der.chunks(48) {
        for chunk in line.chunks(3) {
            let filled = [&[0], chunk, &[0; 2][..3 - chunk.len()]].concat();
            let number = u32::from_be_bytes(filled.try_into().expect("4 bytes"));
            for place in 0..4 {
                let digit = DIGITS[(number >> (18 - 6 * place)) as usize & 63];
                text.push(if place <= chunk.len() { digit.into() } else { '=' });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// A directory of PEM files.
pub struct Files(tempfile::TempDir);

impl Files {
    #[allow(clippy::new_without_default)] // It writes to the disk.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file atomically, as a rotation of certificates should.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        static WRITTEN: AtomicU32 = AtomicU32::new(0);
        let whole = self.path(&format!("{}.new", WRITTEN.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&whole, text).expect("written");
        let path = self.path(name);
        std::fs::rename(&whole, &path).expect("renamed");
        path
    }

    /// A SoC that serves with this certificate and asks for none.
    pub fn soc(&self, pem: &Pem) -> Tls {
        Tls {
            cert: self.write("soc.crt", &pem.cert),
            key: self.write("soc.key", &pem.key),
            ..Tls::default()
        }
    }

    /// Our own certificate: `client.crt` and `client.key`.
    pub fn client(&self, pem: &Pem) {
        self.write("client.crt", &pem.cert);
        self.write("client.key", &pem.key);
    }

    /// `channel.tls` with the CA in the file `ca.crt`, and more keys.
    pub fn verify(&self, more: &str) -> String {
        format!("tls: {{ca: \"{}\"{more}}}", show(&self.path("ca.crt")))
    }

    /// The same with a client certificate.
    pub fn mutual(&self, more: &str) -> String {
        let (cert, key) = (self.path("client.crt"), self.path("client.key"));
        self.verify(&format!(
            ", cert: \"{}\", key: \"{}\"{more}",
            show(&cert),
            show(&key)
        ))
    }
}

fn show(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}
