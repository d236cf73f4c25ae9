//! Where SONiC's databases are: the URL of the configuration, else SONiC's `database_config.json` (and
//! `database_global.json`), else SONiC's defaults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Database, Namespace, RedisAddress, RedisServer, redis_url};
use crate::config::files;
use crate::model::schema;
use crate::model::text;

const DEFAULT_SOCKET: &str = "/var/run/redis/redis.sock";
/// SONiC's files take some kB.
const MAX_MIB: u64 = 1;
/// What SELECT takes; SONiC's redis.conf has 100 databases.
const ID: std::ops::RangeInclusive<i64> = 0..=65_535;

/// SONiC's `database_config.json`, as far as we read it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct DatabaseConfig {
    instances: BTreeMap<String, Instance>,
    databases: BTreeMap<String, DatabaseEntry>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    hostname: Option<String>,
    port: Option<u16>,
    unix_socket_path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct DatabaseEntry {
    id: i64,
    separator: String,
    instance: String,
}

/// SONiC's `database_global.json`: where the files of all namespaces are.
#[derive(Debug, Deserialize)]
struct GlobalConfig {
    #[serde(rename = "INCLUDES")]
    includes: Vec<Include>,
}

#[derive(Debug, Deserialize)]
struct Include {
    namespace: Option<String>,
    include: PathBuf,
}

/// A database with SONiC's default number.
struct Known {
    name: &'static str,
    id: i64,
    separator: &'static str,
}

const CONFIG_DB: Known = Known {
    name: schema::CONFIG_DB,
    id: 4,
    separator: "|",
};
const APPL_DB: Known = Known {
    name: schema::APPL_DB,
    id: 0,
    separator: ":",
};
const STATE_DB: Known = Known {
    name: schema::STATE_DB,
    id: 6,
    separator: "|",
};

impl Namespace {
    /// The switch itself, all databases on one server, numbered as SONiC does.
    fn on(server: &RedisServer) -> Self {
        let database = |known: Known| Database {
            server: server.clone(),
            id: known.id,
            separator: known.separator.to_owned(),
        };
        Self {
            name: "".into(),
            config_db: database(CONFIG_DB),
            appl_db: database(APPL_DB),
            state_db: database(STATE_DB),
        }
    }

    /// From `databases.url`. The error never repeats the URL: it may hold a password.
    pub(super) fn from_url(url: &str) -> Result<Self, String> {
        Ok(Self::on(&redis_url::parse(url)?))
    }

    /// From `database_config.json` where it exists, and the namespaces that `database_global.json` beside it names; else
    /// SONiC's defaults.
    pub(super) fn from_files(path: &Path) -> Result<Vec<Self>, String> {
        let Some(own) = read_if_there(path)? else {
            return Ok(vec![Self::on(&RedisServer::unix(DEFAULT_SOCKET))]);
        };
        let mut all = vec![Self::from_json(&own, "").map_err(|error| in_file(path, &error))?];
        let global = path.with_file_name("database_global.json");
        let Some(text) = read_if_there(&global)? else {
            return Ok(all);
        };
        let list: GlobalConfig = json(&text).map_err(|error| in_file(&global, &error))?;
        for Include { namespace, include } in list.includes {
            // The one without a name is the file that was read first.
            let Some(name) = namespace.filter(|name| !name.is_empty()) else {
                continue;
            };
            if all.iter().any(|other| *other.name == *name) {
                return Err(in_file(
                    &global,
                    &format!(
                        "expected each namespace once, {:?} is there twice",
                        text::quote(&name)
                    ),
                ));
            }
            let path = global.with_file_name("").join(include);
            let text =
                files::read_text(&path, MAX_MIB).map_err(|error| in_file(&path, &error.to_string()))?;
            all.push(Self::from_json(&text, &name).map_err(|error| in_file(&path, &error))?);
        }
        Ok(all)
    }

    fn from_json(text: &str, name: &str) -> Result<Self, String> {
        let config: DatabaseConfig = json(text)?;
        Ok(Self {
            name: name.into(),
            config_db: config.database(&CONFIG_DB, name)?,
            appl_db: config.database(&APPL_DB, name)?,
            state_db: config.database(&STATE_DB, name)?,
        })
    }
}

/// Its error names the key, in JSON's own way of writing it.
fn json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let deserializer = &mut serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let message = super::yaml::with_short_quotes(&error.into_inner().to_string());
        match path.as_str() {
            "." | "?" => message,
            path => format!("{}: {message}", text::quote(path)),
        }
    })
}

fn in_file(path: &Path, error: &str) -> String {
    format!("{}: {error}", text::quote(path.display()))
}

fn read_if_there(path: &Path) -> Result<Option<String>, String> {
    match files::read_text(path, MAX_MIB) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", text::quote(path.display()))),
    }
}

impl Instance {
    fn tcp(&self) -> Option<RedisAddress> {
        let host = self.hostname.clone().filter(|host| !host.is_empty())?;
        Some(RedisAddress::Tcp(
            host,
            self.port.unwrap_or(redis_url::DEFAULT_PORT),
        ))
    }
}

/// An ASIC's loopback is inside its own network namespace: from where we are it leads to the switch's own Redis instead.
fn is_loopback(address: &RedisAddress) -> bool {
    match address {
        RedisAddress::Unix(_) => false,
        RedisAddress::Tcp(host, _) => {
            let ip = host.parse::<IpAddr>();
            host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
        }
    }
}

