//! How much memory is free.

use std::fs;

/// Bytes that this process may still take without swapping, where the system tells: the least of what the machine and,
/// in a container, what its limit leave.
pub(super) fn available_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    let number = |file: &str| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let limit = number("/sys/fs/cgroup/memory.max").zip(number("/sys/fs/cgroup/memory.current"));
    let container = limit.map(|(most, taken)| most.saturating_sub(taken));
    [machine, container].into_iter().flatten().min()
}

/// From the text of `/proc/meminfo`, which counts units of 1024 bytes.
fn of_machine(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_available_line_counts() {
        let text = "MemTotal:  100 kB\nMemFree:  1 kB\nMemAvailable:    7 kB\n";
        assert_eq!(of_machine(text), Some(7 * 1024));
        for odd in ["", "MemAvailable: many kB", "MemAvailable: 7", "MemAvailable: 18446744073709551615 kB"] {
            assert_eq!(of_machine(odd), None, "{odd}");
        }
    }
}
