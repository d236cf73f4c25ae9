//! Reads a database: which keys exist, and what they contain. The cost has limits, whatever the database contains.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Pipeline, RedisError, Value};
use tokio::time::{Instant, timeout};

use super::pattern;
use crate::model::{Entry, Port, Row, Rows, Spec, Table, Tables};
use crate::sonic::redis_link::{Breach, LONGEST_KEY, Link, RedisFailure, Reply};

/// Keys that one pipeline reads.
const CHUNK: usize = 256;
/// COUNT of one SCAN, in keys: see `ONE_SCAN`.
const COUNT: usize = 1000;
/// The longest time that one SCAN takes in Redis. It serves no one else in that time. If it takes longer, Redis or this process
/// is busy with other work.
const ONE_SCAN: Duration = Duration::from_millis(1);
/// After this many SCANs it is clear that they do not end: 10 million keys.
const MOST_SCANS: u32 = 10_000;
/// How long all SCANs of one search may take. Two million keys take a second.
const SCAN_WITHIN: Duration = Duration::from_secs(60);
/// Keys of our tables that are collected. `Tables::MOST_ROWS` of each table are read.
const MOST_KEYS: usize = 200_000;
/// Bytes of a value that are kept: the longest path (PATH_MAX).
const LONGEST_VALUE: usize = 4096;
/// Fields of a row that are kept: ycabled's have 41.
const MOST_FIELDS: usize = 256;

/// Bytes that the copy of a database may take in memory. 10,000 ports, each with a row of ycabled, are 40 MB.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// All keys to read, and the tables that had too many.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) keys: Vec<String>,
    left_out: Vec<(&'static str, usize)>,
    /// How long Redis took to search for them.
    searched: Duration,
}

/// Reads everything. `known`: what was read before, which is preferred if there are too many rows. Also returns how long Redis
/// took to search for rows.
pub(super) async fn read_all(
    link: &mut Link,
    spec: &Spec,
    ports: &BTreeSet<Port>,
    known: &Tables,
) -> Result<(Tables, Duration), RedisFailure> {
    let keys = match spec.rows {
        Rows::All => found(link, spec, known).await?,
        Rows::OfPorts => of_ports(spec, ports, known.separator()),
    };
    let mut tables = Tables::new(known.separator());
    read_keys(link, spec, &keys.keys, &mut tables).await?;
    for (table, rows) in keys.left_out {
        tables.leave_out(table, rows);
    }
    Ok((tables, keys.searched))
}

/// The keys of these ports' rows.
pub(super) fn of_ports(spec: &Spec, ports: &BTreeSet<Port>, separator: &str) -> Keys {
    let rows = spec.tables.iter().chain(spec.extras).flat_map(|table| {
        let key = move |port| format!("{}{separator}{port}", table.name);
        ports.iter().take(Tables::MOST_ROWS).map(key)
    });
    Keys {
        keys: values(spec).chain(rows).collect(),
        ..Keys::default()
    }
}

fn values(spec: &Spec) -> impl Iterator<Item = String> {
    spec.values.iter().map(|&key| key.to_owned())
}

/// Searches for the existing rows, once for all tables.
async fn found(link: &mut Link, spec: &Spec, known: &Tables) -> Result<Keys, RedisFailure> {
    let began = Instant::now();
    let scanned = timeout(SCAN_WITHIN, scan(link, spec, known.separator()));
    let (mut rows, scans) = scanned.await.map_err(|_| Breach::Scan)??;
    let mut keys = Keys {
        keys: values(spec).collect(),
        left_out: Vec::new(),
        searched: began.elapsed().min(ONE_SCAN * scans),
    };
    for table in spec.tables {
        let mut rows = rows.remove(table.name).unwrap_or_default();
        if let Some(more @ 1..) = rows.len().checked_sub(Tables::MOST_ROWS) {
            // Known rows are read again. Of the others, those with the shortest names are read, because SONiC numbers its
            // ports.
            rows.sort_by_cached_key(|key| (!known.has(key), key.len(), key.clone()));
            rows.truncate(Tables::MOST_ROWS);
            keys.left_out.push((table.name, more));
        }
        keys.keys.append(&mut rows);
    }
    Ok(keys)
}

/// The keys of the rows by table, and the number of SCANs. SCAN may return a key twice, and its pattern also matches other
/// keys.
async fn scan(
    link: &mut Link,
    spec: &Spec,
    separator: &str,
) -> Result<(HashMap<&'static str, Vec<String>>, u32), RedisFailure> {
    let pattern = pattern::of(spec.tables, separator);
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut cursor = 0;
    for scans in 1..=MOST_SCANS {
        let mut ask = redis::pipe();
        let scan = ask.cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern);
        scan.arg("COUNT").arg(COUNT);
        let reply = link.ask(&ask).await?.pop().unwrap_or(Ok(Value::Nil))?;
        let (next, keys): (u64, Vec<Vec<u8>>) =
            FromRedisValue::from_redis_value(reply).map_err(|_| Breach::Kind)?;
        let short = keys.iter().filter(|key| key.len() <= LONGEST_KEY);
        let keys = short.map(|key| String::from_utf8_lossy(key).into_owned());
        found.extend(keys.filter(|key| table_of(spec, separator, key).is_some()));
        if found.len() > MOST_KEYS {
            return Err(Breach::Keys(MOST_KEYS).into());
        }
        if next == 0 {
            let mut rows: HashMap<&'static str, Vec<String>> = HashMap::new();
            for key in found {
                if let Some(table) = table_of(spec, separator, &key) {
                    rows.entry(table.name).or_default().push(key);
                }
            }
            return Ok((rows, scans));
        }
        cursor = next;
    }
    Err(Breach::Scan.into())
}

