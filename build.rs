//! Puts the source revision into the binary.

use std::process::Command;

fn main() {
    println!("cargo:rustc-env=DUALTOR_REVISION={}", revision());
    println!("cargo:rerun-if-env-changed=DUALTOR_REVISION");
    // This file grows with each commit. A source archive has none.
    if std::path::Path::new(".git/logs/HEAD").exists() {
        println!("cargo:rerun-if-changed=.git/logs/HEAD");
    }
}

/// From the variable `DUALTOR_REVISION` (set by a packager), else from git, else "unknown" (a source archive).
fn revision() -> String {
    if let Ok(revision) = std::env::var("DUALTOR_REVISION") {
        return revision;
    }
    let git = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    let revision = git.ok().filter(|output| output.status.success());
    let revision = revision.and_then(|output| String::from_utf8(output.stdout).ok());
    revision.map_or("unknown".to_owned(), |text| text.trim().to_owned())
}
