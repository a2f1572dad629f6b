//! The `innopaas-proxy` binary: nothing but the way into the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    innopaas_proxy::cli::main()
}