/// The table that `key` belongs to.
pub(super) fn table_of(spec: &Spec, separator: &str, key: &str) -> Option<Table> {
    let mut tables = spec.tables.iter().chain(spec.extras);
    let is_of = |table: &&Table| {
        let rest = key.strip_prefix(table.name);
        rest.is_some_and(|rest| rest.starts_with(separator))
    };
    tables.find(is_of).copied()
}

/// Reads the present content of these keys into `tables`.
pub(super) async fn read_keys(
    link: &mut Link,
    spec: &Spec,
    keys: &[String],
    tables: &mut Tables,
) -> Result<(), RedisFailure> {
    let separator = tables.separator().to_owned();
    for keys in keys.chunks(CHUNK) {
        let mut ask = Pipeline::with_capacity(keys.len());
        let mut of_keys = Vec::with_capacity(keys.len());
        for key in keys {
            let table = table_of(spec, &separator, key);
            let mut read = Cmd::new();
            match fields_of(table) {
                _ if spec.values.contains(&key.as_str()) => read.arg("GET").arg(key),
                [] => read.arg("HGETALL").arg(key),
                fields => read.arg("HMGET").arg(key).arg(fields),
            };
            ask.add_command(read);
            of_keys.push(table);
        }
        let replies = link.ask(&ask).await?;
        for ((key, table), reply) in keys.iter().zip(of_keys).zip(replies) {
            let entry = match reply {
                Err(error) if table.is_some_and(|table| may_be_denied(spec, &table, &error)) => None,
                reply => entry(reply, fields_of(table))?,
            };
            tables.set(key.clone(), entry);
        }
        if tables.size() > MOST_BYTES {
            return Err(Breach::Size(MOST_BYTES).into());
        }
    }
    Ok(())
}

/// The fields that are read of a row; empty: all.
fn fields_of(table: Option<Table>) -> &'static [&'static str] {
    table.map_or(&[], |table| table.fields)
}

/// Whether this user may not read a table that is not needed.
fn may_be_denied(spec: &Spec, table: &Table, error: &RedisError) -> bool {
    spec.extras.contains(table) && error.code() == Some("NOPERM")
}

fn entry(reply: Reply, fields: &[&str]) -> Result<Option<Entry>, RedisFailure> {
    let odd = |_: redis::ParsingError| Breach::Kind;
    let row = match reply {
        Err(error) if error.code() == Some("WRONGTYPE") => return Ok(Some(Entry::Other)),
        Err(error) => return Err(error.into()),
        Ok(Value::Nil) => return Ok(None),
        Ok(Value::BulkString(bytes)) => return Ok(Some(Entry::Value(text(&bytes)))),
        Ok(Value::Int(number)) => return Ok(Some(Entry::Value(number.to_string()))),
        Ok(reply) if fields.is_empty() => {
            let found: Vec<(Vec<u8>, Vec<u8>)> = FromRedisValue::from_redis_value(reply).map_err(odd)?;
            let found = found.into_iter().take(MOST_FIELDS);
            found.map(|(name, value)| (text(&name), text(&value))).collect()
        }
        Ok(reply) => {
            let found: Vec<Option<Vec<u8>>> = FromRedisValue::from_redis_value(reply).map_err(odd)?;
            let named = fields.iter().zip(found);
            let there = named.filter_map(|(name, value)| Some(((*name).to_owned(), text(&value?))));
            there.collect::<Row>()
        }
    };
    // A hash without fields does not exist.
    Ok((!row.is_empty()).then_some(Entry::Row(row)))
}

/// Text that is cut gets a mark, so that it does not equal a shorter text.
fn text(bytes: &[u8]) -> String {
    match bytes.get(..LONGEST_VALUE) {
        Some(beginning) if bytes.len() > LONGEST_VALUE => {
            format!("{}...", String::from_utf8_lossy(beginning))
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_and_not_taken_for_its_beginning() {
        let long = [b"10.0.0.1".as_slice(), &vec![b' '; 5_000_000]].concat();
        let cut = text(&long);
        assert!(cut.len() < 5000 && cut.trim() != "10.0.0.1", "{}", cut.len());
        assert_eq!(text(b"\xff10.0.0.1"), "\u{fffd}10.0.0.1");
    }

    #[test]
    fn a_row_has_the_fields_that_are_read_and_is_none_without() {
        let of = |values: Vec<Value>| entry(Ok(Value::Array(values)), &["a", "b"]).expect("good");
        let value = |text: &str| Value::BulkString(text.into());
        let expected = Entry::Row(Row::from([("b".to_owned(), "1".to_owned())]));
        assert_eq!(of(vec![Value::Nil, value("1")]), Some(expected));
        assert_eq!(of(vec![Value::Nil, Value::Nil]), None);
    }

    #[test]
    fn an_answer_that_does_not_fit_its_question_is_told_in_words_for_people() {
        let told = |reply: Value, fields: &[&str]| entry(Ok(reply), fields).expect_err("odd").to_string();
        let words = "an unexpected type of reply from Redis";
        let value = || Value::BulkString("a".into());
        assert_eq!(told(Value::Array(vec![value(), value(), value()]), &[]), words);
        assert_eq!(told(Value::SimpleString("PONG".to_owned()), &["a"]), words);
    }
}
