//! Logins for HTTP servers: a user and a password, or a token, in the configuration or in a file of their own.

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use http::HeaderValue;

use super::read_pem;
use crate::model::text;

/// The longest password or token, bytes.
const MAX_SECRET: usize = 8 * 1024;

/// The Authorization header of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpLogin {
    /// `Basic`, made from a user and a password.
    Basic(String, Secret),
    /// Another scheme (`Bearer`) and its credentials.
    Scheme(String, Secret),
}

impl HttpLogin {
    /// The header's value. Reads the file, if there is one: blocks. The error never repeats the secret.
    pub fn header(&self) -> Result<HeaderValue, String> {
        let bytes = match self {
            Self::Basic(user, password) => {
                let both = [user.as_bytes(), b":", &password.read()?].concat();
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both)).into_bytes()
            }
            Self::Scheme(scheme, credentials) => [scheme.as_bytes(), b" ", &credentials.read()?].concat(),
        };
        let value = HeaderValue::from_bytes(&bytes);
        let mut value = value.map_err(|_| "the login has characters that no header may have".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq)]
pub enum Secret {
    /// In the configuration file itself.
    Text(String),
    /// The first line of a file, read at each use.
    File(PathBuf),
}

impl Secret {
    /// The text, or the first line of the file. Blocks. The error never repeats it.
    pub fn read(&self) -> Result<Vec<u8>, String> {
        let file = match self {
            Self::Text(text) => return Ok(text.clone().into_bytes()),
            Self::File(file) => file,
        };
        let shown = text::quote(file.display());
        let content = read_pem(file).map_err(|error| format!("{shown}: cannot be read: {error}"))?;
        let mut lines = content.split(|byte| matches!(byte, b'\n' | b'\r'));
        match lines.next() {
            Some(line) if !line.is_empty() && line.len() <= MAX_SECRET => Ok(line.to_vec()),
            _ => Err(format!(
                "{shown}: expected a password or token of at most {MAX_SECRET} bytes in the first line"
            )),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}
