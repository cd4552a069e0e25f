//! How much of the memory that this process may have it has. Whoever watches it sheds in time, and ends in order before
//! the kernel ends it in the middle of a write.

use std::path::Path;

/// From here on what can be given up is given up.
pub const SHED: f64 = 0.85;
/// From here on the process ends in order.
pub const END: f64 = 0.96;

/// What is used, and of how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub used: u64,
    pub limit: u64,
}

impl Memory {
    /// The share in use, 0 to 1.
    pub fn share(&self) -> f64 {
        self.used as f64 / self.limit.max(1) as f64
    }

    /// The tightest of the limits that hold for this process (address space, data, cgroup); `None` without any.
    pub fn now() -> Option<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let pages = Pages::parse(&read("/proc/self/statm"))?;
        let limits = read("/proc/self/limits");
        let soft = |name: &str| {
            limits.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
        };
        let all = [
            (pages.size, soft("Max address space")),
            (pages.data, soft("Max data size")),
            (pages.own, cgroup_limit(&read("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"))),
        ];
        tightest(&all)
    }
}

fn tightest(all: &[(u64, Option<u64>)]) -> Option<Memory> {
    let known = all.iter().filter_map(|(used, limit)| Some(Memory { used: *used, limit: (*limit)? }));
    known.max_by(|a, b| a.share().total_cmp(&b.share()))
}

/// Bytes of the process, by what they are counted for.
#[derive(Debug, PartialEq, Eq)]
struct Pages {
    size: u64,
    own: u64,
    data: u64,
}

impl Pages {
    /// `size resident shared text lib data dt`, in pages.
    fn parse(statm: &str) -> Option<Self> {
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        let fields: Vec<u64> = statm.split_whitespace().map_while(|field| field.parse().ok()).collect();
        let of = |at: usize| fields.get(at).map(|pages| pages * page);
        Some(Self { size: of(0)?, own: of(1)?.saturating_sub(of(2)?), data: of(5)? })
    }
}

/// The lowest `memory.max` (`memory.limit_in_bytes` of the first version) on the way up from the process's own group.
fn cgroup_limit(groups: &str, root: &Path) -> Option<u64> {
    let mut lowest: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, kinds, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (base, file) = match kinds {
            "" => (root.to_owned(), "memory.max"),
            kinds if kinds.split(',').any(|kind| kind == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let own = base.join(path.trim_start_matches('/'));
        for folder in own.ancestors().take_while(|folder| folder.starts_with(&base)) {
            let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            // `max`, or a number that no machine has, is no limit.
            if let Some(limit) = text.trim().parse().ok().filter(|limit| *limit < 1 << 50) {
                lowest = Some(lowest.map_or(limit, |known| known.min(limit)));
            }
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_counts() {
        let cases = [
            ("no limit", vec![(5, None), (6, None)], None),
            ("one", vec![(5, Some(10)), (6, None)], Some(Memory { used: 5, limit: 10 })),
            ("the fuller one", vec![(5, Some(10)), (6, Some(8))], Some(Memory { used: 6, limit: 8 })),
        ];
        for (name, all, expected) in cases {
            assert_eq!(tightest(&all), expected, "case: {name}");
        }
        assert!(Memory { used: 86, limit: 100 }.share() > SHED && Memory { used: 95, limit: 100 }.share() < END);
    }

    #[test]
    fn a_group_is_held_by_those_above_it() {
        let root = tempfile::tempdir().expect("folder");
        let deep = root.path().join("system/trapline");
        std::fs::create_dir_all(&deep).expect("folders");
        std::fs::write(deep.join("memory.max"), "max\n").expect("file");
        assert_eq!(cgroup_limit("0::/system/trapline\n", root.path()), None);
        std::fs::write(root.path().join("system/memory.max"), "268435456\n").expect("file");
        assert_eq!(cgroup_limit("0::/system/trapline\n", root.path()), Some(268_435_456));
        std::fs::write(deep.join("memory.max"), "1000\n").expect("file");
        assert_eq!(cgroup_limit("3:cpu:/x\n0::/system/trapline\n", root.path()), Some(1_000));
        let old = root.path().join("memory/a");
        std::fs::create_dir_all(&old).expect("folders");
        std::fs::write(old.join("memory.limit_in_bytes"), "9223372036854771712").expect("file");
        assert_eq!(cgroup_limit("4:memory:/a\n", root.path()), None, "no limit as the first version says it");
        std::fs::write(old.join("memory.limit_in_bytes"), "4096").expect("file");
        assert_eq!(cgroup_limit("4:memory:/a\n", root.path()), Some(4_096));
    }

    #[test]
    fn this_process_has_pages() {
        let pages = Pages::parse(&std::fs::read_to_string("/proc/self/statm").expect("statm")).expect("pages");
        assert!(pages.size >= pages.own && pages.own > 0 && pages.data > 0, "{pages:?}");
        assert_eq!(Pages::parse("1 2"), None);
    }
}
