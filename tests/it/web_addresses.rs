//! Listen addresses: both families, whatever the host's settings are; in the test's own network namespace.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Prints for each address whether port 9075 answers, after the log has reported a listen address.
const SCRIPT: &str = r#"
set -e
ip link set lo up
sysctl -qw $SYSCTL
"$PROGRAM" --config.file "$DIR/config.yml" $FLAGS 2> "$DIR/log" &
until grep -q message=serving "$DIR/log"; do kill -0 $! && sleep 0.05; done
for address in 127.0.0.1 '[::1]'; do
    if curl -gsf -o /dev/null "http://$address:9075/-/healthy"; then echo "$address"; fi
done
kill $!
wait $!
"#;

/// Whether this machine permits a network namespace for the test; prints it if not.
fn permitted() -> bool {
    let tried = Command::new("unshare")
        .args(["--map-root-user", "--net", "ip", "link", "set", "lo", "up"])
        .output();
    let permitted = tried.is_ok_and(|tried| tried.status.success());
    if !permitted {
        // Not through the test harness, which hides the output of a test that passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: this machine permits no network namespace (unshare --map-root-user --net, and ip)"
        );
    }
    permitted
}

/// The addresses that answer.
fn served(sysctl: &str, flags: &str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let config =
        "databases: {publish: off}\nside: upper\ntargets:\n  - {port: Ethernet0, address: 127.0.0.9}\n";
    std::fs::write(dir.path().join("config.yml"), config).expect("written");
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "--pid", "--fork", "--kill-child"])
        .args(["timeout", "60", "sh", "-c", SCRIPT])
        .env("DIR", dir.path())
        .env("PROGRAM", env!("CARGO_BIN_EXE_dualtor-exporter"))
        .env("SYSCTL", sysctl)
        .env("FLAGS", flags)
        .stdin(Stdio::null())
        .output()
        .expect("unshare");
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{sysctl} {flags}: {errors} {log}");
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().map(str::to_owned).collect()
}

const V4: &str = "127.0.0.1";
const V6: &str = "[::1]";

#[test]
fn without_a_host_both_families_are_served_whatever_the_host_prefers() {
    if !permitted() {
        return;
    }
    assert_eq!(served("net.ipv6.bindv6only=1", ""), [V4, V6]);
    assert_eq!(served("net.ipv6.bindv6only=0", ""), [V4, V6]);
    assert_eq!(served("net.ipv6.conf.all.disable_ipv6=1", ""), [V4]);
}

#[test]
fn an_address_is_taken_as_it_is_written() {
    if !permitted() {
        return;
    }
    let only = "net.ipv6.bindv6only=1";
    assert_eq!(served(only, "--web.listen-address 0.0.0.0:9075"), [V4]);
    assert_eq!(served(only, "--web.listen-address [::]:9075"), [V6]);
    let each = "--web.listen-address 0.0.0.0:9075 --web.listen-address [::]:9075";
    assert_eq!(served(only, each), [V4, V6]);
    assert_eq!(
        served("net.ipv6.bindv6only=0", "--web.listen-address [::1]:9075"),
        [V6]
    );
}
