//! The `trapline` program: runs the command line and turns its end into an exit code.

use std::process::ExitCode;

/// A daemon lives for months and gives its rooms new threads whenever it restarts one. The C library's allocator kept
/// growing under that: its arenas end up full of holes. This one gives unused pages back (docs/supervision.md has the
/// figures, `.cargo/config.toml` its settings).
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    trapline::cli::main()
}
