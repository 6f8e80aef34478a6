//! How much memory our control group may take, v1 and v2.

use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// A limit of v1 that is none is written as the largest whole number of pages.
const NONE_FROM: u64 = 1 << 60;

/// The lowest memory limit of our group and those around it, in bytes.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    groups
        .lines()
        .filter_map(|line| limit_files(line, Path::new(ROOT)))
        .filter_map(|(group, root, name)| lowest(&group, &root, name))
        .min()
}

/// How many processes of our group were killed because it had no memory left; `None` where the kernel
/// does not count them.
#[must_use]
pub fn out_of_memory_kills() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let counts = groups.lines().filter_map(|line| {
        let (group, root, limit) = limit_files(line, Path::new(ROOT))?;
        let name = if limit == "memory.max" {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        // Inside a container the group's path may be one that only the host has.
        [group, root]
            .iter()
            .find_map(|folder| counted(&std::fs::read_to_string(folder.join(name)).ok()?))
    });
    counts.max()
}

fn counted(events: &str) -> Option<u64> {
    let line = events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

/// What there is for everything here: the limit of our group, or what the machine has, in bytes.
#[must_use]
pub fn memory() -> u64 {
    let machine = machine_memory();
    memory_limit().map_or(machine, |limit| limit.min(machine))
}

/// What the machine has, in bytes.
fn machine_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.map_or(u64::MAX, |kibibytes| kibibytes * 1024)
}

/// From a line of `/proc/self/cgroup` the folder of the group, the one above all of its kind, and the
/// name of the file with the limit.
fn limit_files(line: &str, root: &Path) -> Option<(PathBuf, PathBuf, &'static str)> {
    let mut parts = line.splitn(3, ':');
    let (hierarchy, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (root, name) = if hierarchy == "0" && controllers.is_empty() {
        (root.to_owned(), "memory.max")
    } else if controllers.split(',').any(|name| name == "memory") {
        (root.join("memory"), "memory.limit_in_bytes")
    } else {
        return None;
    };
    Some((root.join(path.trim_start_matches('/')), root, name))
}

/// Inside a container the group's path may be one that only the host has; then the folder above all is
/// the container's own.
fn lowest(group: &Path, root: &Path, name: &str) -> Option<u64> {
    group
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| std::fs::read_to_string(folder.join(name)).ok())
        .filter_map(|text| text.trim().parse().ok())
        .filter(|limit| *limit < NONE_FROM)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(counted("low 0\noom 3\noom_kill 2\n"), Some(2));
        assert_eq!(
            counted("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"),
            Some(5)
        );
        assert_eq!(counted("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn lowest_limit_on_the_way_up_counts_in_both_versions() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        write("outer/memory.max", "1000\n");
        write("outer/inner/memory.max", "max\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/box/memory.limit_in_bytes", "500\n");
        let limit = |line| {
            let (group, root, name) = limit_files(line, folder.path())?;
            lowest(&group, &root, name)
        };
        assert_eq!(limit("0::/outer/inner"), Some(1000));
        assert_eq!(limit("0::/elsewhere"), None);
        assert_eq!(limit("4:cpu,memory:/box"), Some(500));
        assert_eq!(limit("4:memory:/"), None, "the largest number is no limit");
        assert_eq!(limit("3:cpu:/box"), None);
    }
}
