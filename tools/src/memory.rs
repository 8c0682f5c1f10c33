//! Memory of this process, as Linux tells it.

/// Resident now, in bytes; `None` where the system does not say.
pub(crate) fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// Most that was resident at any time, in bytes; `None` where the system does not say.
pub(crate) fn peak() -> Option<u64> {
    status("VmHWM:")
}

fn status(key: &str) -> Option<u64> {
    kilobytes(&std::fs::read_to_string("/proc/self/status").ok()?, key)
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(kilobytes(text, "VmRSS:"), Some(1 << 20));
        assert_eq!(kilobytes(text, "VmSwap:"), None);
        if cfg!(target_os = "linux") {
            assert!(resident() > Some(1 << 20));
        }
    }
}
