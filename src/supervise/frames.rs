//! Where a thread stood, and the names of it: captured at once, read later.
//!
//! Only the program's own functions are named. `std::backtrace` names those of the C library as well, and where its
//! debug information is installed that is 30 MiB which a daemon keeps for ever: every backtrace ends in its thread's start.

use std::fmt::Write as _;
use std::ops::Range;

/// Deeper ones are left out: what panicked stands first.
const FRAMES_MAX: usize = 128;

/// What frames of the panic machinery and of the runtime below a room begin with.
const MACHINERY: [&str; 14] = [
    "__rust",
    "actix",
    "alloc::boxed",
    "backtrace::",
    "core::future",
    "core::ops::function",
    "core::panic",
    "rust_begin_unwind",
    "std::panic",
    "std::sys",
    "std::thread",
    "tokio::",
    "trapline::supervise::frames::Frames",
    "trapline::supervise::panic_hook",
];

/// Return addresses, innermost first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frames(Vec<usize>);

impl Frames {
    /// Of this thread, now.
    pub(crate) fn capture() -> Self {
        let mut addresses = Vec::with_capacity(FRAMES_MAX);
        backtrace::trace(|frame| {
            addresses.push(frame.ip() as usize);
            addresses.len() < FRAMES_MAX
        });
        Self(addresses)
    }

    /// One line each: its number, the function, and its place where the program carries debug information; without a
    /// name its offset in the program, for `addr2line`. The first call reads the program's symbols: 6 ms in a release
    /// build, far more where there is debug information.
    pub(crate) fn named(&self) -> String {
        let own = Program::mapped();
        let mut out = String::new();
        for (number, address) in self.0.iter().enumerate() {
            if !own.as_ref().is_none_or(|own| own.holds(*address)) {
                continue;
            }
            let mut found = false;
            backtrace::resolve(*address as *mut _, |symbol| {
                let Some(name) = symbol.name() else { return };
                found = true;
                // Without the hash that its name ends in.
                let name = format!("{name:#}");
                // `<Type as Trait>::function` is the type's.
                let bare = name.trim_start_matches('<');
                if MACHINERY.iter().any(|begin| bare.starts_with(begin)) {
                    return;
                }
                let _ = write!(out, "{number}: {name}");
                if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
                    let _ = write!(out, " at {}:{line}", file.display());
                }
                out.push('\n');
            });
            if !found && let Some(own) = &own {
                let _ = writeln!(out, "{number}: trapline+{:#x}", address.saturating_sub(own.base));
            }
        }
        out
    }
}

/// Where the program itself lies in memory.
struct Program {
    base: usize,
    code: Vec<Range<usize>>,
}

impl Program {
    /// `None` where the system does not tell; then every frame is taken for the program's.
    fn mapped() -> Option<Self> {
        let file = std::fs::read_link("/proc/self/exe").ok()?;
        Self::parse(&std::fs::read_to_string("/proc/self/maps").ok()?, file.to_str()?)
    }

    /// `start-end permissions offset device inode   file`, addresses in hexadecimal.
    fn parse(maps: &str, file: &str) -> Option<Self> {
        let own = maps.lines().filter(|line| line.find('/').map(|at| &line[at..]) == Some(file));
        let ranges = own.filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let address = |text| usize::from_str_radix(text, 16).ok();
            Some((address(start)?..address(end)?, rest.split(' ').next()?.contains('x')))
        });
        let all: Vec<_> = ranges.collect();
        let base = all.iter().map(|(range, _)| range.start).min()?;
        Some(Self { base, code: all.into_iter().filter(|(_, runs)| *runs).map(|(range, _)| range).collect() })
    }

    fn holds(&self, address: usize) -> bool {
        self.code.iter().any(|range| range.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn somewhere_in_particular() -> Frames {
        // Not a tail call: this function's frame stays.
        std::hint::black_box(Frames::capture())
    }

    /// The C library's own frames would be named too, had this machine its debug information.
    #[test]
    fn frames_name_the_programs_functions_and_nobody_elses() {
        let frames = somewhere_in_particular();
        let text = frames.named();
        assert!(text.contains("somewhere_in_particular"), "{text}");
        assert!(!text.contains("Frames::capture") && !text.contains("catch_unwind"), "machinery: {text}");
        let own = Program::mapped().expect("Linux tells");
        assert!(own.holds(frames.0[0]) && frames.0.iter().any(|address| !own.holds(*address)));
        for (number, address) in frames.0.iter().enumerate().filter(|(_, address)| !own.holds(**address)) {
            assert!(!text.contains(&format!("\n{number}: ")), "{address:#x} is not the program's: {text}");
        }
    }

    #[test]
    fn the_map_of_memory_is_read() {
        let maps = "\
            1000-2000 r--p 00000000 fe:00 12 /opt/a b/trapline\n\
            2000-5000 r-xp 00001000 fe:00 12 /opt/a b/trapline\n\
            5000-6000 rw-p 00004000 fe:00 12 /opt/a b/trapline\n\
            6000-7000 rw-p 00000000 00:00 0 \n\
            8000-9000 r-xp 00000000 fe:00 13 /lib/opt/a b/trapline\n\
            9000-a000 r-xp 00000000 00:00 0 [vdso]\n";
        let program = Program::parse(maps, "/opt/a b/trapline").expect("it is there");
        assert_eq!((program.base, program.code.len()), (0x1000, 1));
        assert!(program.holds(0x2000) && !program.holds(0x5000) && !program.holds(0x8100));
        assert!(Program::parse(maps, "/opt/other").is_none() && Program::parse("", "/x").is_none());
    }
}
