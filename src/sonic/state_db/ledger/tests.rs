//! What is sent, in which order and how much at once, and what the answers mean. Without Redis.

use std::time::UNIX_EPOCH;

use redis::{Cmd, Value};

use super::*;
use crate::config::{Database, Publish, RedisServer, Schema};
use crate::model::{Query, QueryResult};
use crate::sonic::rows;
use crate::telemetry::testing;

fn ledger() -> Ledger {
    Ledger::new(Arc::new(StateDbSettings {
        database: Database {
            server: RedisServer::unix("/nowhere"),
            id: 6,
            separator: "|".to_owned(),
        },
        publish: Publish::Own,
        schema: Schema::Sonic,
    }))
}

fn port(name: &str) -> Port {
    Port::new(name).expect("a port name")
}

/// `name`'s status after this many rounds.
fn put(ledger: &mut Ledger, name: &str, rounds: u64) {
    let mut status = testing::status(name);
    status.probes[Query::Admin.index()][QueryResult::Ok.index()] = rounds;
    let change = Change::Put(Arc::new(status));
    ledger.absorb(HashMap::from([(port(name), change)]), Instant::now());
}

fn remove(ledger: &mut Ledger, name: &str) {
    ledger.absorb(HashMap::from([(port(name), Change::Remove)]), Instant::now());
}

fn next(ledger: &mut Ledger) -> Option<Batch> {
    ledger.next_batch(usize::MAX, UNIX_EPOCH)
}

