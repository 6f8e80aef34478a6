//! Giving freed memory back to the system.
//!
//! glibc keeps what was freed for the next allocation. In a daemon that works for a second and then
//! waits for minutes, that is memory which a site beside it could use.

/// Gives back what the allocator keeps and nobody uses. Takes well below a millisecond after a job.
#[expect(
    unsafe_code,
    reason = "glibc's own function for this; nothing safe wraps it"
)]
pub fn trim() {
    // SAFETY: malloc_trim may be called at any time by any thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
