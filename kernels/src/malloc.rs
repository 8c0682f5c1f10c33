//! What the process does with memory that was freed.

/// Keeps freed memory for the next allocation instead of giving it back to the system, on Linux with glibc; elsewhere
/// nothing.
///
/// A training step allocates the same large maps as the step before. The system would clear each page of them again, which
/// takes as long as a pass over them. The process stays as large as it ever was.
pub fn retain_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: these parameters may be set at any time; each takes any value.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}
