//! Files that are read by their path: a scenario, certificates. Whatever is at the path, it must not hang the simulator or fill
//! its memory.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// The content of a regular file of `most_mib` MiB at most. It is opened first and checked then, because a pipe may replace the
/// file between a check and an open.
pub(crate) fn read(path: &Path, most_mib: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("expected a regular file"));
    }
    let most = most_mib * 1024 * 1024;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("expected at most {most_mib} MiB")));
    }
    Ok(bytes)
}

/// The same for text files.
pub(crate) fn read_text(path: &Path, most_mib: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, most_mib)?);
    text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}
