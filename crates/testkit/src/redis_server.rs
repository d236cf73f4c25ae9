//! A real redis-server for one test: on a unix socket (or a port of its own) in its own directory, killed when dropped. It can be
//! killed, frozen, continued, and started again at the same address.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dualtor_exporter::config::{RedisLogin, RedisServer};
use tempfile::TempDir;

use crate::reserved_port::ReservedPort;

/// How long anything may take that is not itself under test.
const LONG: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Redis {
    dir: TempDir,
    port: Option<ReservedPort>,
    child: Option<Child>,
}

impl Redis {
    /// A place for a server on a unix socket. None runs yet.
    pub fn away() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            port: None,
            child: None,
        }
    }

    /// A running server on a unix socket.
    pub async fn start() -> Self {
        let mut redis = Self::away();
        redis.launch(&[]).await;
        redis
    }

    /// A running server on a free TCP port of 127.0.0.1, with these additional arguments.
    pub async fn start_tcp(args: &[&str]) -> Self {
        let mut redis = Self::away();
        redis.port = Some(ReservedPort::on(Ipv4Addr::LOCALHOST.into()));
        redis.launch(args).await;
        redis
    }

    /// Starts the server with these additional arguments and waits until it answers (an error is an answer).
    pub async fn launch(&mut self, args: &[&str]) {
        assert!(self.child.is_none(), "redis-server is already running");
        let log = self.dir.path().join("redis.log");
        let output = File::create(&log).expect("a file");
        let errors = output.try_clone().expect("a file");
        let mut command = Command::new("redis-server");
        command
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.dir.path())
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--port")
            .arg(self.port.as_ref().map_or(0, ReservedPort::number).to_string())
            .args(["--bind", "127.0.0.1"])
            .args(["--enable-debug-command", "local"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        self.child = Some(command.spawn().expect("redis-server"));
        eventually("redis-server answers", LONG, || {
            let child = self.child.as_mut().expect("running");
            if let Some(status) = child.try_wait().expect("its state") {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("redis-server has ended: {status}\n{said}");
            }
            let asked = self
                .connect(0)
                .and_then(|mut connection| redis::cmd("PING").query::<redis::Value>(&mut connection));
            match asked {
                Ok(_) => true,
                Err(error) => error.code().is_some() && !error.is_io_error(),
            }
        })
        .await;
    }

    /// SIGKILL: everything that was not saved is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("SIGKILL");
            child.wait().expect("its end");
        }
    }

    /// SIGSTOP: connections stay open, but nothing is answered.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("a running redis-server");
        let status = Command::new("kill")
            .args(["-s", name, &child.id().to_string()])
            .status();
        assert!(status.expect("kill").success());
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// Its address for the configuration.
    pub fn server(&self) -> RedisServer {
        match &self.port {
            None => RedisServer::unix(self.socket()),
            Some(port) => RedisServer::tcp("127.0.0.1", port.number()),
        }
    }

    /// The same with this user.
    pub fn server_for(&self, username: &str, password: &str) -> RedisServer {
        RedisServer {
            login: Some(RedisLogin {
                username: Some(username.to_owned()),
                password: password.to_owned(),
            }),
            ..self.server()
        }
    }

    /// A blocking connection to database `db`.
    pub fn connect(&self, db: i64) -> redis::RedisResult<redis::Connection> {
        let url = format!("redis+unix://{}?db={db}", self.socket().display());
        let connection = redis::Client::open(url)?.get_connection()?;
        connection.set_read_timeout(Some(LONG))?;
        Ok(connection)
    }

    /// Runs one command (split at blanks) in STATE_DB.
    pub fn ask<T: redis::FromRedisValue>(&self, command: &str) -> T {
        self.ask_db(6, command)
    }

    /// Runs one command (split at blanks) in database `db`.
    pub fn ask_db<T: redis::FromRedisValue>(&self, db: i64, command: &str) -> T {
        let mut words = command.split(' ');
        let mut cmd = redis::cmd(words.next().expect("a command"));
        for word in words {
            cmd.arg(word);
        }
        let mut connection = self.connect(db).expect("a connection");
        cmd.query(&mut connection)
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// A row of STATE_DB. Empty if there is none.
    pub fn row(&self, key: &str) -> BTreeMap<String, String> {
        self.ask(&format!("HGETALL {key}"))
    }

    /// A port's last notice in APPL_DB. Empty if there is none.
    pub fn notice(&self, port: &str) -> BTreeMap<String, String> {
        self.ask_db(0, &format!("HGETALL MUX_SERVICE_NOTIFICATION:{port}"))
    }

    /// Many rows at once.
    pub fn rows(&self, keys: &[String]) -> Vec<HashMap<String, String>> {
        let mut pipe = redis::pipe();
        for key in keys {
            pipe.cmd("HGETALL").arg(key);
        }
        let mut connection = self.connect(6).expect("a connection");
        pipe.query(&mut connection).expect("rows")
    }

    /// How often `command` has been called since the statistics were reset.
    pub fn calls(&self, command: &str) -> u64 {
        let info: String = self.ask("INFO commandstats");
        let prefix = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&prefix));
        let count = line.and_then(|rest| rest.split(',').next());
        count.map_or(0, |count| count.parse().expect("a number"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `condition` holds, for at most `limit`; returns how long that took.
pub async fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !condition() {
        let waited = began.elapsed();
        assert!(waited < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}