impl DatabaseConfig {
    fn database(&self, known: &Known, namespace: &str) -> Result<Database, String> {
        let database = self
            .databases
            .get(known.name)
            .ok_or_else(|| format!("expected a DATABASES entry {}", known.name))?;
        let name = &database.instance;
        let instance = self.instances.get(name).ok_or_else(|| {
            let database = known.name;
            format!(
                "DATABASES.{database} names instance {:?}, which INSTANCES does not have",
                text::quote(name)
            )
        })?;
        let tcp = instance.tcp();
        let server = match (&instance.unix_socket_path, tcp) {
            (Some(path), tcp) if !path.as_os_str().is_empty() => RedisServer {
                or: tcp.filter(|tcp| namespace.is_empty() || !is_loopback(tcp)),
                ..RedisServer::unix(path)
            },
            (_, Some(tcp)) => RedisServer::at(tcp),
            _ => {
                return Err(format!(
                    "expected INSTANCES.{name} to have a unix_socket_path or a hostname"
                ));
            }
        };
        let name = known.name;
        if !ID.contains(&database.id) {
            let (least, most) = ID.into_inner();
            return Err(format!(
                "DATABASES.{name}.id: expected {least} to {most}, got {}",
                database.id
            ));
        }
        if database.separator.is_empty() {
            return Err(format!(
                "DATABASES.{name}.separator: expected such as \"|\", got nothing"
            ));
        }
        Ok(Database {
            server,
            id: database.id,
            separator: database.separator.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SONiC's own file says of a socket: its TCP port too.
    fn either(path: &str) -> RedisServer {
        RedisServer {
            or: Some(RedisAddress::Tcp("127.0.0.1".to_owned(), 6379)),
            ..RedisServer::unix(path)
        }
    }

    /// SONiC's own file, in which only STATE_DB has moved.
    fn json(socket: &str) -> String {
        let text = r#"{
            "INSTANCES": {"redis": {"hostname": "127.0.0.1", "port": 6379, "unix_socket_path": "SOCKET",
                          "persistence_for_warm_boot": "yes"},
                          "redis2": {"hostname": "127.0.0.1", "port": 6380}},
            "DATABASES": {"APPL_DB": {"id": 0, "separator": ":", "instance": "redis"},
                          "CONFIG_DB": {"id": 4, "separator": "|", "instance": "redis"},
                          "STATE_DB": {"id": 13, "separator": "!", "instance": "redis2"}},
            "VERSION": "1.0"}"#;
        text.replace("SOCKET", socket)
    }

    #[test]
    fn sonics_own_file_is_the_truth_where_it_exists() {
        let namespace = Namespace::from_json(&json("/run/r.sock"), "").expect("good");
        let server = RedisServer::tcp("127.0.0.1", 6380);
        let (id, separator) = (13, "!".to_owned());
        assert_eq!(
            namespace.state_db,
            Database {
                server,
                id,
                separator
            }
        );
        let config_db = namespace.config_db;
        assert_eq!((config_db.server, config_db.id), (either("/run/r.sock"), 4));
        assert_eq!(namespace.appl_db.separator, ":");
        let error = Namespace::from_json(
            &json("").replace("\"instance\": \"redis2\"", "\"instance\": \"x\""),
            "",
        );
        assert!(error.expect_err("no such instance").contains("\"x\""));
        for (from, to, words) in [
            (
                "\"id\": 13",
                "\"id\": -1",
                "DATABASES.STATE_DB.id: expected 0 to 65535, got -1",
            ),
            ("\"id\": 13", "\"id\": \"x\"", "DATABASES.STATE_DB.id: "),
            ("\"!\"", "\"\"", "DATABASES.STATE_DB.separator: expected"),
            ("6380", "99999", "INSTANCES.redis2.port: "),
        ] {
            let error = Namespace::from_json(&json("").replace(from, to), "").expect_err(to);
            assert!(error.starts_with(words), "{error}");
        }
        let missing =
            Namespace::from_files(Path::new("/nonexistent/database_config.json")).expect("defaults");
        assert_eq!(missing, [Namespace::on(&RedisServer::unix(DEFAULT_SOCKET))]);
    }

    #[test]
    fn the_namespaces_of_a_switch_with_several_asics_are_those_of_the_global_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("written");
        };
        write("redis/sonic-db/database_config.json", &json("/run/host.sock"));
        write("redis0/sonic-db/database_config.json", &json("/run/asic0.sock"));
        write(
            "redis/sonic-db/database_global.json",
            r#"{"INCLUDES": [{"include": "../../redis/sonic-db/database_config.json"},
                {"namespace": "asic0", "include": "../../redis0/sonic-db/database_config.json"}], "VERSION": "1.0"}"#,
        );
        let path = dir.path().join("redis/sonic-db/database_config.json");
        let all = Namespace::from_files(&path).expect("good");
        let found: Vec<_> = all
            .iter()
            .map(|n| (&*n.name, n.config_db.server.clone()))
            .collect();
        // The ASIC's 127.0.0.1 is another one than ours.
        let asic0 = RedisServer::unix("/run/asic0.sock");
        assert_eq!(found, [("", either("/run/host.sock")), ("asic0", asic0)]);
        std::fs::remove_file(dir.path().join("redis0/sonic-db/database_config.json")).expect("removed");
        let error = Namespace::from_files(&path).expect_err("a namespace without a file");
        assert!(error.contains("redis0/sonic-db/database_config.json"), "{error}");
    }
}
