//! GracefulRestart: the stream on which a SoC announces its own maintenance. Notices are read, counted and reported here;
//! `maintenance` decides which state they lead to.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::held::{Held, HeldEvent, HeldMessages, HeldRpc, until};
use super::maintenance::{Announcements, Heard};
use super::reply_text;
use super::report_limiter::ReportLimiter;
use crate::model::component::PROBE;
use crate::model::{Maintenance, MaintenanceReport, Notice, NoticeType, Notices, Plane, Side};
use crate::soc::transport::Transport;
use dualtor_proto::{
    GracefulAdminRequest, GracefulAdminResponse, GracefulRestartMsgType, GracefulRestartNotifyType, ToRSide,
};

const NOTIFY: &str = "/GracefulRestart/NotifyGracefulRestartStart";

/// The five queries of a round, and this stream.
const STREAMS_NEEDED: usize = 6;

/// The RPC. `None`: our side is unknown, so there is nothing to ask for.
#[derive(Debug)]
struct GracefulRestart(Option<ToRSide>);

impl GracefulRestart {
    /// The number that the deployed daemon sends, and with which SoCs are tested: 1 if `read_side` is 0 (the lower ToR), 0 if
    /// it is 1 (the upper). The names of this enum are therefore the opposite of those of the portids. SONiC contradicts itself
    /// here, and the number is what is sent.
    fn of(side: Side) -> Self {
        Self(match side {
            Side::Lower => Some(ToRSide::UpperTor),
            Side::Upper => Some(ToRSide::LowerTor),
            Side::Unknown => None,
        })
    }
}

impl HeldRpc for GracefulRestart {
    type Message = GracefulAdminResponse;
    /// The response headers may come only with the first notice. So the stream counts as open after this long without an error.
    const OPEN_AFTER: Option<Duration> = Some(Duration::from_secs(1));

    fn streams_needed(&self) -> usize {
        STREAMS_NEEDED
    }

    fn open(&self, transport: &Transport) -> Option<HeldMessages<GracefulAdminResponse>> {
        let tor = self.0?;
        let request = GracefulAdminRequest { tor: tor.into() };
        Some(HeldMessages::opening(transport, NOTIFY, &request))
    }
}

/// The notices of one SoC, across its connections.
#[derive(Debug)]
pub struct NoticeStream {
    stream: Held<GracefulRestart>,
    announced: Announcements,
    /// Notices that have not been reported yet.
    fresh: Option<Box<Notices>>,
    /// State and due end in the last report.
    told: (Maintenance, Option<std::time::Instant>),
    limiter: ReportLimiter,
}

impl NoticeStream {
    /// Off, until the channel is READY. It stays off while the side is unknown, because the request must name a side.
    pub fn new(side: Side) -> Self {
        Self {
            stream: Held::new(GracefulRestart::of(side)),
            announced: Announcements::default(),
            fresh: None,
            told: (Maintenance::default(), None),
            limiter: ReportLimiter::of_soc(Instant::now().into_std()),
        }
    }

    /// The channel is READY: opens the stream on it.
    pub fn attach(&mut self, transport: Transport) {
        self.input(Heard::ReadyAgain);
        self.stream.attach(transport);
    }

    /// Our side has changed: asks as that side from now on. What was announced stays valid.
    pub fn change_side(&mut self, side: Side) {
        self.stream.ask(GracefulRestart::of(side));
    }

    /// The channel is not READY any more. What was announced stays valid.
    pub fn detach(&mut self) {
        self.stream.detach();
    }

    /// The next report: at once when something has changed or arrived, if the limiter allows it. Cancel-safe: everything it
    /// waits for is kept in the struct.
    pub async fn next(&mut self) -> MaintenanceReport {
        loop {
            if self.fresh.is_none() && self.told == self.now() {
                self.advance().await;
                continue;
            }
            tokio::select! {
                biased;
                () = sleep_until(self.limiter.next().into()) => return self.report(),
                () = self.advance() => {}
            }
        }
    }

    fn now(&self) -> (Maintenance, Option<std::time::Instant>) {
        (self.announced.state(), self.announced.ends())
    }

    fn report(&mut self) -> MaintenanceReport {
        let now = Instant::now().into_std();
        self.limiter.reported(now);
        self.told = self.now();
        let (state, ends) = self.told;
        MaintenanceReport {
            state,
            ends_in: ends.map(|ends| ends.saturating_duration_since(now)),
            notices: self.fresh.take(),
        }
    }

    async fn advance(&mut self) {
        let over = self.announced.ends().map(Instant::from_std);
        tokio::select! {
            () = until(over) => self.input(Heard::Tick),
            step = self.stream.next() => match step {
                HeldEvent::Open => self.input(Heard::Open),
                HeldEvent::Message(notice) => self.notice(&notice),
                HeldEvent::Unimplemented => self.input(Heard::Unimplemented),
                HeldEvent::Ended => {}
            },
        }
    }

