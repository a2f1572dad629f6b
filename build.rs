//! Links the binary with what runs in every process in one place: `link/used.ld` says why.

use std::env;

fn main() {
    let script = format!("{}/link/used.ld", variable("CARGO_MANIFEST_DIR"));
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rerun-if-env-changed=RUSTC_LINKER");
    println!("cargo:rerun-if-env-changed=LINK_ORDER");
    // `run order` looks at the functions where they would be by themselves: valgrind does not know the
    // names of those that stand together.
    if variable("LINK_ORDER") == "none" {
        return;
    }
    // Only an order: whoever builds with a linker of their own, which may not know INSERT (gold, mold),
    // has the same program with more of it in memory.
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    let own_linker = env::var_os("RUSTC_LINKER").is_some()
        || ["linker=", "fuse-ld="].iter().any(|flag| flags.contains(flag));
    if variable("CARGO_CFG_TARGET_OS") == "linux" && variable("PROFILE") == "release" && !own_linker
    {
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{script}");
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