/// The commands of a batch, their arguments joined by blanks.
fn text(batch: &Batch) -> Vec<String> {
    let words = |command: &Cmd| {
        let words = command.args_iter().map(|arg| match arg {
            redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => "?".to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    batch.commands.cmd_iter().map(words).collect()
}

fn counter(batch: &Batch) -> String {
    let text = text(batch).join(" ");
    let mut words = text.split(' ');
    words.find(|word| *word == "mux_direction_probe_count");
    words.next().unwrap_or_default().to_owned()
}

fn ok(batch: &Batch) -> Vec<Reply> {
    batch.commands.cmd_iter().map(|_| Ok(Value::Nil)).collect()
}

/// Lets Redis accept everything that waits.
fn drain(ledger: &mut Ledger) -> usize {
    let mut writes = 0;
    while let Some(batch) = next(ledger) {
        writes += batch.writes();
        let replies = ok(&batch);
        ledger.settle(batch, replies, Instant::now());
    }
    writes
}

fn server_error(line: &str) -> Reply {
    let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
    value.and_then(Value::extract_error)
}

#[test]
fn the_counters_are_read_once_and_before_the_first_write() {
    let mut ledger = ledger();
    put(&mut ledger, "Ethernet0", 1);
    let bases = next(&mut ledger).expect("a batch");
    assert!(text(&bases)[0].starts_with("HMGET MUX_CABLE_INFO|Ethernet0 mux_direction_probe_count"));
    assert_eq!(bases.writes(), 0);
    let found = Value::Array(vec![Value::BulkString(b"41".to_vec())]);
    ledger.settle(bases, vec![Ok(found)], Instant::now());

    let write = next(&mut ledger).expect("a batch");
    assert_eq!(text(&write)[0], "HGET MUX_CABLE_INFO|Ethernet0 time_post");
    assert!(text(&write)[1].starts_with("HSET MUX_CABLE_INFO|Ethernet0 "));
    assert_eq!(counter(&write), "42");
    let replies = ok(&write);
    assert_eq!(ledger.settle(write, replies, Instant::now()).ok, 1);
    assert!(next(&mut ledger).is_none());

    ledger.rewrite_all();
    put(&mut ledger, "Ethernet0", 2);
    assert_eq!(counter(&next(&mut ledger).expect("a batch")), "43");
}

#[test]
fn no_batch_of_writes_is_larger_than_what_redis_reads_at_one_go() {
    let mut ledger = ledger();
    for i in 0..1000 {
        put(&mut ledger, &format!("Ethernet{i}"), 1);
    }
    let mut written = 0;
    while let Some(batch) = next(&mut ledger) {
        if batch.writes() > 0 {
            assert!(batch.commands.get_packed_pipeline().len() <= 16 * 1024);
        }
        written += batch.writes();
        let replies = ok(&batch);
        ledger.settle(batch, replies, Instant::now());
    }
    assert_eq!(written, 1000);
    for i in 0..1000 {
        remove(&mut ledger, &format!("Ethernet{i}"));
    }
    let batch = next(&mut ledger).expect("a batch");
    assert!(batch.commands.get_packed_pipeline().len() <= 16 * 1024);
    ledger.put_back(batch);
    assert_eq!(drain(&mut ledger), 1000);
    assert!(ledger.is_empty());
}

#[test]
fn a_row_waits_once_however_often_it_changes() {
    let mut ledger = ledger();
    for round in 0..1000 {
        put(&mut ledger, "Ethernet0", round);
        ledger.rewrite_all();
    }
    assert_eq!(ledger.waiting(), 1);
    assert_eq!(drain(&mut ledger), 1);
}

/// A port that changes every `every` for a minute: when its row was written, in ms, and with which round.
fn flap(ledger: &mut Ledger, start: Instant, every: Duration) -> Vec<(u128, String)> {
    let mut written = Vec::new();
    let mut write = |ledger: &mut Ledger, now: Instant| {
        ledger.release(now);
        while let Some(batch) = next(ledger) {
            if matches!(batch.kind, BatchKind::Put { .. }) {
                written.push(((now - start).as_millis(), counter(&batch)));
            }
            let replies = ok(&batch);
            ledger.settle(batch, replies, now);
        }
    };
    for round in 0..60_000 / u64::try_from(every.as_millis()).expect("short") {
        let now = start + every * u32::try_from(round).expect("few");
        // The publisher wakes up by itself when a row need no longer be held.
        while let Some(at) = ledger.next_release().filter(|at| *at < now) {
            write(ledger, at);
        }
        let mut status = testing::status("Ethernet0");
        status.probes[Query::Admin.index()][QueryResult::Ok.index()] = round;
        ledger.absorb(
            HashMap::from([(port("Ethernet0"), Change::Put(Arc::new(status)))]),
            now,
        );
        write(ledger, now);
    }
    if let Some(at) = ledger.next_release() {
        write(ledger, at);
    }
    written
}

#[test]
fn a_port_that_flaps_is_written_ten_times_at_once_and_then_twice_a_second() {
    let mut ledger = ledger();
    let written = flap(&mut ledger, Instant::now(), Duration::from_millis(10));
    let at_once: Vec<_> = (0..10).map(|n| (n * 10, n.to_string())).collect();
    assert_eq!(written[..10], at_once);
    assert!((129..=131).contains(&written.len()), "{}", written.len());
    for pair in written[10..].windows(2) {
        assert_eq!(pair[1].0 - pair[0].0, 500, "{pair:?}");
        // What is written is the latest.
        assert!(
            pair[1].1.parse::<u128>().expect("a round") + 1 >= pair[1].0 / 10,
            "{pair:?}"
        );
    }
    let (at, last) = written.last().expect("rows");
    assert_eq!(last, "5999", "the last state is written");
    assert!(*at <= 60_000 + 500, "{at}");
}

#[test]
fn a_port_that_changes_twice_a_second_is_never_held() {
    let mut ledger = ledger();
    let written = flap(&mut ledger, Instant::now(), Duration::from_millis(500));
    let all: Vec<_> = (0..120).map(|n| (n * 500, n.to_string())).collect();
    assert_eq!(written, all);
}

#[test]
fn neither_a_rewrite_nor_a_deletion_nor_a_stop_is_held() {
    let mut ledger = ledger();
    let hold = |ledger: &mut Ledger| {
        for round in 0..30 {
            put(ledger, "Ethernet0", round);
            while ledger.next_release().is_none() && drain(ledger) > 0 {}
        }
        assert!(ledger.next_release().is_some());
        assert_eq!(ledger.waiting(), 0);
    };
    hold(&mut ledger);
    ledger.release_all();
    assert_eq!((ledger.waiting(), ledger.next_release()), (1, None));
    drain(&mut ledger);
    hold(&mut ledger);
    ledger.rewrite_all();
    assert_eq!((ledger.waiting(), ledger.next_release()), (1, None));
    drain(&mut ledger);
    hold(&mut ledger);
    remove(&mut ledger, "Ethernet0");
    assert_eq!((ledger.waiting(), ledger.next_release()), (1, None));
    drain(&mut ledger);
    assert!(ledger.is_empty());
}

#[test]
fn an_unanswered_batch_waits_again_with_what_is_true_by_then() {
    let mut ledger = ledger();
    put(&mut ledger, "Ethernet0", 1);
    drain(&mut ledger);
    put(&mut ledger, "Ethernet0", 2);
    let lost = next(&mut ledger).expect("a batch");
    put(&mut ledger, "Ethernet0", 3);
    ledger.put_back(lost);
    assert_eq!(ledger.waiting(), 1);
    assert_eq!(counter(&next(&mut ledger).expect("a batch")), "3");
}

#[test]
fn a_gone_port_is_deleted_and_forgotten_once_redis_took_it() {
    let mut ledger = ledger();
    put(&mut ledger, "Ethernet0", 1);
    drain(&mut ledger);
    remove(&mut ledger, "Ethernet0");
    let refused = next(&mut ledger).expect("a batch");
    assert_eq!(text(&refused), ["DEL MUX_CABLE_INFO|Ethernet0"]);
    let outcome = ledger.settle(refused, vec![server_error("READONLY no")], Instant::now());
    assert!(outcome.failure.is_some());
    assert!(!ledger.is_empty());
    assert_eq!(drain(&mut ledger), 1);
    assert!(ledger.is_empty());
}

#[test]
fn a_port_that_comes_back_before_its_deletion_counts_on() {
    let mut ledger = ledger();
    put(&mut ledger, "Ethernet0", 7);
    drain(&mut ledger);
    remove(&mut ledger, "Ethernet0");
    put(&mut ledger, "Ethernet0", 1);
    let write = next(&mut ledger).expect("a batch");
    assert!(text(&write)[1].starts_with("HSET"));
    assert_eq!(counter(&write), "8");
}

#[test]
fn a_port_that_comes_back_during_its_deletion_is_written_after_it() {
    let mut ledger = ledger();
    put(&mut ledger, "Ethernet0", 7);
    drain(&mut ledger);
    remove(&mut ledger, "Ethernet0");
    let delete = next(&mut ledger).expect("a batch");
    put(&mut ledger, "Ethernet0", 1);
    ledger.settle(delete, vec![Ok(Value::Int(1))], Instant::now());
    let write = next(&mut ledger).expect("a batch");
    assert!(text(&write)[1].starts_with("HSET"));
}

#[test]
fn a_second_removal_during_the_deletion_is_harmless() {
    let mut ledger = ledger();
    put(&mut ledger, "Ethernet0", 7);
    drain(&mut ledger);
    remove(&mut ledger, "Ethernet0");
    let delete = next(&mut ledger).expect("a batch");
    remove(&mut ledger, "Ethernet0");
    ledger.settle(delete, vec![Ok(Value::Int(1))], Instant::now());
    put(&mut ledger, "Ethernet4", 1);
    assert_eq!(drain(&mut ledger), 2);
    assert_eq!((ledger.rows.len(), ledger.waiting()), (1, 0));
}

#[test]
fn a_status_that_begins_anew_counts_on() {
    let mut ledger = ledger();
    put(&mut ledger, "Ethernet0", 7);
    drain(&mut ledger);
    for (rounds, expected) in [(0, "7"), (2, "9"), (1, "10"), (5, "14")] {
        put(&mut ledger, "Ethernet0", rounds);
        let write = next(&mut ledger).expect("a batch");
        assert_eq!(counter(&write), expected);
        let replies = ok(&write);
        ledger.settle(write, replies, Instant::now());
    }
}

#[test]
fn a_time_post_that_is_not_ours_is_counted_once() {
    let found = |text: &str| Ok(Value::BulkString(text.into()));
    let ours = rows::time_post(UNIX_EPOCH);
    let mut ledger = ledger();
    put(&mut ledger, "Ethernet0", 1);
    let bases = next(&mut ledger).expect("a batch");
    let replies = ok(&bases);
    ledger.settle(bases, replies, Instant::now());
    let mut check = |found: Reply, written: Reply, foreign: usize, why: &str| {
        put(&mut ledger, "Ethernet0", 1);
        let batch = next(&mut ledger).expect("a batch");
        let outcome = ledger.settle(batch, vec![found, written], Instant::now());
        assert_eq!(outcome.foreign.len(), foreign, "{why}");
    };
    let oom = || server_error("OOM no");
    check(found("found at start"), Ok(Value::Int(0)), 0, "baseline");
    check(found(&ours), Ok(Value::Int(0)), 0, "ours");
    check(found("theirs"), Ok(Value::Int(0)), 1, "theirs");
    check(found(&ours), Ok(Value::Int(0)), 0, "ours again");
    check(found("theirs"), oom(), 1, "theirs, our write refused");
    check(found("theirs"), Ok(Value::Int(0)), 0, "counted already");
    check(Ok(Value::Nil), Ok(Value::Int(0)), 0, "another process deleted it");
    ledger.rewrite_all();
    let mut check = |found: Reply, foreign: usize, why: &str| {
        put(&mut ledger, "Ethernet0", 1);
        let batch = next(&mut ledger).expect("a batch");
        let outcome = ledger.settle(batch, vec![found, Ok(Value::Int(0))], Instant::now());
        assert_eq!(outcome.foreign.len(), foreign, "{why}");
    };
    check(found("an older one of ours"), 0, "a new connection's baseline");
    check(found("theirs"), 1, "theirs");
}

#[test]
fn a_key_of_another_type_stops_its_own_row_only() {
    let wrong = || server_error("WRONGTYPE Operation against a key holding the wrong kind of value");
    let mut ledger = ledger();
    put(&mut ledger, "Ethernet0", 1);
    drain(&mut ledger);
    put(&mut ledger, "Ethernet0", 2);
    let batch = next(&mut ledger).expect("a batch");
    let outcome = ledger.settle(batch, vec![wrong(), wrong()], Instant::now());
    assert_eq!(
        (outcome.refused, outcome.wrong_type),
        (1, Some(port("Ethernet0")))
    );
    assert!(outcome.failure.is_none());
    assert!(next(&mut ledger).is_none(), "only its next change");
    put(&mut ledger, "Ethernet0", 3);
    assert_eq!(drain(&mut ledger), 1);
}

/// The content of a row as it was last written, as HMGET answers.
fn as_written(write: &Batch) -> Value {
    let words: Vec<_> = match write.commands.cmd_iter().last() {
        Some(hset) => hset.args_iter().collect(),
        None => panic!("nothing was written"),
    };
    // HSET, the key, then names and values.
    let values = words.iter().skip(3).step_by(2).map(|arg| match arg {
        redis::Arg::Simple(bytes) => Value::BulkString(bytes.to_vec()),
        _ => panic!("no value"),
    });
    Value::Array(values.collect())
}

/// A ledger with one written row, and the content of that row.
fn written() -> (Ledger, Value) {
    let mut ledger = ledger();
    put(&mut ledger, "Ethernet0", 1);
    let bases = next(&mut ledger).expect("bases");
    let replies = ok(&bases);
    ledger.settle(bases, replies, Instant::now());
    let write = next(&mut ledger).expect("a write");
    let holds = as_written(&write);
    let replies = ok(&write);
    ledger.settle(write, replies, Instant::now());
    (ledger, holds)
}

/// Checks the row, which has this content.
fn look(ledger: &mut Ledger, holds: Value, now: Instant) -> Outcome {
    ledger.doubt([&port("Ethernet0")], now);
    let check = ledger.check_batch(now).expect("a row to look at");
    ledger.settle(check, vec![Ok(holds)], now)
}

#[test]
fn a_row_that_says_what_we_wrote_is_left_alone() {
    let (mut ledger, holds) = written();
    let outcome = look(&mut ledger, holds, Instant::now());
    assert_eq!((outcome.foreign.len(), ledger.waiting()), (0, 0));
}

#[test]
fn a_row_in_which_any_field_differs_is_written_anew_and_counted_once() {
    let (_, holds) = written();
    let Value::Array(fields) = holds else {
        panic!("{holds:?}")
    };
    for changed in 0..fields.len() {
        for value in [Value::Nil, Value::BulkString(b"theirs".to_vec())] {
            let (mut ledger, _) = written();
            let mut theirs = fields.clone();
            theirs[changed] = value;
            let time_post = theirs.last().cloned().expect("time_post");
            // A missing field is not a write of another process.
            let counted = usize::from(theirs[changed] != Value::Nil);
            let outcome = look(&mut ledger, Value::Array(theirs), Instant::now());
            assert_eq!(
                (outcome.foreign.len(), ledger.waiting()),
                (counted, 1),
                "field {changed}"
            );
            let write = next(&mut ledger).expect("a write");
            let outcome = ledger.settle(write, vec![Ok(time_post), Ok(Value::Int(0))], Instant::now());
            assert_eq!((outcome.foreign.len(), outcome.ok), (0, 1), "field {changed}");
        }
    }
}

#[test]
fn a_row_that_another_writes_without_pause_is_written_anew_once_in_five_seconds() {
    let (mut ledger, holds) = written();
    let begin = Instant::now();
    let theirs = || Value::Array(vec![Value::Nil]);
    let mut repairs = 0;
    for tick in 0..200 {
        let now = begin + std::time::Duration::from_millis(100 * tick);
        ledger.doubt([&port("Ethernet0")], now);
        while let Some(check) = ledger.check_batch(now) {
            ledger.settle(check, vec![Ok(theirs())], now);
        }
        repairs += drain(&mut ledger);
    }
    // 20 s.
    assert_eq!(repairs, 4);
    // And once more 5 s after the last one, although no other process writes any more.
    let later = begin + std::time::Duration::from_secs(20);
    assert!(ledger.next_doubt().is_some_and(|at| at <= later));
    drop(holds);
}

#[test]
fn a_row_that_waits_to_be_written_is_not_looked_at() {
    let (mut ledger, _) = written();
    put(&mut ledger, "Ethernet0", 2);
    let now = Instant::now();
    ledger.doubt_all(now);
    assert!(ledger.check_batch(now).is_none());
    assert_eq!(drain(&mut ledger), 1);
    // A check that began earlier does not cause a write either.
    ledger.doubt_all(now);
    let check = ledger.check_batch(now).expect("a look");
    put(&mut ledger, "Ethernet0", 3);
    let outcome = ledger.settle(check, vec![Ok(Value::Nil)], now);
    assert_eq!((outcome.foreign.len(), ledger.waiting()), (0, 1));
}

#[test]
fn rows_are_looked_at_in_turn() {
    let mut ledger = ledger();
    for name in ["Ethernet0", "Ethernet4", "Ethernet8"] {
        put(&mut ledger, name, 1);
    }
    drain(&mut ledger);
    let mut seen = Vec::new();
    let now = Instant::now();
    for _ in 0..3 {
        ledger.doubt_some(2, now);
        let check = ledger.check_batch(now).expect("two rows");
        seen.extend(check.ports.iter().map(|port| port.as_str().to_owned()));
    }
    seen.sort();
    let twice = [
        "Ethernet0",
        "Ethernet0",
        "Ethernet4",
        "Ethernet4",
        "Ethernet8",
        "Ethernet8",
    ];
    assert_eq!(seen, twice);
    ledger.doubt_some(64, now);
    assert_eq!(ledger.check_batch(now).map(|check| check.ports.len()), Some(3));
}

#[test]
fn a_key_that_is_no_hash_is_written_once_it_is_gone() {
    let mut ledger = ledger();
    put(&mut ledger, "Ethernet0", 1);
    let bases = next(&mut ledger).expect("bases");
    let wrong = || server_error("WRONGTYPE Operation against a key");
    let now = Instant::now();
    assert!(ledger.settle(bases, vec![wrong()], now).wrong_type.is_some());
    ledger.doubt_all(now);
    let check = ledger.check_batch(now).expect("a look");
    let outcome = ledger.settle(check, vec![wrong()], now);
    assert!(outcome.wrong_type.is_some() && outcome.foreign.is_empty());
    assert_eq!(ledger.waiting(), 0);
    ledger.doubt_all(now);
    let check = ledger.check_batch(now).expect("a look");
    ledger.settle(check, vec![Ok(Value::Array(vec![Value::Nil; 19]))], now);
    assert_eq!(drain(&mut ledger), 1);
}
