//! How long a scraper waits for its answer (pure).

use std::time::Duration;

use axum::http::HeaderMap;

/// How long Prometheus waits for this scrape, less what the way back takes: after that it would not see the reason.
pub(super) fn patience(headers: &HeaderMap) -> Option<Duration> {
    const WAY_BACK: f64 = 0.5;
    let seconds = headers
        .get("x-prometheus-scrape-timeout-seconds")?
        .to_str()
        .ok()?;
    let seconds = seconds.parse::<f64>().ok().filter(|seconds| *seconds > 0.0)?;
    Duration::try_from_secs_f64((seconds - WAY_BACK).max(seconds / 2.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    #[test]
    fn a_scraper_that_waits_for_less_is_answered_in_its_time() {
        let check = |value: &str, expected: Option<f64>| {
            let mut headers = HeaderMap::new();
            let name = "X-Prometheus-Scrape-Timeout-Seconds";
            let name: HeaderName = name.parse().expect("a name");
            headers.insert(name, value.parse().expect("a value"));
            let expected = expected.map(Duration::from_secs_f64);
            assert_eq!(patience(&headers), expected, "{value}");
        };
        check("10", Some(9.5));
        check("0.8", Some(0.4));
        for value in ["", "0", "-1", "NaN", "inf", "1e300", "ten"] {
            check(value, None);
        }
        assert_eq!(patience(&HeaderMap::new()), None);
    }
}
