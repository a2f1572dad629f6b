//! How often memory is allocated for a call. The number changes with the code and with nothing else.

use std::path::{Path, PathBuf};

use crate::support::call::{Connection, block_on};
use crate::support::{Call, Setup};

/// The same as the proxy, with an allocator that counts.
fn counting() -> PathBuf {
    let proxy = Path::new(env!("CARGO_BIN_EXE_innopaas-proxy"));
    let counting = proxy.with_file_name("examples").join("counting");
    assert!(counting.exists(), "cargo test builds it, or cargo build --example counting");
    counting
}

/// All allocations of a process that serves so many calls on one connection.
fn allocations(calls: usize) -> i64 {
    let (mut proxy, _sandbox) = Setup::new().by_another(counting()).set("log.level=info").start();
    block_on(async {
        let mut connection = Connection::open(proxy.listen).await;
        for _ in 0..calls {
            assert_eq!(connection.call(Call::sms()).await.status, 200);
        }
    });
    assert_eq!(proxy.stop(), 0, "{}", proxy.output());
    let output = proxy.output();
    let counted = output.lines().find_map(|line| line.strip_prefix("allocations: "));
    counted.expect("it says how many").trim().parse().unwrap()
}

#[test]
fn a_typical_call_allocates_memory_so_many_times() {
    const TYPICAL: f64 = 21.0;
    let (few, many) = (allocations(100), allocations(1_100));
    let each = f64::from(i32::try_from(many - few).unwrap()) / 1_000.0;
    // What happens now and then, such as a look at the files, is a small part of it.
    assert!((each - TYPICAL).abs() < 1.0, "{each} times, not {TYPICAL}");
}
