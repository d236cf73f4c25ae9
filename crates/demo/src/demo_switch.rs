//! What the exporter reads of a dual-ToR switch's databases, and what happens in them during the demo.
//!
//! The demo takes the place of SONiC's own daemons: it writes what minigraph, linkmgrd and orchagent would write.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use redis::Cmd;
use tokio::time::{Instant, sleep_until};

use dualtor_exporter::config::RedisServer;
use dualtor_exporter::sonic::redis_link::Link;
use dualtor_sim::Simulator;

const APPL_DB: i64 = 0;
const CONFIG_DB: i64 = 4;
const STATE_DB: i64 = 6;

/// The same as in demo.yaml.
const ROUND: Duration = Duration::from_secs(60);

/// A server that is moved to another port and back: that port then has the cable to its SoC.
const MOVES: [&str; 2] = ["Ethernet44", "Ethernet96"];
/// The port of the scenario's switchover.
const SWITCHES: &str = "Ethernet0";

/// What happens, and how many seconds after the start of each round.
const TIMELINE: [(u64, Step); 6] = [
    // Half a minute each. The SoC follows a moment later (demo.yaml).
    (3, Step::Wants("standby")),
    (6, Step::Leaves(0)),
    (8, Step::Comes(1)),
    (33, Step::Wants("active")),
    (41, Step::Leaves(1)),
    (43, Step::Comes(0)),
];

#[derive(Debug, Clone, Copy)]
enum Step {
    /// linkmgrd requests this state of `SWITCHES`, and orchagent sets it.
    Wants(&'static str),
    /// One of `MOVES` leaves CONFIG_DB.
    Leaves(usize),
    /// One of `MOVES` appears in CONFIG_DB.
    Comes(usize),
}

/// The databases of a switch with a cable to each SoC.
pub(crate) struct Switch {
    link: Link,
    moving: IpAddr,
    began: Instant,
}

impl Switch {
    /// Writes everything that a switch has. CONFIG_DB is marked as complete at the end.
    pub(crate) async fn boot(server: &RedisServer, simulator: &Simulator) -> anyhow::Result<Self> {
        let began = Instant::now();
        let moving = simulator.soc(MOVES[0]).context("the rack has too few SoCs")?;
        let mut switch = Self {
            link: Link::open(server, CONFIG_DB).await?,
            moving: moving.address().ip(),
            began,
        };
        let mut writes = vec![
            put(
                CONFIG_DB,
                "DEVICE_METADATA|localhost",
                &["type", "ToRRouter", "subtype", "DualToR"],
            ),
            // The upper ToR's. It is not on this host, so the kernel chooses the source address of dials.
            put(
                CONFIG_DB,
                "LOOPBACK_INTERFACE|Loopback3|10.212.64.1/32",
                &["NULL", "NULL"],
            ),
            // No other process writes our rows here.
            put(CONFIG_DB, "XCVRD_LOG|Y_CABLE", &["disable_telemetry", "True"]),
        ];
        for soc in simulator.socs() {
            writes.extend(cable(soc.name(), soc.address().ip()));
        }
        let mut whole = redis::cmd("SET");
        whole.arg("CONFIG_DB_INITIALIZED").arg(1);
        writes.push((CONFIG_DB, whole));
        switch.write(writes).await?;
        Ok(switch)
    }

    /// Plays the timeline, round after round, and reports ports that come and go.
    pub(crate) async fn live(mut self, mut tell: impl FnMut(&str, &str)) -> anyhow::Result<()> {
        loop {
            for (second, step) in TIMELINE {
                sleep_until(self.began + Duration::from_secs(second)).await;
                match step {
                    Step::Wants(state) => self.write(intent(SWITCHES, state)).await?,
                    Step::Leaves(which) => {
                        self.write(no_cable(MOVES[which])).await?;
                        tell(MOVES[which], "removed from CONFIG_DB");
                    }
                    Step::Comes(which) => {
                        self.write(cable(MOVES[which], self.moving)).await?;
                        tell(MOVES[which], "added to CONFIG_DB");
                    }
                }
            }
            self.began += ROUND;
        }
    }

    async fn write(&mut self, writes: Vec<(i64, Cmd)>) -> anyhow::Result<()> {
        let mut pipe = redis::pipe();
        for (db, command) in writes {
            pipe.cmd("SELECT").arg(db).add_command(command);
        }
        let replies = self.link.ask(&pipe).await?;
        replies.into_iter().try_for_each(|reply| reply.map(drop))?;
        Ok(())
    }
}

fn put(db: i64, key: &str, fields: &[&str]) -> (i64, Cmd) {
    let mut command = redis::cmd("HSET");
    command.arg(key).arg(fields);
    (db, command)
}

/// A port with a healthy active-active cable.
fn cable(port: &str, soc: IpAddr) -> Vec<(i64, Cmd)> {
    let address = format!("{soc}/32");
    let row = [
        "cable_type",
        "active-active",
        "state",
        "auto",
        "soc_ipv4",
        &address,
    ];
    let mut writes = intent(port, "active");
    writes.extend([
        put(APPL_DB, &format!("PORT_TABLE:{port}"), &["oper_status", "up"]),
        put(
            STATE_DB,
            &format!("MUX_LINKMGR_TABLE|{port}"),
            &["state", "healthy"],
        ),
        put(CONFIG_DB, &format!("MUX_CABLE|{port}"), &row),
    ]);
    writes
}

/// What linkmgrd requests and orchagent has done.
fn intent(port: &str, state: &str) -> Vec<(i64, Cmd)> {
    vec![
        put(APPL_DB, &format!("MUX_CABLE_TABLE:{port}"), &["state", state]),
        put(STATE_DB, &format!("MUX_CABLE_TABLE|{port}"), &["state", state]),
    ]
}

/// The same port without a cable.
fn no_cable(port: &str) -> Vec<(i64, Cmd)> {
    let keys = [
        (CONFIG_DB, "MUX_CABLE|"),
        (APPL_DB, "MUX_CABLE_TABLE:"),
        (STATE_DB, "MUX_CABLE_TABLE|"),
        (STATE_DB, "MUX_LINKMGR_TABLE|"),
    ];
    let delete = |(db, table)| {
        let mut command = redis::cmd("DEL");
        command.arg(format!("{table}{port}"));
        (db, command)
    };
    keys.map(delete).into()
}
