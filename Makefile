# The two commands of the README: `make demo` and `make test`. Nothing else is needed on a fresh machine.

# Flags for the demo: make demo ARGS="--web.listen-address 127.0.0.1:9175"
ARGS ?=

# The soak: make soak SECONDS=60 SOCS=100 SEED=7. Without SEED a random seed is used and printed.
SECONDS ?= 600
SOCS ?= 300
SEED ?=

# Sections of the benchmark: make bench SECTIONS="rounds idle". Without it: all except `full`, `otel-away`, `otel-feature` and those of
# docs/scale.md. For otel-away: minutes of each of four cases, and the probe interval.
SECTIONS ?=
MINUTES ?= 10
INTERVAL ?= 1s

CARGO ?= cargo

# The processor for `make cross` and `make dist`. Without it: this machine's.
TARGET ?=

# The project's address, such as https://git.example/owner/dualtor-exporter; `repository` in Cargo.toml keeps it.
REPOSITORY ?= $(shell sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml)

# For the tests of the pages, which CI requires and other machines skip without them.
BROWSER := $(if $(filter true,$(CI)),,--optional) node npm chromium

.DEFAULT_GOAL := help
.PHONY: help demo test test-schemathesis verify deny msrv cross notices dist links soak dashboards dashboard-shots page-shots bench deps chart test-chart test-kubernetes test-packages packages release test-otel

help:
	@echo "make demo     a simulated rack with an exporter, Redis, Prometheus and Alertmanager; Ctrl-C ends it"
	@echo "make test     all tests"
	@echo "make test-schemathesis   requests made from the API's description by schemathesis; needs python3 and PyPI"
	@echo "make test-packages   tests of packaging/: systemd unit, .deb, container image, SONiC package"
	@echo "make test-otel   tests with a real OpenTelemetry Collector, built once (90 s of CPU); needs go"
	@echo "make verify   what CI runs: format, lints, tests, documentation"
	@echo "make deny     licences, duplicates, sources and security advisories of the dependencies (deny.toml)"
	@echo "make msrv     checks with the oldest supported Rust, rust-version in Cargo.toml"
	@echo "make cross    a release build for another processor: TARGET=aarch64-unknown-linux-gnu"
	@echo "make notices  writes THIRD-PARTY-NOTICES: the licences of all crates in the program"
	@echo "make dist     makes the release archive in target/dist: program, licences, rules, dashboards, documentation"
	@echo "make packages everything that is installed, in target/packages: .deb, archives, container images, SBOM, for three processors"
	@echo "make release  VERSION=0.2.0: writes and commits the version, then make packages (RELEASING.md)"
	@echo "make links    writes the project's address into Cargo.toml, alerts and dashboards: REPOSITORY=https://..."
	@echo "make chart    writes rules, dashboards, version and the table of values into helm/dualtor-exporter"
	@echo "make test-chart   all checks of the Helm chart that need no cluster; needs go, python3-venv"
	@echo "make test-kubernetes   installs the chart in a real Kubernetes without kubelets; ten minutes to build it once; needs go, etcd"
	@echo "make soak     random faults for ten minutes; reports how long rows and metrics were wrong"
	@echo "make dashboards   generates the Grafana dashboards, dashboards/*.json"
	@echo "make dashboard-shots   draws docs/images/*.png from the demo, and looks for what is cut; 12 minutes, needs node, npm, chromium"
	@echo "make page-shots   draws docs/images/page*.png and status.png from the demo; two minutes, needs node, npm, chromium"
	@echo "make bench    the benchmark, with an optimised build; some minutes"
	@echo "make deps     installs redis-server, prometheus, alertmanager, etcd, gobgpd, node, npm and chromium from Debian's packages if they are missing"

# The unoptimised build: the tests use it too, and it takes a third of the time of an optimised build. It is fast
# enough for 24 SoCs.
demo:
	@scripts/deps --optional cargo redis-server prometheus alertmanager
	@$(CARGO) run --locked -p dualtor-demo -- $(ARGS)

# Some tests: make test ARGS="it rounds" runs the test program `it`, only tests with "rounds" in their name.
test:
	@scripts/deps cargo redis-server prometheus alertmanager etcd gobgpd python3-venv
	@scripts/deps $(BROWSER)
	@CARGO="$(CARGO)" scripts/test $(ARGS)

# Not a part of `make test`: it needs a hundred megabytes of Python.
test-schemathesis:
	@scripts/deps cargo
	$(CARGO) build --locked --workspace
	tests/schemathesis/run $(ARGS)
# Some of them: make test-packages ARGS="test_show -v".
test-packages:
	@scripts/deps cargo
	@CARGO="$(CARGO)" tests/packages/run $(ARGS)

# A part of `make test` where there is Go; here it is required.
test-otel:
	@scripts/deps cargo redis-server go
	@CI=true CARGO="$(CARGO)" scripts/test otel $(ARGS)

verify:
	@scripts/deps cargo rustfmt clippy redis-server prometheus alertmanager
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --test soak -- -D warnings
	@# A switch's build can leave OpenTelemetry and grpc_unary out.
	$(CARGO) clippy --locked -p dualtor-exporter --lib --bins --no-default-features -- -D warnings
	scripts/deny --optional
	$(MAKE) test
	$(MAKE) soak SECONDS=60
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

deny:
	@scripts/deny

msrv:
	@scripts/msrv

cross:
	@test -n "$(TARGET)" || { echo "make cross TARGET=aarch64-unknown-linux-gnu (or armv7-unknown-linux-gnueabihf)"; exit 2; }
	@scripts/cross $(TARGET)

notices:
	@scripts/deps cargo
	$(CARGO) run --locked --quiet --example notices -- THIRD-PARTY-NOTICES

dist: notices
	@scripts/dist $(TARGET)

# Some of them: make packages ARGS="arm64 oci". PROFILE=dev for a quick try.
packages: notices
	@scripts/packages $(ARGS)

# Without VERSION: the version of Cargo.toml.
release:
	@scripts/release $(VERSION)

links:
	@scripts/links '$(REPOSITORY)'
	$(MAKE) dashboards

chart:
	@scripts/chart

# Uses the exporter that `make test` has built, if it is there.
test-chart:
	@tests/chart/run

test-kubernetes:
	@tests/kubernetes/run

# The unoptimised build, same as `make test`.
soak:
	@scripts/deps cargo redis-server
	$(CARGO) test --locked --test soak -- --seconds $(SECONDS) --socs $(SOCS) $(if $(SEED),--seed $(SEED))

dashboards:
	@scripts/deps cargo
	$(CARGO) run --locked --example dashboards
	@scripts/chart

dashboard-shots:
	@scripts/deps cargo redis-server prometheus alertmanager
	@scripts/screenshot/run

page-shots:
	@scripts/deps cargo redis-server
	@scripts/screenshot/pages

bench:
	@scripts/deps cargo redis-server
	$(CARGO) build --locked --release -p dualtor-sim
	MINUTES=$(MINUTES) INTERVAL=$(INTERVAL) $(CARGO) bench --locked --bench performance -- $(SECTIONS)

deps:
	@scripts/deps cargo rustfmt clippy redis-server prometheus alertmanager etcd gobgpd python3-venv
	@scripts/deps $(BROWSER)
