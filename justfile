# The steps that decide whether a change may go in are those of `.ci/run`; each has its name here.

# Every step below, as CI takes them
ci:
    .ci/run

# Formatting
fmt:
    .ci/run fmt

# Compiler and clippy, without a warning
lint:
    .ci/run lint

# Documentation of everything, without a broken link
doc:
    .ci/run doc

# Unit and integration tests
test:
    .ci/run test

# Every configuration file in the repository
check-yaml:
    .ci/run check-yaml

# Each benchmark once, to see that it runs
bench-test:
    .ci/run bench-test

# Instructions and system calls of one call, and the binary's size, against what is recorded
counts:
    .ci/run counts

# Calls from the HTTP clients that applications use
clients:
    .ci/run clients

# Image, pod, manifests, chart, alerts, units: `tests/deploy/run PART…` for some
deploy:
    .ci/run deploy

# Dependencies: which, under which licence, from where
deny:
    .ci/run deny

# Dependencies with known vulnerabilities
advisories:
    .ci/run advisories

# Every fuzz target for 20 s; `fuzz/run SECONDS TARGET…` for more
fuzz:
    .ci/run fuzz

# --- not steps of CI ---

# A sandbox, the proxy in front of it, and a first call
dev:
    cargo run --locked -- dev

# The pair is replaced 100 times under load, in every way; `tests/drill/run ROTATIONS` for others
drill:
    tests/drill/run

# What the program is made of: target/innopaas-proxy.cdx.json (CycloneDX)
sbom:
    cargo install --quiet --locked cargo-cyclonedx@0.5.9
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) cargo cyclonedx --format json --spec-version 1.5
    mkdir -p target
    mv innopaas-proxy.cdx.json target/
