//! The settings in CONFIG_DB's row `DUALTOR_EXPORTER|config`, which survive an upgrade of SONiC (`--config.database`). They count
//! where neither a flag nor the file says otherwise. SONiC checks the row with packaging/sonic/sonic-dualtor-exporter.yang.

use std::time::Duration;

use super::settings::Publish;
use crate::model::{Row, Side, text};

/// What the row sets. The default: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SwitchSettings {
    /// Where to serve, as in `--web.listen-address`.
    pub listen: Option<String>,
    pub(super) publish: Option<Publish>,
    pub(super) interval: Option<Duration>,
    pub(super) side: Option<Side>,
}

/// The longest interval, s: of the YANG module.
const MOST_SECONDS: u64 = 3600;

impl SwitchSettings {
    /// Reads the row. `Err` names the field and what was expected.
    pub fn of_row(row: &Row) -> Result<Self, String> {
        let mut settings = Self::default();
        for (name, value) in row {
            let read = match name.as_str() {
                "listen_address" => set(&mut settings.listen, Some(value.clone())),
                "publish" => set(&mut settings.publish, publish(value)),
                "interval" => set(&mut settings.interval, interval(value)),
                "side" => set(&mut settings.side, side(value)),
                // What SONiC writes into a row without fields.
                "NULL" => true,
                _ => {
                    let name = text::quote(name);
                    return Err(format!("unknown field \"{name}\", expected one of {}", names()));
                }
            };
            if !read {
                let expected = FIELDS.iter().find(|(field, _)| field == name);
                let expected = expected.map_or("", |(_, expected)| expected);
                return Err(format!(
                    "{name}: expected {expected}, got \"{}\"",
                    text::quote(value)
                ));
            }
        }
        Ok(settings)
    }
}

/// The fields, and what each may be.
const FIELDS: [(&str, &str); 4] = [
    ("listen_address", "HOST:PORT or :PORT"),
    ("publish", "own, shadow or off"),
    ("interval", "1 to 3600 (seconds)"),
    ("side", "auto, upper or lower"),
];

fn names() -> String {
    FIELDS.map(|(name, _)| name).join(", ")
}

/// Whether there is a value.
fn set<T>(setting: &mut Option<T>, value: Option<T>) -> bool {
    *setting = value;
    setting.is_some()
}

fn publish(value: &str) -> Option<Publish> {
    let all = [Publish::Own, Publish::Shadow, Publish::Off];
    all.into_iter().find(|publish| publish.label() == value)
}

fn interval(value: &str) -> Option<Duration> {
    let seconds = value.parse().ok()?;
    (1..=MOST_SECONDS)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

fn side(value: &str) -> Option<Side> {
    match value {
        "auto" => Some(Side::Unknown),
        "upper" => Some(Side::Upper),
        "lower" => Some(Side::Lower),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn row(fields: &[(&str, &str)]) -> Row {
        let owned = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    fn refused(name: &str, value: &str, expected: &str) {
        let read = SwitchSettings::of_row(&row(&[(name, value)]));
        assert_eq!(read.expect_err("wrong"), expected);
    }

    #[test]
    fn each_field_is_read_and_a_wrong_one_is_told_with_what_was_expected() {
        let all = [
            ("listen_address", ":9"),
            ("publish", "shadow"),
            ("interval", "7"),
            ("side", "lower"),
        ];
        let read = SwitchSettings::of_row(&row(&all)).expect("good");
        assert_eq!(read.listen.as_deref(), Some(":9"));
        assert_eq!(
            (read.publish, read.side),
            (Some(Publish::Shadow), Some(Side::Lower))
        );
        assert_eq!(read.interval, Some(Duration::from_secs(7)));
        let nothing = SwitchSettings::of_row(&row(&[("NULL", "NULL")]));
        assert_eq!(nothing, Ok(SwitchSettings::default()));
        refused(
            "publish",
            "on",
            r#"publish: expected own, shadow or off, got "on""#,
        );
        refused(
            "interval",
            "60s",
            r#"interval: expected 1 to 3600 (seconds), got "60s""#,
        );
        refused(
            "interval",
            "0",
            r#"interval: expected 1 to 3600 (seconds), got "0""#,
        );
        refused("side", "", r#"side: expected auto, upper or lower, got """#);
        let unknown = "unknown field \"a\u{fffd}\", expected one of listen_address, publish, interval, side";
        refused("a\u{1b}", "", unknown);
    }

    #[test]
    fn the_file_counts_before_the_row_and_the_row_before_the_default() {
        let all = [("publish", "shadow"), ("interval", "7"), ("side", "lower")];
        let switch = SwitchSettings::of_row(&row(&all)).expect("good");
        let parse = |text: &str| Config::parse_over(text, Path::new("c.yml"), &switch).expect("good");
        let config = parse("{}");
        assert_eq!((config.publish, config.side), (Publish::Shadow, Side::Lower));
        assert_eq!(config.probe.interval, Duration::from_secs(7));
        let config = parse("{probe: {timeout: 1s}, databases: {schema: hld}}");
        assert_eq!((config.publish, config.side), (Publish::Shadow, Side::Lower));
        assert_eq!(config.probe.interval, Duration::from_secs(7));
        // The default, if the file has it.
        let config = parse("{probe: {interval: 60s}, side: auto, databases: {publish: own}}");
        assert_eq!((config.publish, config.side), (Publish::Own, Side::Unknown));
        assert_eq!(config.probe.interval, Duration::from_secs(60));
    }

    #[test]
    fn every_leaf_of_the_yang_module_is_a_field() {
        let yang = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/sonic/sonic-dualtor-exporter.yang");
        let yang = std::fs::read_to_string(yang).expect("the module");
        let leaves = yang.lines().filter_map(|line| line.trim().strip_prefix("leaf "));
        let leaves: Vec<&str> = leaves.map(|line| line.trim_end_matches(" {")).collect();
        assert_eq!(leaves, FIELDS.map(|(name, _)| name));
        assert!(yang.contains(&format!("range \"1..{MOST_SECONDS}\"")));
    }
}
