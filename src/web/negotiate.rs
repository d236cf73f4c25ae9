//! What a client's `Accept` and `Accept-Encoding` ask for (RFC 9110, 12.4 and 12.5). Pure.
//!
//! Names are compared without case. Values may be quoted. A weight of 0 means "not this". Elements that cannot be parsed are
//! ignored, so a scraper always gets some format.

use axum::http::{HeaderMap, HeaderName};

use crate::telemetry::exposition::TextFormat;

/// The values of a header, one item per line. A line that is not text is left out.
pub(super) fn header_lines<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
}

/// The format for `Accept`: OpenMetrics if its weight is at least that of plain text. One item per header line.
pub fn format_for<'a>(accept: impl IntoIterator<Item = &'a str>) -> TextFormat {
    let (mut open_metrics, mut text) = (Liking::default(), Liking::default());
    for range in accept.into_iter().flat_map(ranges) {
        let version = range.parameter("version");
        match (&*range.value, version.as_deref()) {
            ("application/openmetrics-text", Some("1.0.0")) => open_metrics.hear(4, range.weight),
            ("application/openmetrics-text", Some("0.0.1")) => open_metrics.hear(3, range.weight),
            ("application/openmetrics-text", None) => open_metrics.hear(2, range.weight),
            ("application/*", _) => open_metrics.hear(1, range.weight),
            ("text/plain", Some("0.0.4")) => text.hear(3, range.weight),
            ("text/plain", None) => text.hear(2, range.weight),
            ("text/*", _) => text.hear(1, range.weight),
            // A client that accepts anything gets plain text.
            ("*/*", _) => text.hear(0, range.weight),
            _ => {}
        }
    }
    if open_metrics.weight > 0 && open_metrics.weight >= text.weight {
        TextFormat::OpenMetrics
    } else {
        TextFormat::Text
    }
}

/// Whether `Accept-Encoding` accepts gzip, with a weight at least that of no encoding. One item per header line.
pub(super) fn takes_gzip<'a>(accept_encoding: impl IntoIterator<Item = &'a str>) -> bool {
    let (mut gzip, mut identity) = (Liking::default(), Liking::default());
    for range in accept_encoding.into_iter().flat_map(ranges) {
        match &*range.value {
            "gzip" | "x-gzip" => gzip.hear(1, range.weight),
            "identity" => identity.hear(1, range.weight),
            "*" => gzip.hear(0, range.weight),
            _ => {}
        }
    }
    gzip.weight > 0 && gzip.weight >= identity.weight
}

/// The weight of a format: that of the range that fits it most exactly.
#[derive(Debug, Default)]
struct Liking {
    fit: u8,
    /// In thousandths.
    weight: u16,
}

impl Liking {
    fn hear(&mut self, fit: u8, weight: u16) {
        if fit > self.fit {
            *self = Self { fit, weight };
        } else if fit == self.fit {
            self.weight = self.weight.max(weight);
        }
    }
}

/// One element of such a list.
struct Range<'a> {
    /// In lower case.
    value: String,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    weight: u16,
}

impl Range<'_> {
    fn parameter(&self, name: &str) -> Option<String> {
        let mut parameters = self.parameters.iter();
        let (_, value) = parameters.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(unquoted(value))
    }
}

/// The elements of a header's list that can be parsed.
fn ranges(header: &str) -> impl Iterator<Item = Range<'_>> {
    split(header, b',').filter_map(|range| {
        let mut parts = split(range, b';').map(str::trim);
        let value = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameters: Vec<(&str, &str)> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let weight = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("q"));
        let weight = weight.map_or(Some(1000), |(_, value)| weight_of(value))?;
        Some(Range {
            value,
            parameters,
            weight,
        })
    })
}

/// The parts between separators. A separator within quotes does not count.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                byte if byte == separator && !quoted => {
                    rest = Some(&text[at + 1..]);
                    return Some(&text[..at]);
                }
                _ => {}
            }
        }
        rest = None;
        Some(text)
    })
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut escaped = false;
    let keep = |c: &char| {
        escaped = *c == '\\' && !escaped;
        !escaped
    };
    inner.chars().filter(keep).collect()
}

