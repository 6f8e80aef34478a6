//! What the process holds, by kind, from `/proc/self/status`.

use serde::Serialize;

/// One reading, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident in all: the sum of the next three.
    pub rss: u64,
    /// Anonymous: cannot be evicted.
    pub anonymous: u64,
    /// Mapped from files: can be evicted.
    pub file: u64,
    /// Shared memory and tmpfs.
    pub shared: u64,
    /// The highest that `rss` ever was.
    pub peak: u64,
    /// Address space.
    pub virtual_size: u64,
}

impl Memory {
    /// Reads the process's own figures; zeros where the kernel does not tell them.
    #[must_use]
    pub fn read() -> Self {
        std::fs::read_to_string("/proc/self/status")
            .map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let bytes = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kibibytes| kibibytes * 1024)
        };
        Memory {
            rss: bytes("VmRSS"),
            anonymous: bytes("RssAnon"),
            file: bytes("RssFile"),
            shared: bytes("RssShmem"),
            peak: bytes("VmHWM"),
            virtual_size: bytes("VmSize"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_figures_add_up() {
        let memory = Memory::read();
        assert!(memory.anonymous > 0);
        assert_eq!(memory.rss, memory.anonymous + memory.file + memory.shared);
        assert!(memory.peak >= memory.rss);
    }
}
