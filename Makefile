# `make demo` and `make test` are all a newcomer needs; both run as root (layers have owners and devices).

CARGO ?= cargo
BIN := target/release/chunked-snapshotter
# The release of cargo-deny that deny.toml was written for: a later one may have other rules.
DENY := 0.20.2
DENY_DIR := $(CURDIR)/.tools/deny-$(DENY)

.PHONY: help needs fresh build tools demo test unit check cases bench bench-quick bench-http2 bench-writer floor lint deny latency bench-index bench-cuts fuzz clean bench-ranges

help:
	@echo "make demo     real containerd and nerdctl pull v1 and v2 of an image through us"
	@echo "make test     everything CI runs: lint, unit tests, checks with real parts; installs what it needs"
	@echo "make fresh    make demo in an empty Debian 12, with its times; TEST=test runs make test there"
	@echo "make cases    images and registries that other pullers failed on, beside containerd's overlayfs"
	@echo "make disk     power cuts, failing system calls, roots that cannot hold layers, the order on disk"
	@echo "make bench    pulls and updates against overlayfs and the reference puller; medians and ratios"
	@echo "make bench-quick  bytes and memory of pulls and updates, asserted; needs no quiet machine, and CI runs it"
	@echo "make bench-http2   one HTTP/2 connection against several HTTP/1.1 ones, over lines of several lengths"
	@echo "make bench-writer  our writer of the format against the reference one, on a layer of 1 GB; round trip of every corpus tar"
	@echo "make fuzz     every fuzz target for FUZZ_SECONDS (10) seconds, on stable Rust"
	@echo "make floor    an update's bytes at the registry against what is missing at least"
	@echo "make bench-ranges  one range in a request against several, on short and long lines"
	@echo "make build    $(BIN)"
	@echo "make lint     fmt, clippy, cargo deny"
	@echo "make latency  Stat and Commit with 10 000 snapshots"
	@echo "make bench-index  look-ups, start-up and size of the index with 5 million files"
	@echo "make bench-cuts   cutting 1 GB of large files of a layer that came whole into chunks"

build:
	$(CARGO) build --release -p chunked-snapshotter

tools:
	integration/tools/build

demo:
	@export BEGAN=$$(date +%s); integration/demo/prepare && integration/demo/run

test: needs tools lint unit check disk

# What is missing is said before anything is built.
needs:
	@integration/tools/needs test

# make demo in an empty Debian 12, as on a new machine; TEST=test runs make test there. Before a release.
fresh:
	integration/fresh/run $(TEST)

lint: deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	PATH="$(DENY_DIR)/bin:$$PATH" $(CARGO) deny check bans licenses sources
	integration/mutations/run --check
	$(CARGO) metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
	@! grep -L 'fuzz_target!' fuzz/fuzz_targets/*.rs | grep . || { echo "these fuzz targets fuzz nothing" >&2; exit 1; }

# Installs cargo-deny beside the other tools, unless the PATH has this very release.
deny:
	@PATH="$(DENY_DIR)/bin:$$PATH" $(CARGO) deny --version 2>/dev/null | grep -qx 'cargo-deny $(DENY)' || \
	  $(CARGO) install --quiet --locked --root $(DENY_DIR) --version $(DENY) cargo-deny

unit:
	$(CARGO) test --release --workspace
	cd integration/go/descriptors && go run . | diff ../../../proto/tests/containerd-api-v1.12.0.json -
	cd integration/go/descriptors && go run . cri | diff ../../../proto/tests/cri-api-v0.37.0.json -
	cd integration/go/tarread && go build -o ../../../target/tarread .
	$(CARGO) run --release -p chunked-tar --example against_go -- target/tarread

check: build tools
	integration/suite/run
	integration/cases/run

# Bounded for CI. By hand: `integration/disk/powercut --cuts 200 --kills 200`, `integration/disk/faults --every`.
disk: build tools
	integration/disk/order
	integration/disk/roots
	integration/disk/powercut --cuts 5 --kills 2 --fs xfs,ext4
	integration/disk/faults --number 8 --fs xfs,ext4

cases: build tools
	integration/cases/run

bench-index:
	$(CARGO) bench -p chunked-store --bench index
	$(CARGO) test --release -p chunked-engine --lib fifty_thousand -- --nocapture

bench-cuts:
	$(CARGO) bench -p chunked-store --bench cuts

latency:
	$(CARGO) bench -p chunked-snapshot --bench latency

bench: build tools
	integration/tools/build bench
	integration/bench/run

floor: build tools
	integration/bench/floor

bench-ranges: build tools
	integration/bench/ranges

bench-writer: build tools
	$(CARGO) build --release -p chunked-format --examples
	integration/bench/writer
	integration/bench/roundtrip

fuzz:
	fuzz/run

bench-quick: build tools
	integration/suite/run costs

bench-http2: build tools
	integration/bench/http2

clean:
	$(CARGO) clean
	rm -rf .tools bench-results
