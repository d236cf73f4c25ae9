//! Request metadata whose values are in files, such as a token that another process renews. They are read before each round.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::files::{self, Reader};
use crate::model::text;

/// The longest value: a token is some hundred bytes, and a server accepts heads of 8 to 16 KiB.
const MAX_VALUE: usize = 8 * 1024;
/// How long reading the files may take. It is part of a round.
const PATIENCE: Duration = Duration::from_secs(1);

/// The files of one target.
#[derive(Debug)]
pub(super) struct MetadataFiles {
    files: Arc<[(HeaderName, PathBuf)]>,
    reader: Reader,
    // A std mutex: it is held for a copy, never across an await.
    latest: Mutex<Arc<[(HeaderName, HeaderValue)]>>,
}

impl MetadataFiles {
    pub(super) fn new(files: Vec<(HeaderName, PathBuf)>) -> Self {
        Self {
            files: files.into(),
            reader: Reader::default(),
            latest: Mutex::new(Arc::new([])),
        }
    }

    /// Adds the values that were read last.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, value) in &*latest {
            headers.insert(name, value.clone());
        }
    }

    /// Reads all files. If one cannot be used, the last values of all of them are dropped.
    pub(super) async fn read(&self) -> Result<(), String> {
        let files = self.files.clone();
        let read = self.reader.read(PATIENCE, move || {
            let each = files.iter().map(|(name, path)| Ok((name.clone(), value(path)?)));
            each.collect::<Result<Arc<[_]>, String>>()
        });
        let read = read
            .await
            .map_err(|unread| unread.to_string())
            .and_then(|read| read);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(values) => {
                *latest = values;
                Ok(())
            }
            Err(why) => {
                *latest = Arc::new([]);
                Err(why)
            }
        }
    }
}

/// The content of the file without one newline at its end. The error never quotes it.
fn value(path: &Path) -> Result<HeaderValue, String> {
    let wrong = |what: &str| format!("metadata from {}: {what}", text::quote(path.display()));
    let bytes = files::read(path, 1).map_err(|error| wrong(&error.to_string()))?;
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if bytes.len() > MAX_VALUE {
        return Err(wrong("expected at most 8 KiB"));
    }
    let is_text = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let value = HeaderValue::from_bytes(bytes).ok().filter(|_| is_text);
    let mut value = value.ok_or_else(|| wrong("expected one line of printable ASCII characters"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_one_line_that_is_read_again_and_an_error_never_quotes_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        let files = MetadataFiles::new(vec![(HeaderName::from_static("authorization"), path.clone())]);
        let sent = || {
            let mut headers = HeaderMap::new();
            files.add_to(&mut headers);
            headers
                .get("authorization")
                .map(|value| value.as_bytes().to_vec())
        };
        assert_eq!(sent(), None);
        for (content, expected) in [
            (&b"Bearer a\n"[..], Ok(&b"Bearer a"[..])),
            (b"Bearer b\r\n", Ok(b"Bearer b")),
            (b"Bearer c\n\n", Err("one line")),
            (b"sec\x00ret", Err("one line")),
            (&[b'x'; MAX_VALUE], Ok(&[b'x'; MAX_VALUE])),
            (&[b'x'; MAX_VALUE + 1], Err("at most 8 KiB")),
        ] {
            std::fs::write(&path, content).expect("written");
            match (files.read().await, expected) {
                (Ok(()), Ok(value)) => assert_eq!(sent().as_deref(), Some(value)),
                (Err(why), Err(words)) => {
                    assert!(why.contains(words) && !why.contains("sec"), "{why}");
                    assert_eq!(sent(), None, "an old token is not sent");
                }
                (read, _) => panic!("{content:?}: {read:?}"),
            }
        }
        std::fs::remove_file(&path).expect("removed");
        assert!(files.read().await.expect_err("gone").contains("No such file"));
    }
}
