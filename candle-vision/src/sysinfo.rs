//! Memory of the machine and of this process, as Linux tells it; `None` where the system does not say.

use std::fs;

/// Bytes that this process may still take without swapping: the least of what the machine and, in a container, what its
/// limit leave.
#[must_use]
pub fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| bytes(&text, "MemAvailable:"));
    let number = |file: &str| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let limit = number("/sys/fs/cgroup/memory.max").zip(number("/sys/fs/cgroup/memory.current"));
    let container = limit.map(|(most, taken)| most.saturating_sub(taken));
    [machine, container].into_iter().flatten().min()
}

/// Bytes of this process that are resident now.
#[must_use]
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// Most bytes of this process that were resident at any time.
#[must_use]
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

fn status(key: &str) -> Option<u64> {
    bytes(&fs::read_to_string("/proc/self/status").ok()?, key)
}

/// The value of the line that begins with `key`, in units of 1024 bytes there.
fn bytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_is_asked_for_counts() {
        let text = "MemTotal:  100 kB\nMemFree:  1 kB\nMemAvailable:    7 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(bytes(text, "MemAvailable:"), Some(7 * 1024));
        assert_eq!(bytes(text, "VmRSS:"), Some(1 << 20));
        assert_eq!(bytes(text, "VmSwap:"), None);
        for odd in ["", "MemAvailable: many kB", "MemAvailable: 7", "MemAvailable: 18446744073709551615 kB"] {
            assert_eq!(bytes(odd, "MemAvailable:"), None, "{odd}");
        }
        if cfg!(target_os = "linux") {
            assert!(resident() > Some(1 << 20) && peak() >= resident() && available() > Some(0));
        }
    }
}
