//! PEM files, block by block: what is in one, and what is wrong with it, for people. rustls reads the blocks that it knows and
//! silently ignores the rest; here everything that is ignored is reported.
//!
//! Some things are accepted on purpose although rustls would not accept them: a byte order mark, blanks before a marker, blocks
//! without a line break between them (`cat` of files that do not end with one), and OpenSSL's other two labels for
//! certificates. No message quotes the content of a block: one of them is a private key.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::x509;
use crate::model::text::clean;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// OpenSSL's labels for certificates: the present one, an old one, and one with trust settings after the certificate.
const CERTIFICATES: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", TRUSTED];
const TRUSTED: &str = "TRUSTED CERTIFICATE";
const KEY: &str = "PRIVATE KEY";
/// Such blocks are normal beside keys and certificates, so they are not reported.
const PARAMETERS: &str = "PARAMETERS";
/// How much of a label is quoted, in characters. OpenSSL's longest labels are shorter.
const MAX_LABEL: usize = 40;

/// One block.
pub(super) struct Block {
    label: String,
    /// The number of its first line in the file.
    line: usize,
    /// The text between its markers.
    body: String,
}

impl Block {
    fn is_certificate(&self) -> bool {
        CERTIFICATES.contains(&&*self.label)
    }

    fn is_key(&self) -> bool {
        self.label.ends_with(KEY)
    }

    fn is_encrypted(&self) -> bool {
        self.label.starts_with("ENCRYPTED ") || self.body.contains(",ENCRYPTED")
    }

    /// In the form that rustls reads.
    fn as_text(&self, label: &str) -> String {
        format!("{BEGIN}{label}{DASHES}\n{}{END}{label}{DASHES}\n", self.body)
    }
}

/// Splits a file into its blocks. Also returns the lines that look like the beginning of a block but are not.
fn blocks(bytes: &[u8]) -> Result<(Vec<Block>, Vec<usize>), String> {
    if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return Err("is text in UTF-16: save it as UTF-8".to_owned());
    }
    // A byte order mark is at the start of a file, or in the middle of two that were joined.
    let text = String::from_utf8_lossy(bytes).replace('\u{feff}', "");
    if !text.contains(BEGIN) && bytes.first() == Some(&0x30) {
        let convert = "`openssl x509 -inform der` or `openssl pkey -inform der` converts it";
        return Err(format!("seems to be DER, not PEM: {convert}"));
    }
    let text = text.replace(&format!("{DASHES}{BEGIN}"), &format!("{DASHES}\n{BEGIN}"));
    let (mut blocks, mut stray) = (Vec::new(), Vec::new());
    let mut open: Option<Block> = None;
    // Any of the three line endings, as in rustls and OpenSSL.
    for (n, line) in text.replace("\r\n", "\n").split(['\n', '\r']).enumerate() {
        let (line, number) = (line.trim(), n + 1);
        if let Some(label) = line.strip_prefix(BEGIN) {
            if let Some(block) = open {
                return Err(without_end(&block));
            }
            let Some(label) = label.strip_suffix(DASHES) else {
                return Err(format!(
                    "is not complete PEM: line {number} begins a block, but not as the whole of a line"
                ));
            };
            open = Some(Block {
                label: clean(label, MAX_LABEL),
                line: number,
                body: String::new(),
            });
        } else if let Some(end) = line.strip_prefix(END) {
            let block = open.take().ok_or_else(|| {
                format!("is not complete PEM: line {number} ends a block that has not begun")
            })?;
            if end
                .strip_suffix(DASHES)
                .map(|label| clean(label, MAX_LABEL))
                .as_ref()
                != Some(&block.label)
            {
                return Err(without_end(&block));
            }
            blocks.push(block);
        } else if let Some(block) = &mut open {
            block.body.push_str(line);
            block.body.push('\n');
        } else if line.contains(BEGIN) {
            stray.push(number);
        }
    }
    match open {
        Some(block) => Err(without_end(&block)),
        None => Ok((blocks, stray)),
    }
}

fn without_end(block: &Block) -> String {
    format!(
        "is not complete PEM: the {} that begins in line {} has no end",
        block.label, block.line
    )
}

/// The content of a file for certificates.
#[derive(Debug)]
pub(super) struct Certificates {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// For people: what was left out or not read.
    pub(super) notes: Vec<String>,
}

