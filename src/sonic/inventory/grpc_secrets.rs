//! `grpc_secrets.json`, the source of GRPCCLIENT's rows: `{"GRPCCLIENT": {"config": {...}, "certs": {...}}}`.
//!
//! Pure: takes what was read from the file. The file has paths and names and no keys. Even so, no message quotes its content,
//! except the one name that is wrong.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::grpc_rows::{CERTS, CONFIG, FIELDS, LOG_LEVEL};
use crate::model::schema;
use crate::model::{Entry, Row, Tables};

/// What is known of the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Secrets {
    /// It has not been read yet.
    Unread(PathBuf),
    /// There is none.
    Absent,
    /// It cannot be used. For people: which file, and why.
    Unusable(Arc<str>),
    /// It has the same rows that CONFIG_DB would have.
    Holds(PathBuf, Arc<Tables>),
}

impl Secrets {
    /// The result of reading `path`.
    pub fn of(path: &Path, read: io::Result<Vec<u8>>) -> Self {
        let unusable = |why: &str| Self::Unusable(format!("{}: {why}", path.display()).into());
        match read {
            Ok(bytes) => match tables(&bytes) {
                Ok(tables) => Self::Holds(path.to_owned(), Arc::new(tables)),
                Err(why) => unusable(&why),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Absent,
            Err(error) => unusable(&format!("cannot be read: {error}")),
        }
    }
}

fn tables(json: &[u8]) -> Result<Tables, String> {
    // serde_json's own message may quote the content. The place of the mistake is enough.
    let not_json = |error: serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        format!("expected JSON, found something else at line {line}, column {column}")
    };
    // Some editors write a byte order mark first.
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    let Value::Object(file) = serde_json::from_slice(json).map_err(not_json)? else {
        return Err("expected a JSON object with the key GRPCCLIENT".to_owned());
    };
    let mut tables = Tables::new("|");
    for table in schema::GRPC_CLIENTS {
        let rows = match file.get(table) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(rows)) => rows,
            Some(_) => return Err(format!("{table}: expected an object")),
        };
        for name in [CONFIG, CERTS] {
            let fields = match rows.get(name) {
                None | Some(Value::Null) => continue,
                Some(Value::Object(fields)) => fields,
                Some(_) => return Err(format!("{table}.{name}: expected an object")),
            };
            let mut row = Row::new();
            for (field, value) in fields {
                match value {
                    Value::String(value) => row.insert(field.clone(), value.clone()),
                    // A field that we do not use, whatever it is for.
                    _ if field == LOG_LEVEL || !FIELDS.contains(&field.as_str()) => continue,
                    Value::Null => continue,
                    _ => return Err(format!("{table}.{name}.{field}: expected a string")),
                };
            }
            tables.set(format!("{table}|{name}"), Some(Entry::Row(row)));
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(json: &[u8]) -> Secrets {
        Secrets::of(Path::new("/s.json"), Ok(json.to_vec()))
    }

    #[test]
    fn the_file_holds_the_rows_that_config_db_would() {
        const JSON: &str = r#"{"GRPCCLIENT": {"config": {"type": "secure", "log_level": 3},
            "certs": {"ca_crt": "/c/ca.pem", "client_key": null}}, "else": [1]}"#;
        for json in [JSON.to_owned(), format!("\u{feff}{JSON}")] {
            let Secrets::Holds(_, tables) = secrets(json.as_bytes()) else {
                panic!("{json}")
            };
            let row = |key| tables.row("GRPCCLIENT", key).expect("a row").clone();
            assert_eq!(row("config"), Row::from([("type".into(), "secure".into())]));
            assert_eq!(row("certs"), Row::from([("ca_crt".into(), "/c/ca.pem".into())]));
        }
        for nothing in ["{}", r#"{"GRPCCLIENT": {}}"#, r#"{"GRPCCLIENT": null}"#] {
            assert!(
                matches!(secrets(nothing.as_bytes()), Secrets::Holds(..)),
                "{nothing}"
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_without_its_content() {
        let deep = "[".repeat(100_000);
        for (json, expected) in [
            (&b""[..], "expected JSON"),
            (b"hunter2", "expected JSON"),
            (b"{\"GRPCCLIENT\": hunter2}", "line 1, column 16"),
            (b"\xff\xfe", "expected JSON"),
            (deep.as_bytes(), "expected JSON"),
            (b"[\"hunter2\"]", "expected a JSON object"),
            (br#"{"GRPCCLIENT": "hunter2"}"#, "GRPCCLIENT: expected an object"),
            (
                br#"{"GRPCCLIENT": {"config": ["hunter2"]}}"#,
                "GRPCCLIENT.config: expected an object",
            ),
            (
                br#"{"GRPCCLIENT": {"certs": {"client_key": {"hunter2": 1}}}}"#,
                "GRPCCLIENT.certs.client_key: expected a string",
            ),
        ] {
            let Secrets::Unusable(why) = secrets(json) else {
                panic!("{expected}")
            };
            assert!(why.contains(expected) && why.starts_with("/s.json: "), "{why}");
            assert!(!why.contains("hunter2") && why.len() < 200, "{why}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_says_nothing_and_one_that_cannot_be_read_is_no_such_file() {
        let of = |kind: io::ErrorKind| Secrets::of(Path::new("/s.json"), Err(kind.into()));
        assert_eq!(of(io::ErrorKind::NotFound), Secrets::Absent);
        assert!(matches!(
            of(io::ErrorKind::PermissionDenied),
            Secrets::Unusable(_)
        ));
    }
}
