//! Causes events, one per SoC at a time, and measures how long rows and metrics still show the old state.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dualtor_sim::Soc;

use crate::http::{self, Scrape};
use crate::kind::Kind;
use crate::report::Report;
use crate::truth::{self, Truth};
use crate::wait::wait_until;
use crate::world::World;

/// Time between two checks of the rows of SoCs with an event.
const TICK: Duration = Duration::from_millis(50);
/// Time between two checks of all other rows.
const SURVEY: Duration = Duration::from_secs(1);
/// Longest wait for a case. Its bound is much shorter.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Time between two absences of Redis.
const REDIS_EVERY: Duration = Duration::from_secs(40);
/// How long it is away.
const REDIS_AWAY: Duration = Duration::from_secs(5);

/// An event that is not shown everywhere yet.
struct Case {
    kind: Kind,
    since: Instant,
    row: Option<Duration>,
    metrics: Option<Duration>,
    /// How often the channel had become READY, and how many connections the SoC had seen before the event.
    before: (u64, u64),
    /// For an event that only interrupts the channel: the correct rows seen since, with the time of writing and the lag. Metrics
    /// show when the new connection became READY; the first row written after that counts.
    right: Vec<(f64, Duration)>,
}

struct Subject {
    soc: Soc,
    port: String,
    truth: Truth,
    case: Option<Case>,
    /// The fault to end, and when.
    ends: Option<(Kind, Instant)>,
    /// Its connection is not older than this.
    connected: Instant,
    /// It gets no event before this time.
    rests: Instant,
    /// Since when its row, and its metrics, have been wrong without an event.
    wrong: [Option<Instant>; 2],
}

pub(crate) struct Drive {
    world: World,
    subjects: Vec<Subject>,
    random: fastrand::Rng,
    report: Report,
}

impl Drive {
    pub(crate) fn new(world: World, seed: u64) -> Self {
        let socs = world.sim.socs().to_vec();
        let subject = |soc: Soc| Subject {
            port: soc.name().to_owned(),
            truth: Truth {
                there: true,
                answers: true,
                portids: true,
                service: false,
                state: soc.state(),
            },
            soc,
            case: None,
            ends: None,
            connected: Instant::now(),
            rests: Instant::now(),
            wrong: [None; 2],
        };
        Self {
            subjects: socs.into_iter().map(subject).collect(),
            world,
            random: fastrand::Rng::with_seed(seed),
            report: Report::default(),
        }
    }

    pub(crate) async fn run(mut self, time: Duration) -> Report {
        self.settled().await;
        let end = Instant::now() + time;
        // Events under way are measured to their end.
        let last = end - Duration::from_secs(20).min(time / 3);
        let (mut survey, mut redis) = (Instant::now(), Instant::now() + REDIS_EVERY / 2);
        let mut frozen = self.random.bool();
        while Instant::now() < end {
            let now = Instant::now();
            let more = now < last;
            if more && now >= redis {
                frozen = !frozen;
                self.redis_goes_away(frozen).await;
                redis = Instant::now() + REDIS_EVERY;
            }
            self.things_happen(more);
            let all = now >= survey;
            if all {
                survey = now + SURVEY;
            }
            self.look(all);
            tokio::time::sleep(TICK).await;
        }
        self.see_out().await;
        self.notes().await;
        self.report
    }

    /// Waits until all SoCs are shown as healthy.
    async fn settled(&mut self) {
        let ports: Vec<String> = self.subjects.iter().map(|subject| subject.port.clone()).collect();
        wait_until("all SoCs are shown as they are", async || {
            let rows = self.world.rows(&ports);
            let seen = self.world.metrics().ok_or("no scrape yet")?;
            let mut wrong = self.subjects.iter().zip(&rows).filter(|(subject, row)| {
                let metrics = seen.ports.get(&subject.port);
                truth::of_row(row) != Some(subject.truth.of_row())
                    || !metrics.is_some_and(|shown| subject.truth.fits_metrics(&shown.view))
            });
            match wrong.next() {
                None => Ok(()),
                Some((subject, row)) => Err(format!("{}: {row:?}", subject.port)),
            }
        })
        .await;
    }