/// The certificates of a file, in its order. At least one.
pub(super) fn certificates(bytes: &[u8]) -> Result<Certificates, String> {
    let (blocks, stray) = blocks(bytes)?;
    let mut certificates = Vec::new();
    let stray = stray.iter();
    let mut notes: Vec<String> = stray
        .map(|line| format!("line {line} begins a block in its middle and is ignored"))
        .collect();
    for block in &blocks {
        let (label, line) = (&block.label, block.line);
        if block.is_certificate() {
            let der = CertificateDer::from_pem_slice(block.as_text(CERTIFICATES[0]).as_bytes())
                .map_err(|_| format!("the {label} in line {line} is not base64"))?;
            let der = x509::whole(&der).ok_or_else(|| {
                format!("the {label} in line {line} is not a certificate, or only a part of one")
            })?;
            if label == TRUSTED {
                notes.push(format!(
                    "the {label} in line {line} is used without its trust settings"
                ));
            }
            certificates.push(CertificateDer::from(der.to_vec()));
        } else if !block.is_key() && !label.ends_with(PARAMETERS) {
            notes.push(format!(
                "the {label} in line {line} is not a certificate and is ignored"
            ));
        }
    }
    if certificates.is_empty() {
        return Err(format!("holds no certificate in PEM{}", instead(&blocks)));
    }
    Ok(Certificates { certificates, notes })
}

/// The first private key of a file.
pub(super) fn key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let (blocks, _) = blocks(bytes)?;
    let Some(block) = blocks.iter().find(|block| block.is_key()) else {
        return Err(format!("holds no private key in PEM{}", instead(&blocks)));
    };
    let line = block.line;
    if block.is_encrypted() {
        return Err(format!(
            "the private key in line {line} is encrypted, and the exporter cannot ask for its passphrase: `openssl pkey` decrypts it"
        ));
    }
    PrivateKeyDer::from_pem_slice(block.as_text(&block.label).as_bytes()).map_err(|_| {
        format!(
            "holds no whole private key in PEM: the {} in line {line} is none (PKCS #8, PKCS #1 and SEC 1 are read)",
            block.label
        )
    })
}

