use super::*;

#[test]
fn what_a_server_says_is_cut_and_cleaned() {
    let said = |text: &str| {
        let value = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).expect("an error");
        let redis::Value::ServerError(error) = value else {
            panic!("{value:?}")
        };
        Failure::Refused(error.into()).to_string()
    };
    assert!(said("ERR no such thing").contains("no such thing"));
    let long = said(&format!("ERR {}", "x".repeat(60_000)));
    assert!(long.chars().count() <= 205, "{long}");
    assert!(!said("ERR \u{202e}\u{1b}[31m").contains(['\u{202e}', '\u{1b}']));
}

#[test]
fn who_breaks_the_protocol_is_asked_again_less_and_less_often() {
    let mut pause = Pause::default();
    let mut after = |failure: Failure, served| pause.after(&failure, Duration::from_secs(served)).as_millis();
    let pauses: Vec<_> = (0..8).map(|_| after(Breach::Line.into(), 1)).collect();
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    assert_eq!(after(Failure::Closed, 1), 500);
    assert_eq!(after(Breach::Line.into(), 1), 500);
    assert_eq!(after(Breach::Line.into(), 1), 1000);
    assert_eq!(after(Breach::Line.into(), 3600), 500);
}
