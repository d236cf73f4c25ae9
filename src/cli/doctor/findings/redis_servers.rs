//! Redis: can it be read, is CONFIG_DB complete, does it announce changes.

use super::{Area, Finding, redis_cli};
use crate::cli::doctor::collected::{Collected, Events, SeenDatabases};
use crate::model::schema;

const AREA: Area = Area::Databases;

pub(super) fn check(seen: &Collected) -> Vec<Finding> {
    if seen.namespaces.is_empty() {
        let text = match seen.config.inventory.is_empty() {
            true => "not used: the configuration has targets and side, and publish: off",
            false => "not used: the configuration has inventory, and publish: off",
        };
        return vec![Finding::ok(AREA, "Redis", text)];
    }
    let interval = seen.config.probe.interval;
    let mut found: Vec<Finding> = seen.namespaces.iter().flat_map(servers).collect();
    for databases in &seen.namespaces {
        found.extend(whole(databases));
    }
    let mut asked = Vec::new();
    for databases in &seen.namespaces {
        let server = &databases.namespace.config_db.server;
        if !asked.contains(&server) {
            asked.push(server);
            found.extend(events(databases, &format!("{interval:?}")));
        }
    }
    found
}

/// A server, why it is away (and what to do), and its databases in this state.
type Group<'a> = (String, Option<(&'a str, &'a str)>, Vec<&'a str>);

/// One finding for all databases of a server that are in the same state.
fn servers(databases: &SeenDatabases) -> Vec<Finding> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (name, database, at, reading) in databases.all() {
        let server = match at {
            Some(at) if *at != database.server.at => {
                format!("{at} (its socket {} is missing or closed to us)", database.server)
            }
            _ => database.server.to_string(),
        };
        let away = reading.as_ref().err().map(|away| (&*away.why, away.hint));
        match groups.iter_mut().find(|(s, a, _)| (s, a) == (&server, &away)) {
            Some((_, _, names)) => names.push(name),
            None => groups.push((server, away, vec![name])),
        }
    }
    let of_group = |(server, away, names): Group<'_>| {
        let (subject, names) = (databases.named("Redis"), names.join(", "));
        match away {
            None => Finding::ok(AREA, subject, format!("{server} answers: {names}")),
            Some((why, hint)) => {
                let text = format!("{names} on {server} cannot be read: {why}");
                Finding::problem(AREA, subject, text, hint)
            }
        }
    };
    groups.into_iter().map(of_group).collect()
}

fn whole(databases: &SeenDatabases) -> Option<Finding> {
    let tables = databases.config_db.as_ref().ok()?;
    let subject = databases.named(schema::CONFIG_DB);
    if databases.believed().is_some() {
        return Some(Finding::ok(
            AREA,
            subject,
            "is complete (CONFIG_DB_INITIALIZED is 1)",
        ));
    }
    let is = match tables.value(schema::CONFIG_DB_INITIALIZED) {
        Some(value) => format!("is {:?}", value.chars().take(16).collect::<String>()),
        None => "is missing".to_owned(),
    };
    let text =
        format!("CONFIG_DB_INITIALIZED {is}, not 1: nothing in it is used, the last known ports are kept");
    let remedy = "the switch still boots, or its Redis was restarted empty: wait, then `config reload`";
    Some(Finding::problem(AREA, subject, text, remedy))
}

fn events(databases: &SeenDatabases, interval: &str) -> Option<Finding> {
    let subject = databases.named("keyspace notifications");
    let flags = match &databases.events {
        Events::Unknown => return None,
        Events::Denied => {
            let text = format!(
                "unknown: this user may not run CONFIG GET. If they are off, changes are found once per interval ({interval})"
            );
            return Some(Finding::note(AREA, subject, text, None));
        }
        Events::Told(flags) => flags,
    };
    let classes = |needed: &[char]| needed.iter().all(|class| flags.contains(*class));
    let on = flags.contains('K') && (flags.contains('A') || classes(&['g', 'h', '$']));
    Some(if on {
        Finding::ok(
            AREA,
            subject,
            format!("on ({flags}): a change of CONFIG_DB takes effect at once"),
        )
    } else {
        let text = format!(
            "off ({flags:?}; needed is K with A, or with g, h and $): changes are found once per interval ({interval}), not at once"
        );
        let cli = redis_cli(databases);
        let remedy = format!("on a SONiC switch they are on: {cli} CONFIG SET notify-keyspace-events AKE");
        Finding::note(AREA, subject, text, remedy)
    })
}
