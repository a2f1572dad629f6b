//! The `innopaas-proxy` binary: nothing but the way into the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    innopaas_proxy::cli::main()
}
