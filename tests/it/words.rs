//! Text from outside (a SoC, Redis, a file, a command line) that controls a terminal, is invisible, reverses the reading
//! direction, or never ends. In rows, labels, log and terminal it must be readable and short.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use dualtor_sim::{Code, ReplyFault, Rpc};

use crate::child::{Ended, Program, run};
use crate::config_db::{TELLS, switch};
use crate::harness::{Rack, wait_until};

const PORT: &str = "Ethernet0";
/// An override, an escape sequence, a C1 control sequence introducer, marks, invisible and separating characters.
const EVIL: &str = "1.0\u{202e}gnp\u{1b}]0;x\u{7}\u{9b}31m\u{200f}\u{2066}\u{61c}\u{200b}\u{feff}\u{2028}\u{2029}\u{85}\u{7f}\r\n.";

/// Written again here: a test with the exporter's own list would prove nothing.
fn is_evil(c: char) -> bool {
    matches!(c,
        '\0'..='\x09' | '\x0b'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}'
        | '\u{61c}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// The text is readable, and no line is too long.
fn assert_readable(what: &str, text: &str) {
    assert!(!text.is_empty(), "{what}: nothing there");
    let evil: Vec<char> = text.chars().filter(|c| is_evil(*c)).collect();
    assert!(evil.is_empty(), "{what}: {evil:?} in {text:?}");
    let longest = text.lines().map(str::len).max();
    assert!(longest < Some(5000), "{what}: a line of {longest:?} bytes");
}

fn all_of(ended: &Ended) -> String {
    format!("{}{}", ended.stdout, ended.stderr)
}

/// Writes a hash, whatever is in its key and values.
fn write(rack: &Rack, db: i64, key: &str, fields: &[(&str, &str)]) {
    let mut connection = rack.redis.connect(db).expect("a connection");
    let mut write = redis::cmd("HSET");
    write.arg(key);
    for (name, value) in fields {
        write.arg(name).arg(value);
    }
    let _: redis::Value = write.query(&mut connection).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socs_and_a_databases_words_are_readable_wherever_they_are_shown() {
    let mut rack = switch(2, &TELLS).await;
    rack.boots();
    rack.cable(PORT);
    rack.cable("Ethernet4");
    rack.soc(PORT).set(|soc| soc.version = EVIL.to_owned());
    let long = EVIL.repeat(10_000);
    let fault = ReplyFault::Code {
        code: Code::Internal,
        message: EVIL.repeat(20),
    };
    rack.soc("Ethernet4").reply_fault_only(fault, &[Rpc::Link]);
    write(&rack, 4, &format!("MUX_CABLE|{EVIL}"), &[("cable_type", EVIL)]);
    write(
        &rack,
        4,
        "MUX_CABLE|Ethernet8",
        &[("cable_type", "active-active"), ("soc_ipv4", &long)],
    );
    write(
        &rack,
        4,
        "GRPCCLIENT|config",
        &[("type", &long), ("auth_level", &long)],
    );
    let path = rack.config_path();
    let path = path.to_str().expect("UTF-8").to_owned();
    for format in ["logfmt", "json"] {
        let args = ["--config.file", &path, "--web.listen-address", "127.0.0.1:0"];
        let args = [&args[..], &["--log.format", format, "--log.level", "debug"]].concat();
        let mut program = Program::start(&args);
        program.says("MUX_CABLE row cannot be used", 2).await;
        program.says("tls_config", 1).await;
        program.signal("TERM");
        assert_readable(format, &program.ended().await.stderr);
    }
    let ended = run(&["doctor", "--config.file", &path, "--timeout", "10s"]).await;
    assert_readable("doctor", &all_of(&ended));
    let ended = run(&["doctor", "--config.file", &path, "--output", "json"]).await;
    assert_readable("doctor, JSON", &all_of(&ended));

    // The same with channels.
    rack.config_db("DEL GRPCCLIENT|config");
    rack.start_exporter().await;
    let shown = "1.0\u{fffd}gnp\u{fffd}]0;x\u{fffd}\u{fffd}31m";
    let row = wait_until("its version", async || {
        let row = rack.row(PORT);
        match row.get("server_version") {
            Some(version) if version.starts_with("1.0") => Ok(row),
            _ => Err(format!("{row:?}")),
        }
    })
    .await;
    assert!(row["server_version"].starts_with(shown), "{row:?}");
    assert_readable("the row", &row["server_version"]);
    let scrape = rack.scrape().await;
    let info: Vec<_> = scrape.find("dualtor_soc_info", &[("port", PORT)]).collect();
    assert_eq!(info[0].labels["version"], row["server_version"]);
    for port in [PORT, "Ethernet4"] {
        let address = rack.soc(port).address().to_string();
        for output in ["text", "json"] {
            let ended = run(&["probe", &address, "--timeout", "10s", "--output", output]).await;
            assert!(ended.stdout.contains(shown), "{ended:?}");
            assert_readable("probe", &all_of(&ended));
        }
    }
}

#[tokio::test]
async fn what_a_file_or_a_command_line_says_is_readable_in_the_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let long = "x".repeat(5_000_000);
    let at = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let database_config = format!(
        "{{\"INSTANCES\": {{\"redis\": {{\"hostname\": \"127.0.0.1\", \"port\": \"{long}\"}}}}, \"DATABASES\": {{}}}}"
    );
    let quoted = EVIL.replace('"', "").replace("\r\n", "");
    for (name, text) in [
        ("controls.yml", "databases: {c\u{8}\n".to_owned()),
        ("key.yml", format!("? \"{quoted}\"\n: 1\n")),
        ("value.yml", format!("side: \"{quoted}\"\n")),
        (
            "port.yml",
            format!("targets: [{{port: \"{quoted}\", address: 127.0.0.1}}]\n"),
        ),
        ("long-key.yml", format!("{long}: 1\n")),
        ("long-value.yml", format!("side: {long}\n")),
        (
            "long-type.yml",
            format!("databases: {{config: {}}}\n", at("db.json", &database_config)),
        ),
        ("long-duration.yml", format!("probe: {{interval: {long}}}\n")),
        (
            "long-metadata.yml",
            format!("channel: {{metadata: {{{long}: x}}}}\n"),
        ),
        ("\u{1b}[31m\u{202e}.yml", "side: middle\n".to_owned()),
    ] {
        let ended = run(&["--config.check", "--config.file", &at(name, &text)]).await;
        assert_eq!(ended.code, Some(2), "{name}: {ended:?}");
        assert_readable(name, &ended.stderr);
        let longest = ended.stderr.split(|c| c != 'x').map(str::len).max();
        assert!(longest <= Some(200), "{name}: {longest:?} characters quoted");
    }
    for args in [
        &["--non\u{202e}sense\u{1b}[31m"][..],
        &["probe", EVIL],
        &["probe", "127.0.0.1", "--metadata", EVIL],
        &["probe", "127.0.0.1", "--side", EVIL],
        &["--web.listen-address", "\u{202e}\u{1b}[31m"],
        &["doctor", "--config.file", "/\u{1b}[31m/\u{202e}"],
    ] {
        let ended = run(args).await;
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert_readable(&format!("{args:?}"), &ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_error_of_a_database_is_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let answer = format!("-ERR {EVIL:.20}{}\r\n", "x".repeat(5_000_000)).replace("\r\n.", ".");
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut stream = stream;
                while stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.yml");
    std::fs::write(&path, format!("databases: {{url: \"{url}\"}}\n")).expect("written");
    let path = path.to_str().expect("UTF-8");
    let args = [
        "--config.file",
        path,
        "--web.listen-address",
        "127.0.0.1:0",
        "--log.level",
        "debug",
    ];
    let mut program = Program::start(&args);
    program.says("database cannot be read", 3).await;
    program.says("state_db is down", 1).await;
    program.signal("TERM");
    let ended = program.ended().await;
    assert_readable("the log", &ended.stderr);
    let longest = ended.stderr.split(|c| c != 'x').map(str::len).max();
    assert!(longest <= Some(200), "{longest:?} characters quoted");
    let ended = run(&["doctor", "--config.file", path]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_readable("doctor", &all_of(&ended));
}
