//! Where SONiC's databases are: the URL of the configuration, else SONiC's `database_config.json`, else SONiC's defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use redis::{ConnectionAddr, IntoConnectionInfo};
use serde::Deserialize;

use super::{NotificationSettings, Publish, RedisServer, Schema, StateDbSettings};

const DEFAULT_SOCKET: &str = "/var/run/redis/redis.sock";
const DEFAULT_PORT: u16 = 6379;

/// One of SONiC's databases, with the number and the separator that it has unless `database_config.json` says otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Database {
    name: &'static str,
    id: i64,
    separator: &'static str,
}

/// Where rows go.
pub(super) const STATE_DB: Database = Database {
    name: "STATE_DB",
    id: 6,
    separator: "|",
};

/// Where notices go.
pub(super) const APPL_DB: Database = Database {
    name: "APPL_DB",
    id: 0,
    separator: ":",
};

/// SONiC's `database_config.json`, as far as we read it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct DatabaseConfig {
    instances: BTreeMap<String, Instance>,
    databases: BTreeMap<String, Entry>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    hostname: Option<String>,
    port: Option<u16>,
    unix_socket_path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    id: i64,
    separator: String,
    instance: String,
}

/// Where a database is: the server, the database's number, its separator.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Location {
    server: RedisServer,
    db: i64,
    separator: String,
}

impl Location {
    pub(super) fn settings(self, publish: Publish, schema: Schema) -> StateDbSettings {
        StateDbSettings {
            server: self.server,
            db: self.db,
            separator: self.separator,
            publish,
            schema,
        }
    }

    pub(super) fn notifications(self) -> NotificationSettings {
        NotificationSettings {
            server: self.server,
            db: self.db,
            separator: self.separator,
        }
    }

    fn on(server: RedisServer, database: Database) -> Self {
        Self {
            server,
            db: database.id,
            separator: database.separator.to_owned(),
        }
    }

    /// From `databases.url`. The error never repeats the URL: it may hold a password.
    pub(super) fn from_url(url: &str, database: Database) -> Result<Self, String> {
        const EXPECTED: &str =
            "expected redis+unix:///path/to/redis.sock or redis://[user:password@]host[:port]";
        if let Some(path) = url.strip_prefix("redis+unix://") {
            if !path.starts_with('/') || path.contains(['?', '#']) {
                return Err(EXPECTED.to_owned());
            }
            return Ok(Self::on(RedisServer::Unix(path.into()), database));
        }
        if !url.starts_with("redis://") {
            return Err(EXPECTED.to_owned());
        }
        let info = url.into_connection_info().map_err(|_| EXPECTED.to_owned())?;
        if info.redis_settings().db() != 0 {
            return Err(format!(
                "{EXPECTED}, without a database: {} is database {}",
                database.name, database.id
            ));
        }
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(EXPECTED.to_owned());
        };
        let server = RedisServer::Tcp {
            host: host.clone(),
            port: *port,
            username: info.redis_settings().username().map(str::to_owned),
            password: info.redis_settings().password().map(str::to_owned),
        };
        Ok(Self::on(server, database))
    }

    /// From `database_config.json` where it exists, else SONiC's defaults.
    pub(super) fn from_file(path: &Path, database: Database) -> Result<Self, String> {
        let text = match super::read_file(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::on(RedisServer::Unix(DEFAULT_SOCKET.into()), database));
            }
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        Self::from_json(&text, database).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn from_json(text: &str, Database { name: wanted, .. }: Database) -> Result<Self, String> {
        let config: DatabaseConfig = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let database = config
            .databases
            .get(wanted)
            .ok_or_else(|| format!("expected a DATABASES entry {wanted}"))?;
        let name = &database.instance;
        let instance = config.instances.get(name).ok_or_else(|| {
            format!("DATABASES.{wanted} names instance {name:?}, which INSTANCES does not have")
        })?;
        let server = match (&instance.unix_socket_path, &instance.hostname) {
            (Some(path), _) if !path.as_os_str().is_empty() => RedisServer::Unix(path.clone()),
            (_, Some(host)) => RedisServer::Tcp {
                host: host.clone(),
                port: instance.port.unwrap_or(DEFAULT_PORT),
                username: None,
                password: None,
            },
            _ => {
                return Err(format!(
                    "expected INSTANCES.{name} to have a unix_socket_path or a hostname"
                ));
            }
        };
        Ok(Self {
            server,
            db: database.id,
            separator: database.separator.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &str) -> RedisServer {
        RedisServer::Unix(path.into())
    }

    #[test]
    fn a_url_names_a_unix_socket_or_a_tcp_server() {
        let server = |url| Location::from_url(url, STATE_DB).map(|location| location.server);
        assert_eq!(server("redis+unix:///tmp/r.sock"), Ok(unix("/tmp/r.sock")));
        let tcp = |port, password: Option<&str>| RedisServer::Tcp {
            host: "127.0.0.1".into(),
            port,
            username: None,
            password: password.map(str::to_owned),
        };
        assert_eq!(server("redis://127.0.0.1"), Ok(tcp(6379, None)));
        assert_eq!(server("redis://127.0.0.1:6380"), Ok(tcp(6380, None)));
        assert_eq!(server("redis://:pw%21@127.0.0.1:1"), Ok(tcp(1, Some("pw!"))));
    }

    #[test]
    fn a_bad_url_is_refused_without_being_repeated() {
        for url in [
            "http://h",
            "redis+unix://r.sock",
            "redis://:secret@h:99999",
            "redis://:secret@h/6",
            "secret",
        ] {
            let error = Location::from_url(url, STATE_DB).expect_err(url);
            assert!(error.starts_with("expected redis+unix://"), "{url}: {error}");
            assert!(!error.contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn sonics_own_file_is_the_truth_where_it_exists() {
        let json = r#"{
            "INSTANCES": {"redis2": {"hostname": "127.0.0.1", "port": 6380, "unix_socket_path": "/run/r2.sock",
                          "persistence_for_warm_boot": "yes"}},
            "DATABASES": {"STATE_DB": {"id": 13, "separator": "!", "instance": "redis2"},
                          "APPL_DB": {"id": 3, "separator": ";", "instance": "redis2"}},
            "VERSION": "1.0"}"#;
        for (database, db, separator) in [(STATE_DB, 13, "!"), (APPL_DB, 3, ";")] {
            let expected = Location {
                server: unix("/run/r2.sock"),
                db,
                separator: separator.into(),
            };
            assert_eq!(Location::from_json(json, database), Ok(expected));
            let error = |from: &str, to: &str| {
                let json = json.replace(from, to);
                Location::from_json(&json, database).expect_err("a wrong file")
            };
            let no_instance = error("\"instance\": \"redis2\"", "\"instance\": \"x\"");
            assert!(no_instance.contains("\"x\""), "{no_instance}");
            let no_entry = error(database.name, "OTHER_DB");
            assert_eq!(no_entry, format!("expected a DATABASES entry {}", database.name));
        }
    }

    #[test]
    fn without_sonics_file_its_defaults_hold() {
        for (database, db, separator) in [(STATE_DB, 6, "|"), (APPL_DB, 0, ":")] {
            let missing = Location::from_file(Path::new("/nonexistent/database_config.json"), database);
            let expected = Location {
                server: unix(DEFAULT_SOCKET),
                db,
                separator: separator.into(),
            };
            assert_eq!(missing, Ok(expected));
        }
    }
}
