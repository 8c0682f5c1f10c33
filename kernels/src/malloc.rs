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

/// Bytes of the heap that [`use_huge_pages`] asks for: address space, of which the system gives what is used.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HUGE_HEAP: usize = 256 << 20;

/// Has the system back the heap by huge pages and keeps what is freed for the next allocation, on Linux with glibc; elsewhere
/// nothing. For the start of a program: blocks of less than 32 MB come from the heap from then on.
///
/// To load a checkpoint is to write its tensors a few times over. In pages of 4 kB the system's clearing of each takes more time than
/// that.
pub fn use_huge_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: these parameters may be set at any time, each takes any value in its range. The advised range lies within the block,
    // which is null or of `HUGE_HEAP` bytes, and the advice changes no content.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * HUGE_HEAP as i32);
        // From the heap, whose end it stays when it is freed.
        libc::mallopt(libc::M_MMAP_MAX, 0);
        let block = libc::malloc(HUGE_HEAP);
        if !block.is_null() {
            const ALIGN: usize = 2 << 20;
            let start = block.byte_add(block.align_offset(ALIGN));
            libc::madvise(start, HUGE_HEAP - ALIGN, libc::MADV_HUGEPAGE);
            libc::free(block);
        }
        libc::mallopt(libc::M_MMAP_MAX, 65_536);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
    }
}
