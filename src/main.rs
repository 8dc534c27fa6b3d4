//! `invoice-router`: see the library for what it is, `--help` for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    invoice_router::cli::main()
}
