//! What the exporter does when one of its parts panics.

use std::path::Path;

use super::parts::oversee;
use super::*;

fn exporter(load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static) -> Exporter {
    let yaml = "side: upper\ndatabases: {publish: off}\ntargets: []\n";
    Exporter::start(Options {
        config: Config::parse(yaml, Path::new("config.yml")).expect("good"),
        load: Arc::new(load),
        follow: None,
        listeners: Default::default(),
        paths: Default::default(),
        allowed_hosts: Default::default(),
        enable_lifecycle: true,
        service_manager: Default::default(),
        watchdog: Default::default(),
        web_config: None,
        limits: Default::default(),
        otel: None,
        lines_dropped: Arc::default(),
    })
}

#[tokio::test]
async fn a_part_that_panics_ends_the_exporter_in_order_and_is_named() {
    let mut exporter = exporter(|| panic!("not asked"));
    let mut settled = exporter.fleet().settled();
    oversee(&mut exporter.tasks, "a part", async { panic!("oh") });
    let error = exporter.run(std::future::pending()).await.expect_err("a defect");
    assert!(matches!(error, AppError::Defect("a part", _)), "{error}");
    assert!(error.to_string().contains("oh"), "{error}");
    // The fleet has been stopped.
    while settled.changed().await.is_ok() {}
}

#[tokio::test]
async fn a_reload_that_panics_is_one_that_failed() {
    let exporter = exporter(|| panic!("a file that nobody has thought of"));
    let (reloader, status) = (exporter.reloader(), exporter.config_status.subscribe());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(exporter.run(async move {
        let _ = stopped.await;
    }));
    for _ in 0..2 {
        let answer = reload(&reloader).await.expect("an exporter that runs");
        let reason = answer.expect_err("a failure");
        assert!(
            reason.contains("a defect") && reason.contains("nobody has thought of"),
            "{reason}"
        );
        assert!(!status.borrow().successful);
    }
    stop.send(()).expect("an exporter that runs");
    running.await.expect("no panic").expect("a clean stop");
}
