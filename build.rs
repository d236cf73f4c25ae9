//! Compiles `proto/` with protox, so that no protoc is needed on the build machine, and notes the source revision.

use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["linkmgr_grpc_driver.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .codec_path("crate::proto::codec::SmallCodec")
        .compile_fds(descriptors)?;
    println!("cargo:rustc-env=DUALTOR_REVISION={}", revision());
    println!("cargo:rerun-if-env-changed=DUALTOR_REVISION");
    // Grows with each commit; in a source archive there is none.
    if std::path::Path::new(".git/logs/HEAD").exists() {
        println!("cargo:rerun-if-changed=.git/logs/HEAD");
    }
    Ok(())
}

/// The packager's word, else git's, else "unknown" (a source archive).
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
