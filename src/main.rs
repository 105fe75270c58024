//! The binary: see `voxd::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    voxd::cli::main()
}
