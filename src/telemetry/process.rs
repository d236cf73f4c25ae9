//! `process_*`: CPU, memory and files of this process, under the names that every Prometheus client uses.

use crate::model::ProcessStatus;

/// Reads /proc/self; `None` if it cannot be read.
pub fn read() -> Option<ProcessStatus> {
    let process = procfs::process::Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let ticks = procfs::ticks_per_second() as f64;
    let max_fds = match process.limits().ok()?.max_open_files.soft_limit {
        procfs::process::LimitValue::Value(limit) => limit,
        procfs::process::LimitValue::Unlimited => u64::MAX,
    };
    Some(ProcessStatus {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        open_fds: process.fd_count().ok()? as u64,
        max_fds,
        virtual_memory: stat.vsize,
        resident_memory: stat.rss * procfs::page_size(),
        threads: u64::try_from(stat.num_threads).unwrap_or(0),
        start_time: procfs::boot_time_secs().ok()? as f64 + stat.starttime as f64 / ticks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let process = read().expect("/proc/self");
        assert!(process.open_fds > 0 && process.open_fds <= process.max_fds);
        assert!(process.resident_memory > 0 && process.resident_memory < process.virtual_memory);
        assert!(process.threads > 0 && process.start_time > 1e9);
    }
}
