//! The `trapline` program: runs the command line and turns its end into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    trapline::cli::main()
}