    /// Starts events at SoCs without one, and ends faults that have lasted long enough.
    fn things_happen(&mut self, more: bool) {
        let now = Instant::now();
        let busy = self
            .subjects
            .iter()
            .filter(|s| s.case.is_some() || s.ends.is_some())
            .count();
        let mut room = (self.subjects.len() / 4).saturating_sub(busy);
        let Some(seen) = self.world.metrics() else { return };
        let mut begin: Vec<(usize, Kind)> = Vec::new();
        for (n, subject) in self.subjects.iter_mut().enumerate() {
            if subject.case.is_some() {
                continue;
            }
            match subject.ends {
                Some((kind, at)) if now >= at => {
                    subject.ends = None;
                    begin.push((n, kind));
                }
                Some(_) => {}
                // At each check, one in 40 of the SoCs without an event.
                None if more && room > 0 && now >= subject.rests && self.random.u8(..40) == 0 => {
                    let kind = Kind::any(&mut self.random);
                    room -= 1;
                    begin.push((n, kind));
                }
                None => {}
            }
        }
        if begin.is_empty() {
            return;
        }
        for (n, kind) in begin {
            let subject = &mut self.subjects[n];
            let times = seen.ports.get(&subject.port).map_or(0, |shown| shown.times);
            subject.wrong = [None; 2];
            subject.case = Some(Case {
                kind: kind.on_connection_of(subject.connected.elapsed()),
                since: Instant::now(),
                row: None,
                metrics: None,
                before: (times, subject.soc.counters().connections),
                right: Vec::new(),
            });
            kind.befall(&subject.soc, &mut subject.truth, &mut self.random);
        }
    }

    /// Compares what is shown with the true state: for SoCs with an event, or for all.
    fn look(&mut self, all: bool) {
        let asked: Vec<usize> = (0..self.subjects.len())
            .filter(|n| {
                all || self.subjects[*n]
                    .case
                    .as_ref()
                    .is_some_and(|case| case.row.is_none())
            })
            .collect();
        let ports: Vec<String> = asked.iter().map(|n| self.subjects[*n].port.clone()).collect();
        let before = Instant::now();
        let rows = if ports.is_empty() {
            Vec::new()
        } else {
            self.world.rows(&ports)
        };
        let rows: HashMap<usize, _> = asked.into_iter().zip(rows).collect();
        let seen = self.world.metrics();
        for (n, subject) in self.subjects.iter_mut().enumerate() {
            let right_row = rows.get(&n).map(|row| {
                let right = truth::of_row(row).as_ref() == Some(&subject.truth.of_row());
                (right, truth::time_post(row))
            });
            let metrics = seen.as_ref().and_then(|seen| {
                let shown = seen.ports.get(&subject.port)?;
                Some((seen, subject.truth.fits_metrics(&shown.view), shown))
            });
            let Some(case) = &mut subject.case else {
                subject.watch(
                    before,
                    right_row.map(|(right, _)| right),
                    metrics,
                    &mut self.report,
                );
                continue;
            };
            let again = || subject.soc.counters().connections > case.before.1;
            if case.row.is_none()
                && let Some((true, written)) = right_row
            {
                let lag = case.since.elapsed();
                match case.kind.blinks() {
                    false => case.row = Some(lag),
                    true if case.right.last().is_none_or(|(at, _)| *at != written) => {
                        case.right.push((written, lag));
                    }
                    true => {}
                }
            }
            if let Some((seen, true, shown)) = metrics
                && seen.asked > case.since
                && (!case.kind.blinks() || shown.times > case.before.0 && again())
            {
                case.metrics.get_or_insert(seen.at - case.since);
                if case.row.is_none() && case.kind.blinks() {
                    // A row that was written about the old connection does not count.
                    let of_now = case.right.iter().find(|(at, _)| *at > shown.changed);
                    case.row = of_now.map(|(_, lag)| *lag);
                }
            }
            let given_up = case.since.elapsed() > GIVE_UP;
            if (case.row.is_some() && case.metrics.is_some()) || given_up {
                let never = case.since.elapsed();
                if case.kind.is_in_rows() {
                    self.report
                        .row(case.kind, &subject.port, case.row.unwrap_or(never));
                }
                self.report
                    .metrics(case.kind, &subject.port, case.metrics.unwrap_or(never));
                let (kind, now) = (case.kind, Instant::now());
                subject.case = None;
                if kind.connects() {
                    subject.connected = now;
                }
                let pause = Duration::from_millis(self.random.u64(1_000..4_000));
                subject.ends = kind.end().map(|end| (end, now + pause));
                subject.rests = now + pause;
            }
        }
    }

