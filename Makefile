# The two commands are `make demo` and `make test`; `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DENY := target/tools/bin/cargo-deny
ABOUT := target/tools/bin/cargo-about
OLD_RUNTIME := target/old-onnxruntime/libonnxruntime.so
BUNDLES := target/test-bundles/.made
PICTURES := target/test-pictures/.made
SEEDS := target/fuzz-seeds/.made
# The model tooling has an environment of its own: TensorFlow is large, and no site needs it.
MODELS := .venv-models
MODELS_BIN := $(MODELS)/bin
# A bundle of the first site's architecture, untrained: for benchmarks.
REFERENCE := build/reference
BOX_PACKAGES := build/box/packages/.made
# What is released, and what it is released with.
DIST := target/dist
RELEASE := .venv-release
RELEASE_BIN := $(RELEASE)/bin
# A browser's driver, and the rules that pages are judged by.
SHOTS := .venv-shots
AXE_VERSION := 4.14.1
AXE := target/axe-$(AXE_VERSION)/axe.min.js
# Where the daemon finds ONNX Runtime when it is run from target/ and not from an environment.
# Asked anew for every recipe (make's own wildcard remembers a folder as it was before `setup`).
export ORT_DYLIB_PATH = $(shell find $(CURDIR)/$(VENV) -name 'libonnxruntime.so*' 2>/dev/null | head -n 1)
# Prepared models of tests and demonstration do not belong into anybody's home.
export DERMALD_CACHE = $(CURDIR)/target/test-cache

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: $(VENV)/.made ## A photo through a Django site, and a sheet of overlays; ARGS=--stay keeps the site up
	cargo build --release --locked
	$(BIN)/python python-client/example/overlays.py --daemon target/release/dermald \
		--bundle models/demo --output build/demo
	$(BIN)/python python-client/example/demo.py --daemon target/release/dermald \
		--bundle models/demo --expect ring --output build/demo $(ARGS)

.PHONY: test
test: ## Everything that a change must pass (below 15 minutes)
	@# What is installed and looked at comes beside what is compiled; the tests have the machine to themselves.
	$(MAKE) -j 2 deny setup built lint-python
	$(MAKE) test-rust test-python
	@echo "all checks passed"

.PHONY: proof
proof: setup $(REFERENCE)/.made ## The long forms: release build, many pictures and requests, training's own tests
	TEST_RENEWALS=50 TEST_RENEWAL_REQUESTS=10000 TEST_RENEWAL_CROSSINGS=20 TEST_MUTATIONS=100000 \
		cargo test --locked --release
	TEST_LEAKS=2000 cargo test --locked --test daemon rehearsed -- --nocapture
	if command -v c++ >/dev/null; then $(MAKE) fuzz; else echo "NOT FUZZED: libFuzzer needs a C++ compiler"; fi
	if [ -x $(LLVM)/llvm-cov ]; then $(MAKE) coverage; else echo "NOT MEASURED: coverage, which needs llvm-tools"; fi
	TEST_DERMALD=$(CURDIR)/target/release/dermald TEST_SHARED_REQUESTS=10000 \
		TEST_RENEWAL_UPLOADS=200 TEST_KILLS=100 TEST_BACKGROUND_UPLOADS=500 TEST_BACKFILL_ROWS=1000 \
		$(BIN)/python -m pytest -q python-client/tests -c python-client/pyproject.toml
	TEST_DERMALD=$(CURDIR)/target/release/dermald TEST_PICTURES=2000 \
		$(BIN)/python -m pytest -q -s tests/python
	TEST_DERMALD=$(CURDIR)/target/release/dermald TEST_LONG=1 \
		$(BIN)/python -m pytest -q -s tests/python/test_pictures.py
	TEST_PARITY_PICTURES=50 TEST_LONG=1 \
		$(MODELS_BIN)/python -m pytest -q -s -ra models/tests -c models/pyproject.toml
	$(MAKE) release newer
	$(MAKE) shots
	$(MAKE) units
	$(MAKE) bench soak JUDGE=--judge
	if [ "$$(id -u)" = 0 ]; then $(MAKE) box; else echo "NOT MEASURED: the box, which needs root"; fi

