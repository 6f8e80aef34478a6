//! The processor that a library was built for: its own header tells, before the loader says something
//! about it that few understand.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Where in the head of an ELF file its word size, its byte order and its machine stand.
const CLASS: usize = 4;
const ORDER: usize = 5;
const MACHINE: usize = 18;

/// What an ELF file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Architecture {
    class: u8,
    order: u8,
    machine: u16,
}

impl Architecture {
    /// Of a file; `None` when it is no ELF file, or cannot be read.
    pub(super) fn of(file: &Path) -> Option<Self> {
        let mut head = [0; MACHINE + 2];
        File::open(file).ok()?.read_exact(&mut head).ok()?;
        let machine = [head[MACHINE], head[MACHINE + 1]];
        head.starts_with(b"\x7fELF").then(|| Architecture {
            class: head[CLASS],
            order: head[ORDER],
            machine: if head[ORDER] == 2 {
                u16::from_be_bytes(machine)
            } else {
                u16::from_le_bytes(machine)
            },
        })
    }

    /// What we were built for, and so run on.
    pub(super) fn ours() -> Option<Self> {
        Self::of(Path::new("/proc/self/exe"))
    }

    /// As `uname` has it, for those that Linux wheels are made for.
    pub(super) fn name(self) -> String {
        match (self.machine, self.class) {
            (3, _) => "i686".into(),
            (21, _) => "ppc64le".into(),
            (22, _) => "s390x".into(),
            (40, _) => "armv7l".into(),
            (62, 2) => "x86_64".into(),
            (183, _) => "aarch64".into(),
            (243, _) => "riscv64".into(),
            (machine, class) => format!("machine {machine} (class {class})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_architecture_is_the_compilers() {
        let ours = Architecture::ours().expect("we are an ELF file");
        assert_eq!(ours.name(), std::env::consts::ARCH);
        assert_eq!(Architecture::of(Path::new("/etc/passwd")), None);
    }
}
