//! The proxy as it is, but for an allocator that counts: at its end it prints how often memory was
//! allocated. `tests/it/allocations.rs` runs it.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() -> ExitCode {
    let _counted = dhat::Profiler::builder().testing().build();
    let code = innopaas_proxy::cli::main();
    eprintln!("allocations: {}", dhat::HeapStats::get().total_blocks);
    code
}