    fn notice(&mut self, notice: &GracefulAdminResponse) {
        let kind = match GracefulRestartMsgType::try_from(notice.msgtype) {
            Ok(GracefulRestartMsgType::ServiceBegin) => NoticeType::Begin,
            Ok(GracefulRestartMsgType::ServiceEnd) => NoticeType::End,
            Err(_) => NoticeType::Unknown,
        };
        let plane = match GracefulRestartNotifyType::try_from(notice.notifytype) {
            Ok(GracefulRestartNotifyType::ControlPlane) => Plane::Control,
            Ok(GracefulRestartNotifyType::DataPlane) => Plane::Data,
            Ok(GracefulRestartNotifyType::Both) => Plane::Both,
            Err(_) => Plane::Unknown,
        };
        let guid = reply_text::clean(&notice.guid, reply_text::MAX_GUID);
        // Without a period (0), the service lasts until its END.
        let period = u32::try_from(notice.period).unwrap_or(0);
        match kind {
            NoticeType::Begin => {
                let period = (period > 0).then(|| Duration::from_secs(period.into()));
                self.input(Heard::Begin(&guid, period));
            }
            NoticeType::End => self.input(Heard::End(&guid)),
            NoticeType::Unknown => {
                tracing::debug!(target: PROBE, msgtype = notice.msgtype, "a notice of an unknown kind");
            }
        }
        let fresh = self.fresh.get_or_insert_default();
        fresh.counts[kind.index()][plane.index()] += 1;
        if kind != NoticeType::Unknown {
            let guid = guid.into();
            fresh.last = Some(Notice {
                kind,
                plane,
                guid,
                period,
            });
        }
    }

    fn input(&mut self, input: Heard<'_>) {
        self.announced.apply(input, Instant::now().into_std());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(msgtype: i32, notifytype: i32, period: i32) -> GracefulAdminResponse {
        let guid = format!("g\n{}", "x".repeat(1000));
        GracefulAdminResponse {
            msgtype,
            notifytype,
            guid,
            period,
        }
    }

    #[test]
    fn every_notice_is_counted_and_the_last_begin_or_end_is_kept() {
        let mut stream = NoticeStream::new(Side::Upper);
        for _ in 0..3 {
            stream.notice(&message(0, 1, 10));
        }
        stream.notice(&message(1, 2, -5));
        stream.notice(&message(7, 9, 1));
        let report = stream.report();
        let notices = report.notices.expect("five");
        let count = |kind: NoticeType, plane: Plane| notices.counts[kind.index()][plane.index()];
        assert_eq!(count(NoticeType::Begin, Plane::Data), 3);
        assert_eq!(count(NoticeType::End, Plane::Both), 1);
        assert_eq!(count(NoticeType::Unknown, Plane::Unknown), 1);
        assert_eq!(notices.counts.as_flattened().iter().sum::<u64>(), 5);
        let last = notices.last.expect("an END");
        assert_eq!(
            (last.kind, last.plane, last.period),
            (NoticeType::End, Plane::Both, 0)
        );
        assert_eq!(last.guid.chars().count(), reply_text::MAX_GUID, "cut");
        assert!(!last.guid.contains('\n'), "clean");
        assert_eq!((report.state, report.ends_in), (Maintenance::Noop, None));
        // It is reported once.
        assert_eq!(stream.report().notices, None);
    }

    #[test]
    fn a_report_says_how_long_the_service_will_last() {
        let mut stream = NoticeStream::new(Side::Upper);
        stream.notice(&message(0, 0, 3600));
        let report = stream.report();
        assert_eq!(report.state, Maintenance::InProgress);
        let left = report.ends_in.expect("a period");
        assert!(
            left <= Duration::from_secs(3600) && left > Duration::from_secs(3000),
            "{left:?}"
        );
        for period in [0, -1, i32::MIN] {
            stream.notice(&message(0, 0, period));
            assert_eq!(stream.report().ends_in, None, "{period}");
        }
    }

    #[tokio::test]
    async fn a_flood_of_notices_is_told_in_sums_at_a_pace() {
        let mut stream = NoticeStream::new(Side::Upper);
        let began = Instant::now();
        let mut told = 0;
        for reports in 0..5u32 {
            for n in 0..1000 {
                stream.notice(&message(n % 2, 0, 10));
            }
            let notices = stream.next().await.notices.expect("notices");
            told += notices.counts.as_flattened().iter().sum::<u64>();
            assert!(
                began.elapsed() >= Duration::from_millis(50) * reports,
                "report {reports}"
            );
        }
        assert_eq!(told, 5000);
    }
}
