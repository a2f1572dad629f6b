# The steps that decide whether a change may go in. `just ci` runs them all, in this order.

# Everything below, as CI does it
ci: fmt lint doc test check-yaml bench-test clients

# Formatting
fmt:
    cargo fmt --check

# Compiler and clippy, without a warning
lint:
    cargo clippy --all-targets --locked -- -D warnings

# Documentation of everything, without a broken link
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked --document-private-items

# Unit and integration tests
test:
    cargo test --locked

# Every configuration file in the repository
check-yaml:
    cargo run --locked -- check --config proxy.yaml.example
    cargo run --locked -- check --config deploy/proxy.yaml

# Each benchmark once, to see that it runs
bench-test:
    cargo bench --locked -- --test

# Calls from the HTTP clients that applications use
clients:
    tests/clients/run

# A sandbox, the proxy in front of it, and a first call
dev:
    cargo run --locked -- dev