# As root, after `cargo build --release`. The units name what is installed, so PREFIX is written into
# them; packagers set DESTDIR. Nothing is started, and a configuration that is there is left alone.
# ONNX Runtime: the library that tests use, unless ORT_DYLIB_PATH names another; the daemon finds it in
# PREFIX/lib/dermald.
PREFIX ?= /usr/local
DESTDIR ?=
BINARY ?= target/release/dermald
LIBRARIES := $(DESTDIR)$(PREFIX)/lib
UNITS := $(LIBRARIES)/systemd/system
DOCS := $(DESTDIR)$(PREFIX)/share/doc/dermald
PLACED := sed 's|/usr/local|$(PREFIX)|g'
.PHONY: install
install: ## Binary, units, users, folders, documents and an example configuration; PREFIX=/usr DESTDIR=root
	@test -x $(BINARY) || { echo "not built yet: cargo build --release --locked"; exit 1; }
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/dermald
	@if [ -f "$(ORT_DYLIB_PATH)" ]; then rm -f $(LIBRARIES)/dermald/libonnxruntime.so*; install -D -v -m 644 -t $(LIBRARIES)/dermald "$(ORT_DYLIB_PATH)"; \
		for text in LICENSE ThirdPartyNotices.txt; do \
			file="$$(dirname "$(ORT_DYLIB_PATH)")/../$$text"; \
			if [ -f "$$file" ]; then install -D -m 644 "$$file" $(DOCS)/onnxruntime/$$text; fi; done; \
	else echo "ONNX Runtime is not installed: put libonnxruntime.so into $(PREFIX)/lib/dermald, or name it as" \
		"\`onnxruntime\` in /etc/dermald/dermald.toml"; fi
	install -d $(UNITS)/dermald.service.d $(UNITS)/dermald@.service.d $(LIBRARIES)/sysusers.d $(LIBRARIES)/tmpfiles.d
	for unit in dermald.socket dermald.service dermald@.socket dermald@.service; do \
		$(PLACED) systemd/$$unit | install -m 644 /dev/stdin $(UNITS)/$$unit; done
	for unit in dermald dermald@; do \
		install -m 644 systemd/daemon.conf $(UNITS)/$$unit.service.d/daemon.conf; done
	install -m 644 systemd/sysusers.conf $(LIBRARIES)/sysusers.d/dermald.conf
	install -m 644 systemd/tmpfiles.conf $(LIBRARIES)/tmpfiles.d/dermald.conf
	install -d $(DOCS)/docs $(DOCS)/examples/gunicorn.service.d
	$(PLACED) systemd/gunicorn.service.d/dermald.conf \
		| install -m 644 /dev/stdin $(DOCS)/examples/gunicorn.service.d/dermald.conf
	install -m 644 README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE $(DOCS)
	install -m 644 docs/* $(DOCS)/docs
	if [ -f python-client/THIRD-PARTY.md ]; then install -m 644 python-client/THIRD-PARTY.md $(DOCS); fi
	install -d $(DESTDIR)/etc/dermald
	umask 022; test -e $(DESTDIR)/etc/dermald/dermald.toml \
		|| env -i CACHE_DIRECTORY=/var/cache/dermald $(BINARY) init --out $(DESTDIR)/etc/dermald/dermald.toml \
			--bundle /var/lib/dermald/model --allow-groups dermald
	@echo "what comes next is told in docs/systemd.md"

# A root of Debian 12 with systemd 252, booted in a container that is made for it.
.PHONY: units
units: $(VENV)/.made ## The units under systemd itself: start, watchdog, reload, memory, stop; needs root; ARGS="--renewals 200"
	cargo build --release --locked
	$(BIN)/python tests/systemd/prove.py --daemon target/release/dermald $(ARGS)

.PHONY: newer
newer: setup wheel ## The client's tests on Django 6.1 and Python 3.13, in a root of Debian 13; needs root
	cargo build --release --locked
	TEST_DERMALD=$(CURDIR)/target/release/dermald PYTHONPATH=$(CURDIR)/target/wheel/unpacked tests/newer.sh

# The system's Chromium: what Playwright would download is not fetched. Nothing here belongs to `setup`.
.PHONY: shots
shots: $(VENV)/.made ## Chromium walks the example site: screenshots in build/shots, judged by axe; ARGS="--only status"
	@mkdir -p target; command -v chromium >/dev/null \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get update -q \
			&& apt-get install -y -q --no-install-recommends chromium; } >target/apt-chromium.log 2>&1; } || true
	@if ! command -v chromium >/dev/null; then echo "NOT LOOKED AT: the pages (Debian: apt-get install chromium)"; \
	elif ! $(MAKE) $(AXE) $(SHOTS)/.made >target/shots-setup.log 2>&1; then \
		echo "NOT LOOKED AT: the pages, as axe-core or Playwright is not to be had (target/shots-setup.log)"; \
	else cargo build --release --locked && $(SHOTS)/bin/python tests/shots/walk.py \
		--daemon target/release/dermald --bundle models/demo --axe $(AXE) \
		--chromium "$$(command -v chromium)" --output build/shots $(ARGS); fi

# It sees what the tests have, and the client where it is written.
$(SHOTS)/.made: tests/requirements-shots.txt $(VENV)/.made
	$(BIN)/python -m venv --clear $(SHOTS)
	$(SHOTS)/bin/pip install -q --disable-pip-version-check -r tests/requirements-shots.txt
	for folder in python-client/src python-client/example; do echo $(CURDIR)/$$folder; done >$(SHOTS)/paths
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >>$(SHOTS)/paths
	mv $(SHOTS)/paths "$$($(SHOTS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tests.pth"
	touch $@

$(AXE):
	mkdir -p $(@D)
	cd $(@D) && npm pack --silent axe-core@$(AXE_VERSION) && tar -xzf axe-core-$(AXE_VERSION).tgz \
		--strip-components=1 --touch package/axe.min.js package/LICENSE && rm axe-core-$(AXE_VERSION).tgz

.PHONY: bench
bench: $(VENV)/.made $(REFERENCE)/.made ## Measure; prints figures, judges nothing
	cargo build --release --locked
	$(BIN)/python tests/bench/transport.py --daemon target/release/dermald
	$(BIN)/python tests/bench/model.py --daemon target/release/dermald
	$(BIN)/python tests/bench/photos.py --daemon target/release/dermald
	$(BIN)/python tests/bench/renewal.py --daemon target/release/dermald
	$(BIN)/python tests/bench/probes.py --daemon target/release/dermald
	$(BIN)/python python-client/tests/first_site_show.py --daemon target/release/dermald \
		--models-python $(MODELS_BIN)/python --keras $(REFERENCE)/dermatology.keras \
		--bundle $(REFERENCE)/bundle $(JUDGE)

# libFuzzer by its own crate and the compiler's flags, which stable has: no cargo-fuzz and no nightly.
# The flags are those of `cargo fuzz --sanitizer none`; `--cfg fuzzing` makes decoders skip checksums.
# The lock is copied so that what is fuzzed is what is shipped.
RUNS ?= 1000000
FUZZ_TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
FUZZERS := target/fuzz/$(FUZZ_TARGET)/release
.PHONY: fuzz
fuzz: $(SEEDS) ## A million executions of each fuzz target; RUNS=1000 for fewer; needs a C++ compiler
	cp Cargo.lock tests/fuzz/Cargo.lock
	RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
		-Cllvm-args=-sanitizer-coverage-trace-compares \
		-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
		-Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1" \
		cargo build --release --manifest-path tests/fuzz/Cargo.toml --target $(FUZZ_TARGET) \
		--target-dir target/fuzz
	mkdir -p target/fuzz/corpus/picture target/fuzz/corpus/frame
	$(FUZZERS)/frame -runs=$(RUNS) -max_len=4096 -timeout=3 -print_final_stats=1 \
		-artifact_prefix=target/fuzz/frame- target/fuzz/corpus/frame tests/vectors
	$(FUZZERS)/picture -runs=$(RUNS) -max_len=16384 -timeout=3 -rss_limit_mb=512 -print_final_stats=1 \
		-artifact_prefix=target/fuzz/picture- target/fuzz/corpus/picture target/fuzz-seeds \
		tests/fuzz/regressions/picture

# By the compiler's own tools: `rustup component add llvm-tools`. Tests of a daemon count for nothing here,
# as a daemon that is killed writes no profile.
COVERED := --lib --test library --test fuzzed
LLVM := $(shell rustc --print sysroot)/lib/rustlib/$(FUZZ_TARGET)/bin
.PHONY: coverage
coverage: setup ## Lines of src/image and src/wire that tests and corpora reach
	@test -x $(LLVM)/llvm-cov || { echo "needs: rustup component add llvm-tools"; exit 1; }
	rm -rf target/coverage/raw
	export RUSTFLAGS=-Cinstrument-coverage LLVM_PROFILE_FILE=$(CURDIR)/target/coverage/raw/%p-%m.profraw; \
		cargo test --locked --target-dir target/coverage $(COVERED); \
		cargo test --locked --target-dir target/coverage $(COVERED) --no-run --message-format json \
			2>/dev/null | sed -n 's/.*"executable":"\([^"]*deps[^"]*\)".*/--object \1/p' >target/coverage/objects
	$(LLVM)/llvm-profdata merge -sparse target/coverage/raw/*.profraw -o target/coverage/all.profdata
	$(LLVM)/llvm-cov report $$(sed '1s/--object //' target/coverage/objects | tr '\n' ' ') \
		--instr-profile target/coverage/all.profdata --show-region-summary=false \
		--show-branch-summary=false --sources src/image src/wire

.PHONY: box
box: $(VENV)/.made $(REFERENCE)/.made $(BOX_PACKAGES) hosted ## A free web service as a box: 512 MB, 0.1 CPU; ours and TensorFlow in it; needs root
	cargo build --release --locked
	$(BIN)/python tests/bench/free_tier.py --daemon target/release/dermald --json build/box/box.json $(ARGS)

# Everything but the upload. The wheel that is shipped is tested with ONNX Runtime's oldest and newest
# version, the second on a newer Python where there is one; the source distribution is built as a site
# would build it. `sha256sum --check SHA256SUMS`.
LOWEST_RUNTIME := 1.24.1
NEWER_PYTHON ?= python3.13
LARGEST_WHEEL := 12582912
.PHONY: release
release: deny $(DIST)/.wheel ## Wheel, source distribution, bills of material, licences, checksums; all of it tested
	rm -f $(DIST)/*.tar.gz $(DIST)/*.json $(DIST)/dermald_model* $(DIST)/LICENCES-* $(DIST)/SHA256SUMS
	cd python-client && ../$(RELEASE_BIN)/maturin sdist --out $(CURDIR)/$(DIST)
	$(RELEASE_BIN)/python -m build --outdir $(DIST) models >target/build-models.log
	$(RELEASE_BIN)/twine check --strict $(DIST)/*.whl $(DIST)/*.tar.gz
	@# W004: the names of Django's migrations begin with a number.
	$(RELEASE_BIN)/check-wheel-contents --ignore W004 $(DIST)/*.whl
	@for wheel in $(DIST)/dermald-*.whl; do size=$$(stat -c %s "$$wheel"); echo "$$wheel: $$size bytes"; \
		test "$$size" -le $(LARGEST_WHEEL) || { echo "more than $(LARGEST_WHEEL)"; exit 1; }; done
	$(RELEASE_BIN)/python tests/release/bare.py $(DIST)/dermald-*_x86_64.whl --onnxruntime $(LOWEST_RUNTIME) \
		--into target/bare/lowest
	$$($(NEWER_PYTHON) -c '' 2>/dev/null && echo $(NEWER_PYTHON) || echo $(RELEASE_BIN)/python) \
		tests/release/bare.py $(DIST)/dermald-*_x86_64.whl --onnxruntime newest --into target/bare/newest
	$(RELEASE_BIN)/python tests/release/source.py $(DIST)/dermald-*.tar.gz --into target/bare/source
	$(RELEASE_BIN)/pip-licenses --python target/bare/source/bin/python --format markdown --with-urls \
		--order license --output-file $(DIST)/LICENCES-packages.md
	cp python-client/THIRD-PARTY.md $(DIST)/LICENCES-crates.md
	rm -rf target/sbom && $(RELEASE_BIN)/python -m zipfile -e $(DIST)/dermald-*_x86_64.whl target/sbom
	cp target/sbom/*.dist-info/sboms/*.json $(DIST)
	$(RELEASE_BIN)/cyclonedx-py environment --output-reproducible \
		--output-file $(DIST)/dermald-packages.cyclonedx.json target/bare/source/bin/python
	cd $(DIST) && sha256sum *.whl *.tar.gz *.json *.md >SHA256SUMS
	@echo "not uploaded:"; ls -l $(DIST)

# zig links against the glibc that the tag names, whichever this machine has. onnxruntime's own wheels
# ask for 2.27 or newer, so an older one would serve nobody. For ARM where Rust can compile for it
# (`rustup target add aarch64-unknown-linux-gnu`); there is no machine here to run that one.
$(DIST)/.wheel: $(RELEASE)/.made python-client/THIRD-PARTY.md python-client/pyproject.toml Cargo.lock \
		$(shell find src python-client/src -type f -not -name '*.pyc')
	mkdir -p $(DIST) && rm -f $(DIST)/dermald-*.whl
	export PATH="$(CURDIR)/$(RELEASE_BIN):$$PATH"; cd python-client; \
		maturin build --quiet --release --locked --zig --compatibility manylinux_2_28 --out $(CURDIR)/$(DIST)
	@if [ -d "$$(rustc --print sysroot)/lib/rustlib/aarch64-unknown-linux-gnu/lib" ]; then \
		export PATH="$(CURDIR)/$(RELEASE_BIN):$$PATH"; cd python-client; \
		maturin build --quiet --release --locked --zig --compatibility manylinux_2_28 --out $(CURDIR)/$(DIST) \
			--target aarch64-unknown-linux-gnu; \
	else echo "NOT BUILT: the wheel for aarch64 (rustup target add aarch64-unknown-linux-gnu)"; fi
	touch $@

# The licences' texts must go where the binary goes: the wheel holds them.
python-client/THIRD-PARTY.md: $(ABOUT) Cargo.lock tests/release/about.toml tests/release/about.hbs
	$(ABOUT) generate --locked --fail --config tests/release/about.toml --output-file $@ tests/release/about.hbs

$(RELEASE)/.made: tests/requirements-release.txt
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE_BIN)/pip install -q --disable-pip-version-check -r tests/requirements-release.txt
	touch $@

# With optimisation: it compares every licence with every text, and takes eight minutes without, one with it.
$(ABOUT):
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo install -q --locked \
		--root target/tools --target-dir target/tools/build-about cargo-about@0.9.3 --features cli
	rm -rf target/tools/build-about

.PHONY: hosted
hosted: $(VENV)/.made $(REFERENCE)/.made $(DIST)/.wheel ## render.yaml's own commands in that box, built here and on another processor; needs root
	$(BIN)/python tests/bench/hosted.py --json build/box/hosted.json

.PHONY: soak
soak: $(VENV)/.made ## 20,000 mixed requests: does the memory grow? ARGS="--minutes 120" goes on for hours
	cargo build --release --locked
	$(BIN)/python tests/bench/soak.py --daemon target/release/dermald $(ARGS)

.PHONY: setup
setup: $(VENV)/.made $(MODELS)/.made $(BUNDLES) $(PICTURES) $(SEEDS) $(OLD_RUNTIME) $(DENY) system ## Install what the tests need, in ignored folders
	@command -v perl >/dev/null || { echo "perl is needed for tests/clients (Debian: apt-get install perl)"; exit 1; }

# What PyPI has only with a graphics card's libraries: PyTorch for processors alone. And Redis, which
# the tests start by themselves: RUNLEVEL=1 keeps the package from starting one.
.PHONY: system
system:
	@mkdir -p target; /usr/bin/python3 -c 'import torch' 2>/dev/null \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get update -q \
			&& apt-get install -y -q --no-install-recommends python3-torch; } >target/apt.log 2>&1; } \
		|| echo "NOT TESTED: conversion from PyTorch (Debian: apt-get install python3-torch)"
	@command -v redis-server >/dev/null \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get update -q \
			&& RUNLEVEL=1 apt-get install -y -q --no-install-recommends redis-server; } \
			>target/apt-redis.log 2>&1; } \
		|| echo "NOT TESTED: a cache in Redis, Celery (Debian: apt-get install redis-server)"
	@command -v promtool >/dev/null \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get update -q \
			&& RUNLEVEL=1 apt-get install -y -q --no-install-recommends prometheus; } \
			>target/apt-prometheus.log 2>&1; } \
		|| echo "NOT TESTED: alerts and metrics by promtool (Debian: apt-get install prometheus)"

# The client by a path and not by its build, which would compile the daemon once more.
$(VENV)/.made: tests/requirements.txt models/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -r tests/requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e models
	echo $(CURDIR)/python-client/src >"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dermald.pth"
	touch $@

$(MODELS)/.made: models/requirements.txt models/pyproject.toml
	$(PYTHON) -m venv $(MODELS)
	$(MODELS_BIN)/pip install -q --disable-pip-version-check -r models/requirements.txt pytest==9.2.0
	$(MODELS_BIN)/pip install -q --disable-pip-version-check --no-deps -e models
	touch $@

$(REFERENCE)/dermatology.keras: $(MODELS)/.made models/src/dermald_model/reference.py
	$(MODELS_BIN)/dermald-model reference --out $@ --labels $(REFERENCE)/labels.txt

# With Grad-CAM and without, and in both short forms. An untrained network's answers do not survive
# int8: that bundle shows what int8 costs, not how faithful it is.
$(REFERENCE)/.made: $(REFERENCE)/dermatology.keras
	$(MODELS_BIN)/dermald-model convert $< --labels $(@D)/labels.txt --force --out $(@D)/bundle
	$(MODELS_BIN)/dermald-model convert $< --labels $(@D)/labels.txt --force --no-gradcam --out $(@D)/plain
	$(MODELS_BIN)/dermald-model quantise $(@D)/bundle --to float16 --force --out $(@D)/float16
	rm -rf $(@D)/photos
	$(MODELS_BIN)/dermald-model pictures $(@D)/photos --seed 2 --count 64 --format png
	rm $(@D)/photos/*_mask.png
	$(MODELS_BIN)/dermald-model quantise $(@D)/bundle --to int8 --calibrate $(@D)/photos --write-anyway \
		--force --out $(@D)/int8
	touch $@

# Django and gunicorn for the baseline, which runs in the environment that has TensorFlow.
$(BOX_PACKAGES): tests/requirements.txt $(MODELS)/.made
	rm -rf $(@D)
	$(MODELS_BIN)/pip install -q --disable-pip-version-check --target $(@D) \
		--constraint tests/requirements.txt Django gunicorn
	touch $@

$(BUNDLES): tests/bundles/make.py $(VENV)/.made
	rm -rf target/test-bundles
	$(BIN)/python tests/bundles/make.py target/test-bundles
	touch $@

$(PICTURES): $(wildcard tests/pictures/*.py) $(VENV)/.made
	rm -rf target/test-pictures
	$(BIN)/python tests/pictures/make.py target/test-pictures
	touch $@

$(SEEDS): tests/fuzz/seeds.py $(VENV)/.made
	rm -rf target/fuzz-seeds
	$(BIN)/python tests/fuzz/seeds.py target/fuzz-seeds
	touch $@

# An ONNX Runtime that is too old, to be refused: only its library, out of its wheel.
$(OLD_RUNTIME): $(VENV)/.made
	mkdir -p $(@D)
	$(BIN)/pip download -q --disable-pip-version-check --no-deps -d $(@D) onnxruntime==1.23.2
	$(BIN)/python -c 'import glob, zipfile; wheel = zipfile.ZipFile(glob.glob("$(@D)/*.whl")[0]); \
		name = next(name for name in wheel.namelist() if "/libonnxruntime.so" in name); \
		open("$@", "wb").write(wheel.read(name))'
	rm -f $(@D)/*.whl

# Without optimisation, nor what checks the tool itself, it compiles in a minute instead of four.
$(DENY):
	+export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_PANIC=abort CARGO_PROFILE_DEV_CODEGEN_UNITS=4 \
		CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false; \
		cargo install -q --locked --debug --root target/tools --target-dir target/tools/build \
			cargo-deny@0.20.2
	rm -rf target/tools/build

.PHONY: lint lint-rust lint-python
lint: lint-rust lint-python

lint-rust:
	cargo fmt --check
	+cargo clippy --locked --all-targets -- --deny warnings
	+RUSTDOCFLAGS="--deny warnings --allow rustdoc::private_intra_doc_links" cargo doc --locked --no-deps --document-private-items

lint-python: $(VENV)/.made $(MODELS)/.made
	cd python-client && ../$(BIN)/ruff check . && ../$(BIN)/ruff format --check . && ../$(BIN)/mypy
	cd models && ../$(BIN)/ruff check . && ../$(BIN)/ruff format --check .
	$(BIN)/ruff check --config models/pyproject.toml tests/bundles tests/fuzz tests/pictures tests/python tests/bench tests/release tests/shots tests/systemd
	$(BIN)/ruff format --check --config models/pyproject.toml tests/bundles tests/fuzz tests/pictures tests/python tests/bench tests/release tests/shots tests/systemd
	$(BIN)/ruff check --config python-client/pyproject.toml tests/vectors
	$(BIN)/ruff format --check --config python-client/pyproject.toml tests/vectors
	cd models && ../$(BIN)/mypy --python-executable ../$(MODELS_BIN)/python src
	for folder in bundles fuzz pictures python bench release shots systemd vectors; do \
		MYPYPATH=models/src:python-client/src:python-client/example $(BIN)/mypy --config-file models/pyproject.toml \
			--strict tests/$$folder; done

.PHONY: deny
deny: $(DENY)
	$(DENY) --log-level error check bans licenses sources
	@if $(DENY) --log-level off fetch db >/dev/null 2>&1; \
		then $(DENY) --log-level error check advisories; \
		else echo "NOT CHECKED: the advisory database cannot be reached from here"; fi

# One after the other, as they would wait for each other's lock. A + hands make's two jobs on to cargo.
.PHONY: built
built: $(VENV)/.made
	$(MAKE) lint-rust
	+cargo test --locked --no-run
	$(MAKE) wheel

.PHONY: test-rust
test-rust: setup
	@[ "$$(id -u)" = 0 ] || echo "NOT TESTED: a peer of another user (tests/daemon/peers.rs needs root)"
	cargo test --locked 2>&1 | tee target/test-rust.log
	@awk '/^test result:/ { passed += $$4; failed += $$6 } \
		END { print "Rust: " passed " passed, " failed " failed" }' target/test-rust.log

# The client is tested as it is installed: what the wheel forgets, the tests miss. The daemon in this
# wheel is the one that the tests build anyway; `make release` makes and tests the one that is shipped.
.PHONY: wheel
wheel: $(VENV)/.made
	rm -rf target/wheel
	+cd python-client && ../$(BIN)/maturin build --quiet --locked --profile dev --compatibility linux \
		--out $(CURDIR)/target/wheel
	$(BIN)/python -m zipfile -e target/wheel/dermald-*.whl target/wheel/unpacked

.PHONY: test-python
test-python: setup wheel
	cargo test --locked --no-run
	$(BIN)/python tests/vectors/make.py --check
	@# The model tooling's tests compute on one core, and the others mostly wait: they run side by side,
	@# the client's two files at a time.
	export TEST_DERMALD=$(CURDIR)/target/debug/dermald; \
		$(MODELS_BIN)/python -m pytest -q -ra models/tests -c models/pyproject.toml \
			>target/test-models.log 2>&1 & models=$$!; trap "kill $$models 2>/dev/null || true" EXIT; \
		PYTHONPATH=$(CURDIR)/target/wheel/unpacked \
			$(BIN)/python -m pytest -q -n 2 --dist loadfile python-client/tests -c python-client/pyproject.toml; \
		$(BIN)/python -m pytest -q -s tests/python; \
		wait $$models || { cat target/test-models.log; exit 1; }; tail -n 8 target/test-models.log

.PHONY: clean
clean: ## Remove everything that was built or installed
	rm -rf target build $(VENV) $(MODELS) $(RELEASE) $(SHOTS) python-client/THIRD-PARTY.md
