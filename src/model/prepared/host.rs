//! What a prepared graph is good for: one CPU with one build of ONNX Runtime.
//!
//! Knows no file of the cache, only the name that a host has there.

use sha2::{Digest, Sha256};

use super::{FORM, short};
use crate::model::bundle::hexadecimal;

/// What a CPU can do that ONNX Runtime chooses its kernels by, as the kernel spells it. Other words of
/// the list change with a microcode update.
const FEATURES: [&str; 11] = [
    "amx", "asimd", "avx", "bf16", "f16c", "fma", "fphp", "i8mm", "sse", "ssse", "sve",
];

/// What a prepared graph is good for.
#[derive(Clone, Debug)]
pub struct Host {
    /// Names ONNX Runtime's build.
    pub runtime: String,
    /// What the CPU can do.
    pub cpu: String,
}

impl Host {
    /// This CPU with the ONNX Runtime of that build.
    #[must_use]
    pub fn with_runtime(runtime: &str) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Host {
            runtime: runtime.to_owned(),
            cpu: format!("{} {}", std::env::consts::ARCH, features(&cpu)),
        }
    }

    /// Whether the CPU multiplies 8-bit integers without saturating; ARM's always do.
    #[must_use]
    pub fn sums_int8_exactly(&self) -> bool {
        !self.cpu.starts_with("x86") || self.cpu.contains("_vnni")
    }

    /// Names the host inside the cache.
    pub(super) fn key(&self) -> String {
        let text = format!("{FORM}\n{}\n{}\n", self.runtime, self.cpu);
        short(&hexadecimal(&Sha256::digest(text)))
    }
}

/// The [`FEATURES`] of the first CPU in the text of `/proc/cpuinfo`.
fn features(cpuinfo: &str) -> String {
    let listed = cpuinfo
        .lines()
        .find(|line| line.starts_with("flags") || line.starts_with("Features"))
        .and_then(|line| line.split_once(':'))
        .map_or("", |(_, listed)| listed);
    let matters = |word: &&str| FEATURES.iter().any(|start| word.starts_with(start));
    let words: Vec<_> = listed.split_whitespace().filter(matters).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_kernels_are_chosen_by_names_the_cpu() {
        let cpuinfo =
            "processor\t: 0\nflags\t\t: fpu ibrs ssse3 fma avx2 ssbd avx512_vnni amx_int8\n";
        assert_eq!(features(cpuinfo), "ssse3 fma avx2 avx512_vnni amx_int8");
        assert_eq!(
            features("Features\t: fp asimd crc32 i8mm sve2\n"),
            "asimd i8mm sve2"
        );
        assert_eq!(features("nothing"), "");
    }

    #[test]
    fn saturation_is_known_from_the_features() {
        let with = |cpu: &str| Host {
            runtime: String::new(),
            cpu: cpu.into(),
        };
        assert!(!with("x86_64 sse4_2 avx2").sums_int8_exactly());
        assert!(with("x86_64 avx2 avx_vnni").sums_int8_exactly());
        assert!(with("aarch64 asimd").sums_int8_exactly());
    }
}
