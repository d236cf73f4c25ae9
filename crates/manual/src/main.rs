//! Writes the man pages and the shells' completions of dualtor-exporter into a directory, for packages: `dualtor-manual DIRECTORY`.
//!
//! It receives the command line as `cli` declares it. The same source makes the same files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser};
use clap_complete::Shell;
use dualtor_exporter::cli::Cli;

/// The shells that get completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes the man pages and the shells' completions of dualtor-exporter.
#[derive(Debug, Parser)]
#[command(name = "dualtor-manual", version)]
struct Args {
    /// Where the files go; made if it does not exist
    directory: PathBuf,
}

fn main() -> anyhow::Result<()> {
    write(&Args::parse().directory)
}

fn write(directory: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot write into {}", directory.display());
    fs::create_dir_all(directory).with_context(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).with_context(failed)?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut Cli::command(), "dualtor-exporter", directory)
            .with_context(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_flags_and_every_shell_knows_them() {
        let directory = tempfile::tempdir().expect("a directory");
        write(directory.path()).expect("written");
        let read = |name: &str| {
            let text = fs::read_to_string(directory.path().join(name));
            // A page has a backslash before each hyphen.
            text.unwrap_or_else(|error| panic!("{name}: {error}"))
                .replace('\\', "")
        };
        let mut command = Cli::command();
        command.build();
        let mut pages = vec![("dualtor-exporter.1".to_owned(), command.clone())];
        for inner in command
            .get_subcommands()
            .filter(|inner| inner.get_name() != "help")
        {
            pages.push((format!("dualtor-exporter-{}.1", inner.get_name()), inner.clone()));
        }
        assert!(pages.len() > 3, "{} pages", pages.len());
        let completions = [
            "dualtor-exporter.bash",
            "_dualtor-exporter",
            "dualtor-exporter.fish",
        ]
        .map(read);
        for (name, command) in pages {
            let page = read(&name);
            for flag in command.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(page.contains(&format!("--{flag}")), "{name} has no --{flag}");
                for completion in &completions {
                    assert!(
                        completion.contains(flag),
                        "a completion has no --{flag} of {name}"
                    );
                }
            }
        }
    }
}