/// A weight (`0`, `1`, `0.5`) in thousandths. Further digits are ignored. `None`: not a weight.
fn weight_of(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{digits:0<3.3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if digits.bytes().all(|byte| byte == b'0') => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_format_is_what_the_scraper_likes_best() {
        let check = |accept: &str, expected| assert_eq!(format_for([accept]), expected, "{accept:?}");
        check("", TextFormat::Text);
        check("*/*", TextFormat::Text);
        check("text/plain", TextFormat::Text);
        check("text/html,application/xhtml+xml,*/*;q=0.8", TextFormat::Text);
        check(
            "application/openmetrics-text; version=1.0.0",
            TextFormat::OpenMetrics,
        );
        check(
            "application/openmetrics-text;version=\"1.0.0\",text/plain;q=0.5",
            TextFormat::OpenMetrics,
        );
        check(
            "application/openmetrics-text;q=0.2,text/plain;version=0.0.4;q=0.9",
            TextFormat::Text,
        );
        check("application/openmetrics-text;q=0, */*;q=0.1", TextFormat::Text);
        check("application/openmetrics-text;version=2.0.0", TextFormat::Text);
        check("garbage;;;q=q,,,", TextFormat::Text);
        // What Prometheus 2 and 3 send.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            TextFormat::OpenMetrics,
        );
        check(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            TextFormat::OpenMetrics,
        );
    }

    #[test]
    fn names_have_no_case_and_values_may_be_quoted() {
        let check = |accept: &str, expected| assert_eq!(format_for([accept]), expected, "{accept:?}");
        check(
            "application/openmetrics-text;Q=0.1, text/plain;Q=0.9",
            TextFormat::Text,
        );
        check(
            "text/plain;Q=0.1, Application/OpenMetrics-Text;Q=0.9",
            TextFormat::OpenMetrics,
        );
        check("application/openmetrics-text ; Version = 2.0.0", TextFormat::Text);
        check(
            "application/openmetrics-text ; VERSION = \"1.\\0.0\" ; q = 1",
            TextFormat::OpenMetrics,
        );
        // A comma or semicolon within quotes is not a separator.
        check(
            "text/html;title=\"a,application/openmetrics-text;q=1\", text/plain;q=0.5",
            TextFormat::Text,
        );
        check(
            "text/html;title=\"\\\"\", application/openmetrics-text",
            TextFormat::OpenMetrics,
        );
        check("\"application/openmetrics-text", TextFormat::Text);
        check(
            "\tapplication/openmetrics-text\t;\tq=0.5\t",
            TextFormat::OpenMetrics,
        );
    }

    #[test]
    fn the_range_that_fits_best_counts_and_zero_is_no() {
        let check = |accept: &str, expected| assert_eq!(format_for([accept]), expected, "{accept:?}");
        check(
            "text/plain;q=0, */*, application/openmetrics-text;q=0.1",
            TextFormat::OpenMetrics,
        );
        check("application/*", TextFormat::OpenMetrics);
        check(
            "application/*;q=0.9, application/openmetrics-text;q=0.1, text/plain;q=0.5",
            TextFormat::Text,
        );
        check(
            "application/openmetrics-text;version=1.0.0;q=0, application/openmetrics-text;q=1",
            TextFormat::Text,
        );
        check("application/openmetrics-text;q=0.000", TextFormat::Text);
        // An element with an invalid weight is ignored.
        for weight in [
            "2", "-1", "1.001", "nan", "inf", "1e0", ".5", "0x1", "", "\"1\"", "0.5.5",
        ] {
            check(
                &format!("application/openmetrics-text;q={weight}"),
                TextFormat::Text,
            );
        }
        check("application/openmetrics-text;q=0.0009", TextFormat::Text);
        check("application/openmetrics-text;q=1.000", TextFormat::OpenMetrics);
    }

    #[test]
    fn header_lines_are_one_list_and_one_that_is_broken_spoils_no_other() {
        let lines = ["text/plain;q=\"", "application/openmetrics-text"];
        assert_eq!(format_for(lines), TextFormat::OpenMetrics);
        assert_eq!(format_for([]), TextFormat::Text);
        let long = "text/plain;q=0.1,".repeat(1000) + "application/openmetrics-text";
        assert_eq!(format_for([&*long]), TextFormat::OpenMetrics);
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let check = |header: &str, expected| assert_eq!(takes_gzip([header]), expected, "{header:?}");
        for header in [
            "gzip",
            "GZIP",
            "x-gzip",
            "deflate, gzip;q=1.0, *;q=0.5",
            "*",
            "br, gzip;Q=0.001",
        ] {
            check(header, true);
        }
        for header in [
            "",
            "identity",
            "br",
            "gzip;q=0",
            "gzip;Q=0.000",
            "*;q=1, gzip;q=0",
            "gzip;q=0.5, identity;q=0.6",
            "gzipped",
            "\"gzip\"",
        ] {
            check(header, false);
        }
        assert!(!takes_gzip([]));
    }

    proptest! {
        #[test]
        fn no_header_panics(header in "[a-zA-Z0-9/*;,=\" \\\\.é-]{0,60}") {
            format_for([&*header]);
            takes_gzip([&*header]);
        }
    }
}