/// What the file has instead.
fn instead(blocks: &[Block]) -> String {
    let labels: Vec<&str> = blocks.iter().map(|block| &*block.label).collect();
    let all = |of: fn(&Block) -> bool| !blocks.is_empty() && blocks.iter().all(of);
    match labels.first() {
        None => String::new(),
        Some(_) if all(|block| block.is_key() || block.label.ends_with(PARAMETERS)) => {
            ", but a private key: are the files of certificate and key swapped?".to_owned()
        }
        Some(_) if all(Block::is_certificate) => {
            ", but certificates: are the files of certificate and key swapped?".to_owned()
        }
        Some(&"CERTIFICATE REQUEST" | &"NEW CERTIFICATE REQUEST") => {
            ", but a certificate request, which a CA must sign first".to_owned()
        }
        Some(&"PKCS7") => ", but PKCS7: `openssl pkcs7 -print_certs` converts it".to_owned(),
        Some(first) => format!(", but {first}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    /// Two certificates and a key, as PEM.
    fn files() -> (String, String, String) {
        let pair = || generate_simple_self_signed(["soc".to_owned()]).expect("a pair");
        let CertifiedKey { cert, signing_key } = pair();
        (cert.pem(), pair().cert.pem(), signing_key.serialize_pem())
    }

    /// How many certificates there are, and what is reported about the rest.
    fn read(text: &str) -> Result<(usize, Vec<String>), String> {
        certificates(text.as_bytes()).map(|found| (found.certificates.len(), found.notes))
    }

    #[test]
    fn what_others_write_into_pem_files_is_read() {
        let (one, two, _) = files();
        let both = format!("{one}{two}");
        let check = |what: &str, text: String| assert_eq!(read(&text), Ok((2, vec![])), "{what}");
        check("two", both.clone());
        check("a byte order mark", format!("\u{feff}{both}"));
        check("two of them", format!("\u{feff}{one}\u{feff}{two}"));
        check("Windows", both.replace('\n', "\r\n"));
        check("an old Macintosh", both.replace('\n', "\r"));
        check("text around", format!("CN=soc\n{one}\nissuer: CA\n{two}# end\n"));
        check("indented", both.replace('\n', "\n    "));
        check("blank ends of lines", both.replace('\n', " \t\n"));
        check(
            "no line break between",
            format!("{}{}", one.trim_end(), two.trim_end()),
        );
        check("an old label", both.replace(" CERTIFICATE", " X509 CERTIFICATE"));
        check("a key beside", {
            let (_, _, key) = files();
            format!("{key}{both}")
        });
    }

    #[test]
    fn what_openssl_trusts_in_its_own_form_is_read_without_the_trust() {
        let (one, two, _) = files();
        let der = CertificateDer::from_pem_slice(one.as_bytes()).expect("a certificate");
        // SEQUENCE { SEQUENCE { serverAuth } }, as `openssl x509 -addtrust serverAuth` writes it after the certificate.
        let trust = [0x30, 0x0c, 0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 1];
        let mut long = der.to_vec();
        long.extend(trust);
        let text = format!(
            "-----BEGIN TRUSTED CERTIFICATE-----\n{}\n-----END TRUSTED CERTIFICATE-----\n{two}",
            base64(&long)
        );
        let found = certificates(text.as_bytes()).expect("two certificates");
        assert_eq!(found.certificates.len(), 2);
        assert_eq!(found.certificates[0], der);
        assert!(found.notes[0].contains("line 1") && found.notes[0].contains("trust settings"));
    }

    /// One long line: both readers accept it.
    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let n = chunk.iter().fold(0u32, |n, byte| n << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for place in 0..4 {
                let digit = DIGITS[(n >> (18 - 6 * place)) as usize & 63];
                text.push(if place <= chunk.len() { digit.into() } else { '=' });
            }
        }
        text
    }

    #[test]
    fn what_is_left_out_is_said() {
        let (one, _, _) = files();
        let check = |text: String, expected: &str| {
            let (count, notes) = read(&text).expect("a certificate");
            assert_eq!((count, notes.len()), (1, 1), "{notes:?}");
            assert!(notes[0].contains(expected), "{notes:?}");
        };
        check(
            format!("{one}-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"),
            "the X509 CRL in line",
        );
        check(
            format!("{one}text {}", one.trim_end().replace('\n', " ")),
            "in its middle",
        );
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        let (one, two, key) = files();
        let lines = one.lines().count();
        let check = |what: &str, text: &str, expected: &str| {
            let why = read(text).expect_err(what);
            assert!(why.contains(expected), "{what}: {why}");
            assert!(!why.contains("MII"), "{why}");
        };
        let cut = &two[..two.len() / 2];
        let second = format!("the CERTIFICATE that begins in line {} has no end", lines + 1);
        check("cut", &format!("{one}{cut}"), &second);
        check(
            "cut in the middle",
            &format!("{cut}\n{one}"),
            "begins in line 1 has no end",
        );
        check(
            "no beginning",
            &one.replace("-----BEGIN", "-----BEGUN"),
            "ends a block that has not begun",
        );
        check(
            "another end",
            &one.replace("END CERT", "END X509 CERT"),
            "has no end",
        );
        check("one line", &one.replace('\n', "\\n"), "line 1 begins a block");
        check("no base64", &one.replace("MII", "M!!"), "line 1 is not base64");
        check(
            "is not a certificate",
            "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----",
            "is not a certificate",
        );
        check("empty", "", "holds no certificate in PEM");
        check("words", "no such file", "holds no certificate in PEM");
        check("a key", &key, "but a private key: are the files");
        let request = one.replace("CERTIFICATE", "CERTIFICATE REQUEST");
        check("a request", &request, "a certificate request");
        check("PKCS7", &one.replace("CERTIFICATE", "PKCS7"), "openssl pkcs7");
        check(
            "another",
            &one.replace("CERTIFICATE", "PGP MESSAGE"),
            "but PGP MESSAGE",
        );
        check(
            "control characters",
            &one.replace("CERTIFICATE", "PGP\u{202e}X"),
            "but PGP\u{fffd}X",
        );
        let der = CertificateDer::from_pem_slice(one.as_bytes()).expect("a certificate");
        let why = certificates(&der).expect_err("DER");
        assert!(why.contains("seems to be DER"), "{why}");
        let utf16: Vec<u8> = one.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let why = certificates(&[&[0xff, 0xfe], &utf16[..]].concat()).expect_err("UTF-16");
        assert!(why.contains("UTF-16"), "{why}");
    }

    #[test]
    fn a_key_is_found_or_said_why_not() {
        let (cert, _, pem) = files();
        for text in [
            pem.clone(),
            format!("\u{feff}{cert}{pem}"),
            pem.replace('\n', "\r\n"),
        ] {
            key(text.as_bytes()).expect("a key");
        }
        let check = |what: &str, text: &str, expected: &str| {
            let why = key(text.as_bytes()).map(|_| what.to_owned()).expect_err(what);
            assert!(why.contains(expected), "{what}: {why}");
        };
        check(
            "a certificate",
            &cert,
            "but certificates: are the files of certificate and key swapped?",
        );
        check(
            "encrypted",
            &pem.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            "is encrypted",
        );
        let old = pem.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n");
        check("encrypted, as it was long ago", &old, "is encrypted");
        check(
            "another kind",
            &pem.replace("PRIVATE", "OPENSSH PRIVATE"),
            "holds no whole private key",
        );
        check("cut", &pem[..pem.len() / 2], "is not complete PEM");
        check("empty", "", "holds no private key in PEM");
    }

    /// Lines that such a file may or may not contain.
    fn line() -> impl Strategy<Value = String> {
        let known = [
            "-----BEGIN CERTIFICATE-----",
            "-----END CERTIFICATE-----",
            "-----BEGIN PRIVATE KEY-----",
            "-----END PRIVATE KEY-----",
            "-----BEGIN -----",
            "MIIB",
            "",
        ];
        prop_oneof![
            prop::sample::select(known.to_vec()).prop_map(str::to_owned),
            "\\PC{0,20}"
        ]
    }

    proptest! {
        #[test]
        fn no_file_panics_anybody(lines in prop::collection::vec(line(), 0..12), bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for content in [lines.join("\n").as_bytes(), &bytes] {
                let _ = (certificates(content), key(content));
            }
        }
    }
}