    /// Redis stops answering, or is killed. Some SoCs change meanwhile. When it is back, all rows must be correct.
    async fn redis_goes_away(&mut self, frozen: bool) {
        self.see_out().await;
        match frozen {
            true => self.world.redis.freeze(),
            false => self.world.redis.kill(),
        }
        for _ in 0..self.subjects.len() / 10 {
            let n = self.random.usize(..self.subjects.len());
            let subject = &mut self.subjects[n];
            Kind::Direction.befall(&subject.soc, &mut subject.truth, &mut self.random);
        }
        tokio::time::sleep(REDIS_AWAY).await;
        // The exporter knows the changes by now, so only Redis' part is measured.
        tokio::time::sleep(Kind::Direction.bound()).await;
        self.metrics_go_on();
        let back = Instant::now();
        match frozen {
            true => self.world.redis.thaw(),
            false => self.world.redis.launch(&[]).await,
        }
        let ports: Vec<String> = self.subjects.iter().map(|subject| subject.port.clone()).collect();
        let mut left: Vec<bool> = vec![true; ports.len()];
        while left.contains(&true) && back.elapsed() < GIVE_UP {
            let rows = self.world.rows(&ports);
            for (n, row) in rows.iter().enumerate() {
                if left[n] && truth::of_row(row) == Some(self.subjects[n].truth.of_row()) {
                    left[n] = false;
                    self.report.row(Kind::RedisBack, &ports[n], back.elapsed());
                }
            }
            tokio::time::sleep(TICK).await;
        }
        for (n, _) in left.iter().enumerate().filter(|(_, left)| **left) {
            self.report.row(Kind::RedisBack, &ports[n], back.elapsed());
        }
        for subject in &mut self.subjects {
            subject.wrong = [None; 2];
        }
    }

    /// While Redis is away, metrics must still be correct.
    fn metrics_go_on(&mut self) {
        let Some(seen) = self.world.metrics() else { return };
        for subject in &self.subjects {
            let shown = seen.ports.get(&subject.port);
            if !shown.is_some_and(|shown| subject.truth.fits_metrics(&shown.view)) {
                let port = &subject.port;
                self.report
                    .broken(format!("{port}: metrics wrong while Redis was away: {shown:?}"));
            }
        }
    }

    /// Waits until no event is open.
    async fn see_out(&mut self) {
        let began = Instant::now();
        let open = |subject: &Subject| subject.case.is_some() || subject.ends.is_some();
        while self.subjects.iter().any(open) {
            if began.elapsed() > GIVE_UP * 2 {
                self.report
                    .broken("what has happened was not shown in the end".to_owned());
                return;
            }
            self.things_happen(false);
            self.look(false);
            tokio::time::sleep(TICK).await;
        }
    }

    /// Checks the exporter's metrics about itself.
    async fn notes(&mut self) {
        let scrape = Scrape::parse(http::get(self.world.web, "/metrics").await.text());
        let name = "dualtor_scheduling_delay_seconds";
        let late = scrape.count(&format!("{name}_count"), &[])
            - scrape.count(&format!("{name}_bucket"), &[("le", "0.25")]);
        let rounds = scrape.count("dualtor_probes_total", &[("query", "admin")]);
        let restarts = scrape.count("dualtor_session_restarts_total", &[]);
        let memory = scrape.count("process_resident_memory_bytes", &[]) / (1024 * 1024);
        self.report.notes.push(format!(
            "{rounds} rounds, {late} tasks over 250 ms late, {memory} MiB resident"
        ));
        if restarts > 0 {
            self.report
                .broken(format!("{restarts} sessions have ended by a defect"));
        }
        let log = self.world.exporter.stderr();
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            self.report.broken(format!("the exporter has panicked: {line}"));
        }
    }
}

impl Subject {
    /// A SoC without an event must always be shown correctly.
    fn watch(
        &mut self,
        now: Instant,
        row: Option<bool>,
        metrics: Option<(&crate::world::Seen, bool, &truth::Shown)>,
        report: &mut Report,
    ) {
        let [row_since, metrics_since] = &mut self.wrong;
        match (row, *row_since) {
            (Some(false), None) => *row_since = Some(now),
            (Some(true), Some(since)) => {
                *row_since = None;
                report.row(Kind::Untouched, &self.port, now - since);
            }
            (Some(false), Some(since)) if now - since > GIVE_UP => {
                *row_since = Some(now);
                report.row(Kind::Untouched, &self.port, now - since);
            }
            _ => {}
        }
        let Some((seen, right, _)) = metrics else { return };
        match (right, *metrics_since) {
            (false, None) => *metrics_since = Some(seen.at),
            (true, Some(since)) => {
                *metrics_since = None;
                report.metrics(
                    Kind::Untouched,
                    &self.port,
                    seen.at.saturating_duration_since(since),
                );
            }
            (false, Some(since)) if seen.at.saturating_duration_since(since) > GIVE_UP => {
                *metrics_since = Some(seen.at);
                report.metrics(Kind::Untouched, &self.port, GIVE_UP);
            }
            _ => {}
        }
    }
}
