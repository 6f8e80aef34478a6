//! How freed memory comes back to the system.
//!
//! glibc keeps what was freed for the next allocation, and gives each thread a heap of its own. In a
//! daemon that works for a second and then waits for minutes, that is memory which a site beside it could
//! use. So there is one heap for all threads, which cannot wait for each other here as one of them does all
//! the work; and when nothing waits any more, what is free is given back.
//!
//! Chosen by measurement (`tests/bench/allocator.py`: mixed pictures; anonymous MB at rest, least to
//! most, and CPU time relative to glibc as it comes; two cores of an AMD Zen 4, 2026-11-25):
//!
//! | | demonstration | CPU | EfficientNetV2-S with Grad-CAM | CPU |
//! |---|---|---|---|---|
//! | glibc as it comes | 26 to 46 | 1.00 | 44 to 63 | 1.00 |
//! | one heap | 19 to 31 | 1.01 | 33 to 47 | 1.00 |
//! | trimmed at rest | 19 to 38 | 1.03 | 37 to 53 | 1.02 |
//! | **one heap, trimmed at rest** | **10.9 to 11.0** | 1.07 | **29.9 to 30.1** | 1.02 |
//! | the same, and blocks from 4 MiB on mapped by themselves | 10.9 to 11.0 | 1.08 | 30 | 1.03 |
//! | blocks from 128 KiB on mapped by themselves | 12 | 1.25 | 31 | 1.05 |
//! | jemalloc | 34 to 36 | 1.29 | 40 to 53 | 1.05 |
//!
//! One heap is needed for the trimming: glibc does not shorten the other ones.

/// One heap for all threads. To be called before there is a second thread.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    #[expect(
        unsafe_code,
        reason = "glibc's own function for this; nothing safe wraps it"
    )]
    // SAFETY: mallopt may be called at any time; before there are threads it holds for all of them.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back what the allocator keeps and nobody uses.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    #[expect(
        unsafe_code,
        reason = "glibc's own function for this; nothing safe wraps it"
    )]
    // SAFETY: malloc_trim may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
