# The two commands of the README: `make demo` and `make test`. Nothing else is needed on a fresh machine.

# Flags for the demo: make demo ARGS="--web.listen-address 127.0.0.1:9175"
ARGS ?=

# The soak: make soak SECONDS=60 SOCS=100 SEED=7; the seed is chosen, and printed, unless it is given.
SECONDS ?= 600
SOCS ?= 300
SEED ?=

# Sections of the benchmark: make bench SECTIONS="rounds idle"; none: all but `full`
SECTIONS ?=

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help demo test verify soak dashboards bench deps

help:
	@echo "make demo     a simulated rack with an exporter, Redis, Prometheus and Alertmanager; Ctrl-C ends it"
	@echo "make test     all tests"
	@echo "make verify   what CI runs: format, lints, tests, documentation"
	@echo "make soak     random faults for ten minutes, and how long rows and metrics were wrong"
	@echo "make dashboards   writes the Grafana dashboards, dashboards/*.json, anew"
	@echo "make bench    the benchmark, an optimised build first: some minutes"
	@echo "make deps     redis-server, prometheus and alertmanager from Debian's packages, where they are missing"

# The unoptimised build, on purpose: it is the one that the tests use too, and takes a third of the time of an
# optimised one. For 24 SoCs it is fast enough.
demo:
	@scripts/deps --optional cargo redis-server prometheus alertmanager
	@$(CARGO) run --locked -p dualtor-demo -- $(ARGS)

test:
	@scripts/deps cargo redis-server prometheus alertmanager
	$(CARGO) test --locked --workspace

verify:
	@scripts/deps cargo rustfmt clippy redis-server prometheus alertmanager
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(MAKE) test
	$(MAKE) soak SECONDS=60
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

# The unoptimised build, as of `make test`.
soak:
	@scripts/deps cargo redis-server
	$(CARGO) test --locked --test soak -- --seconds $(SECONDS) --socs $(SOCS) $(if $(SEED),--seed $(SEED))

dashboards:
	@scripts/deps cargo
	$(CARGO) run --locked --example dashboards

bench:
	@scripts/deps cargo redis-server
	$(CARGO) build --locked --release -p dualtor-sim
	$(CARGO) bench --locked --bench performance -- $(SECTIONS)

deps:
	@scripts/deps cargo rustfmt clippy redis-server prometheus alertmanager
