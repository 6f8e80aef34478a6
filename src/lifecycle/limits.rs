//! What the operating system allows us.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the number of descriptors that we may have to what we are allowed to raise it to, and
/// tells that number.
///
/// # Errors
///
/// As the kernel says.
pub fn raise_descriptors() -> std::io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}
