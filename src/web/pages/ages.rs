//! How long ago something was, in words. Pure. The page's script has the same rules.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

/// A duration in its two largest units: "4 s", "3 h 12 min", "2 d 5 h".
pub(super) fn lasting(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// From then until now; a time in the future counts as now.
pub(super) fn since(then: SystemTime, now: SystemTime) -> String {
    lasting(now.duration_since(then).unwrap_or_default())
}

/// For people: UTC, to the second.
pub(super) fn clock(time: SystemTime) -> String {
    DateTime::<Utc>::from(time)
        .format("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// A configured duration, which may be short: "4 s", "1.5 s", "200 ms".
pub(super) fn setting(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (0, millis) => format!("{millis} ms"),
        (_, 0) => lasting(duration),
        _ => format!("{} s", duration.as_secs_f64()),
    }
}

/// A short duration: "1.2 ms".
pub(super) fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_two_largest_units() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h 0 min"),
            (11_520, "3 h 12 min"),
            (86_399, "23 h 59 min"),
            (190_800, "2 d 5 h"),
        ] {
            assert_eq!(lasting(Duration::from_secs(seconds)), expected);
        }
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(90);
        assert_eq!(since(then, SystemTime::UNIX_EPOCH), "0 s");
        assert_eq!(clock(then), "1970-01-01 00:01:30");
        assert_eq!(millis(Duration::from_micros(1234)), "1.2 ms");
        for (millis, expected) in [
            (200, "200 ms"),
            (1_500, "1.5 s"),
            (4_000, "4 s"),
            (480_000, "8 min"),
        ] {
            assert_eq!(setting(Duration::from_millis(millis)), expected);
        }
    }
}
