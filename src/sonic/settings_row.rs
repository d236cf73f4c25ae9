//! Reads CONFIG_DB's row `DUALTOR_EXPORTER|config` once, before anything else runs. The settings themselves: `SwitchSettings`.

use std::time::Duration;

use redis::FromRedisValue;
use tokio::time::sleep;
use tracing::warn;

use super::redis_link::{Breach, Link, RedisFailure, Reply};
use crate::config::Database;
use crate::model::component::APP;
use crate::model::{Row, schema};

/// How often it is tried again, as where a connection to Redis is lost.
const PAUSE: Duration = Duration::from_millis(500);

/// The row; empty if there is none. `None`: CONFIG_DB is not complete.
pub async fn read_settings(database: &Database) -> Result<Option<Row>, RedisFailure> {
    let mut link = Link::open(&database.server, database.id).await?;
    let key = format!("{}{}config", schema::DUALTOR_EXPORTER, database.separator);
    let mut ask = redis::pipe();
    ask.cmd("GET").arg(schema::CONFIG_DB_INITIALIZED);
    ask.cmd("HGETALL").arg(key);
    let mut replies = link.ask(&ask).await?.into_iter();
    link.close();
    let complete: Option<String> = value(replies.next())?;
    let row: Row = value(replies.next())?;
    Ok((complete.as_deref() == Some("1")).then_some(row))
}

fn value<T: FromRedisValue>(reply: Option<Reply>) -> Result<T, RedisFailure> {
    let reply = reply.ok_or(RedisFailure::Closed)??;
    Ok(T::from_redis_value(reply).map_err(|_| Breach::Kind)?)
}

/// The same, as soon as it can be read and CONFIG_DB is complete. The first reason to wait is logged.
pub async fn await_settings(database: &Database) -> Row {
    let mut logged = false;
    loop {
        let why = match read_settings(database).await {
            Ok(Some(row)) => break row,
            Ok(None) => "CONFIG_DB is not complete yet (CONFIG_DB_INITIALIZED is not 1)".to_owned(),
            Err(failure) => failure.to_string(),
        };
        if !logged {
            warn!(target: APP, reason = why, "waiting for the settings in CONFIG_DB");
            logged = true;
        }
        sleep(PAUSE).await;
    }
}
