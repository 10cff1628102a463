# make demo | build | lib | abi | test | test-m32 | test-threads | test-sanitize | test-pi | test-pythons | test-avx512 | test-windows | bench-check | peers | mutants | coverage | fuzz | graphs | wheels | wheels-all | test-wheels | lint | clean.  VENV: the environment to use; made when it does not exist.
VENV ?= .venv
PYTHON ?= python3
EXTRAS ?= dev
PY := $(VENV)/bin/python
# The environment is brought up to date only when pyproject.toml changed.
STAMP := $(VENV)/.lstm_edge-$(EXTRAS).stamp
LOCK := flock build/.lock

include src_c/flags.mk

.PHONY: build demo test test-pi test-pythons test-avx512 test-windows wheels wheels-all test-wheels build-test-c test-c bench-check peers mutants coverage graphs fuzz fuzz-open fuzz-run build-fuzz build-fuzz-objects test-m32 test-threads test-python test-sanitize lint clean

build: $(STAMP)
	@mkdir -p build
	@$(LOCK) env $$(tools/python_headers.sh $(PY)) $(PY) setup.py -q build_ext --inplace

$(PY):
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml | $(PY)
	$(PY) -m pip install -q $$($(PY) tools/requirements.py $(EXTRAS))
	@touch $@

demo: | $(PY)
	env $$(tools/python_headers.sh $(PY)) $(PY) -m pip install -q '.[cli,keras]'
	$(PY) tools/demo.py

test:
	$(MAKE) -j$$(nproc) -Otarget test-c
	$(MAKE) test-python

# On every core, each with one thread of its own: torch's would only wait for each other. A file's tests run in order, since
# they draw from one stream of random numbers.
PYTEST := OMP_NUM_THREADS=1 $(abspath $(PY)) -m pytest -n auto --dist loadfile
test-python: build
	$(PYTEST)

# The Python tests of the core under ASan and UBSan, in a copy: the plain build stays as it is.
# libstdc++ goes in beside ASan, which must know the C++ exceptions of other packages.
SANITIZED := tests/test_ops.py tests/test_streaming.py tests/test_format.py tests/test_cli.py tests/test_runtime.py \
	tests/test_real_models.py tests/test_int8.py tests/test_many.py
test-sanitize: $(STAMP)
	rm -rf build/sanitize/tests build/sanitize/lstm_edge build/sanitize/src_c && mkdir -p build/sanitize
	cp -rp lstm_edge src_c tests examples tools setup.py pyproject.toml README.md CHANGELOG.md build/sanitize
	cd build/sanitize && env $$($(CURDIR)/tools/python_headers.sh $(abspath $(PY))) LSTM_EDGE_SANITIZE=1 \
		$(abspath $(PY)) setup.py -q build_ext --inplace --force
	cd build/sanitize && LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libstdc++.so.6)" ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=1024 \
		$(PYTEST) $(wildcard $(SANITIZED)) -k "not memory"

# ---- the core without Python: objects, then one program per tests/c/test_*.c
# For another CPU: CC its compiler, C_BUILD a folder of its own, RUN what runs its programs (tools/emulated_pi), EXE how their names end.

C_BUILD ?= build/c
RUN ?=
EXE ?=
MACROS := $(shell $(CC) -dM -E -x c /dev/null)
ARCH := $(strip $(if $(filter __x86_64__,$(MACROS)),x86) $(if $(filter __i386__,$(MACROS)),x86_32) \
	$(if $(filter __aarch64__,$(MACROS)),arm64) $(if $(filter __arm__,$(MACROS)),arm32))

C_SOURCES := $(wildcard src_c/*.c src_c/ops/*.c src_c/kernels/*.c)
C_OBJECTS := $(C_SOURCES:src_c/%.c=$(C_BUILD)/%.o)
C_TESTS := $(patsubst tests/c/%.c,$(C_BUILD)/tests/%$(EXE),$(wildcard tests/c/test_*.c))
C_WARNINGS := -Wall -Wextra -Wno-unused-parameter
TEST_FLAGS := $(C_FLAGS) $(C_FLAGS_$(ARCH)) $(if $(filter __MINGW32__,$(MACROS)),$(C_FLAGS_mingw)) $(TARGET_FLAGS) $(C_WARNINGS) $(SANITIZE_FLAGS) -Isrc_c
FILE_FLAGS = $(FLAGS_$(notdir $*)) $(FLAGS_$(notdir $*)_$(ARCH))

# Each object is made anew when a file changed that it was made of, which the compiler writes beside it (.d).
.SECONDARY: $(C_OBJECTS)
$(C_BUILD)/%.o: src_c/%.c src_c/flags.mk Makefile
	@mkdir -p $(@D)
	$(CC) $(TEST_FLAGS) $(FILE_FLAGS) -MMD -MP -c $< -o $@
-include $(C_OBJECTS:.o=.d)

LINK_FLAGS_test_model := -Wl,--wrap=malloc,--wrap=calloc,--wrap=mmap,--wrap=le_alloc_aligned
LINK_FLAGS_test_adapt := $(LINK_FLAGS_test_model)
LINK_FLAGS_test_forecast := $(LINK_FLAGS_test_model)
LINK_FLAGS_test_faults := $(LINK_FLAGS_test_model)

# gcc 12's vectoriser for AArch64 crashes on a test.
.SECONDARY: $(C_TESTS:%$(EXE)=%.o)
$(C_BUILD)/tests/%.o: tests/c/%.c src_c/flags.mk Makefile
	@mkdir -p $(@D)
	$(CC) $(TEST_FLAGS) -fno-tree-vectorize -Itests/c -MMD -MP -c $< -o $@
-include $(C_TESTS:%$(EXE)=%.d)

$(C_BUILD)/tests/%$(EXE): $(C_BUILD)/tests/%.o $(C_OBJECTS)
	$(CC) $(TEST_FLAGS) $< $(C_OBJECTS) $(LINK_FLAGS_$*) $(TARGET_LINK_FLAGS) -o $@ -lm -lpthread

build-test-c: $(C_TESTS)

include src_c/library/library.mk

# With make's -j they run side by side.
C_RUNS := $(C_TESTS:%=%.run)
.PHONY: $(C_RUNS)
test-c: $(C_RUNS)
$(C_RUNS): %.run: %
	@echo "$<"; ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=64 $(RUN) $<

# ---- instructions of twelve calls beside those committed (tools/instruction_guard.py): a kernel that became slower fails

bench-check: build
	PYTHONPATH=. $(PY) tools/instruction_guard.py

# docs/performance.md: this project beside the engines that pip installs, some eight minutes of an otherwise idle machine (tools/peers)
peers: build
	PYTHONPATH=.:tools:tests $(PY) -m peers -o docs/performance.md

# ---- what the tests would see: faults made one by one in a copy of the tree (tools/mutants.py, tests/mutants); an hour

mutants: build
	$(PY) tools/mutants.py

# ---- lines and branches of the core that the C tests and some Python files run, by gcov (tools/coverage.py, tests/uncovered.toml); some 15 minutes

coverage: build
	$(PY) tools/coverage.py

# ---- libFuzzer on opening and on running (tests/fuzz), side by side, from tests/corpus on, each for SECONDS; what it finds lies in build/fuzz as crash-*
# FUZZ_SEED: 0, another at every run. FUZZ_KERNELS=-DLE_SCALAR_ONLY leaves the vectors of x86 out: the build takes a quarter of the time.

SECONDS ?= 60
FUZZ_CC := $(or $(shell command -v clang-14 || command -v clang),clang)
FUZZ_KERNELS ?=
FUZZ_SEED ?= 0
FUZZ_FLAGS := -O1 -gline-tables-only $(FUZZ_KERNELS) -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-sanitize=function
FUZZ_WRAP := -Wl,--wrap=malloc,--wrap=calloc,--wrap=mmap,--wrap=le_alloc_aligned,--wrap=le_crc32
FUZZ_OPTIONS := -seed=$(FUZZ_SEED) -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix=build/fuzz/
fuzz: build-fuzz
	@$(MAKE) -j2 -Otarget fuzz-open fuzz-run
fuzz-open fuzz-run: fuzz-%:
	@mkdir -p build/fuzz/corpus-$*
	build/fuzz/$* $(FUZZ_OPTIONS) -max_total_time=$(SECONDS) build/fuzz/corpus-$* tests/corpus

FUZZ_OBJECTS := build/fuzz/objects$(FUZZ_KERNELS)
build-fuzz:
	@$(MAKE) -s build-fuzz-objects CC=$(FUZZ_CC) C_BUILD=$(FUZZ_OBJECTS) SANITIZE_FLAGS="$(FUZZ_FLAGS) -Wno-ignored-optimization-argument"
	for target in open run; do $(FUZZ_CC) -std=c11 $(C_WARNINGS) $(FUZZ_FLAGS) -fsanitize=fuzzer -Isrc_c -Itests/c tests/fuzz/$$target.c \
		$$(find $(FUZZ_OBJECTS) -name '*.o') $(FUZZ_WRAP) -o build/fuzz/$$target -lm -lpthread || exit 1; done
build-fuzz-objects: $(C_OBJECTS)

# ---- random graphs of many ops on every ISA beside the oracle (tests/test_graphs.py), others at every run, for SECONDS or until one fails

graphs: build
	@end=$$(($$(date +%s) + $(SECONDS))); while [ $$(date +%s) -lt $$end ]; do \
		HYPOTHESIS_PROFILE=default $(PYTEST) -q tests/test_graphs.py || exit 1; done

# The same for 32-bit x86, which runs the scalar kernels.
test-m32:
	$(MAKE) test-c CC="$(CC) -m32" C_BUILD=build/c32

# The same for Windows on x86-64, with every kernel table that this CPU runs: mingw-w64 builds, wine runs. 70 s on two cores, not part of `make test`.
WINDOWS_CC := x86_64-w64-mingw32-gcc
# Outside the tree: it holds a link to the root of the file system, and setuptools follows links where it looks for packages.
WINE_PREFIX := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lstm_edge/wine
test-windows:
	@if command -v $(WINDOWS_CC) >/dev/null && command -v wine >/dev/null; then \
		mkdir -p $(WINE_PREFIX) && $(MAKE) build-test-c test-c CC=$(WINDOWS_CC) C_BUILD=build/c-windows EXE=.exe SANITIZE_FLAGS= TARGET_LINK_FLAGS=-static \
			RUN="env WINEPREFIX=$(WINE_PREFIX) WINEDEBUG=-all WINEDLLOVERRIDES=mscoree,mshtml= wine"; \
	else \
		echo "test-windows: skipped: expected $(WINDOWS_CC) and wine; apt install --no-install-recommends gcc-mingw-w64-x86-64 wine wine64"; \
	fi

# The call of many streams under ThreadSanitizer.
test-threads:
	$(MAKE) build/c-threads/tests/test_many C_BUILD=build/c-threads SANITIZE_FLAGS="-fsanitize=thread -g"
	build/c-threads/tests/test_many

# ---- every Raspberry Pi's CPU, emulated: C tests on all of them; ops, chunks, int8 bits and real models in Python (docs/raspberry-pi.md)

PI_GOLDEN := build/golden
# The C tests run on all six; Python's not on the A72, which has the A53's instructions.
PI_CPUS := cortex-a76 cortex-a53 cortex-a7
PI_TESTS := tests/test_ops.py tests/test_runtime.py tests/test_streaming.py tests/test_int8.py tests/test_golden.py tests/test_real_models.py
# Not repeated there: accuracies, which follow from the bits, and what starts an interpreter of its own.
PI_SKIPPED := -k "not (import_is_light or drift or peers or noise_suppression or speech_decisions)"

test-pi: build
	$(PY) tools/emulated_pi --c
	rm -rf $(PI_GOLDEN)
	if [ -n "$$LSTM_EDGE_MODELS" ]; then PYTHONPATH=.:tests $(PY) tests/golden_bits.py $(PI_GOLDEN); fi
	LSTM_EDGE_GOLDEN=$${LSTM_EDGE_MODELS:+$(CURDIR)/$(PI_GOLDEN)} $(PY) tools/emulated_pi $(PI_CPUS:%=--cpu %) -- $(PI_TESTS) $(PI_SKIPPED)

# ---- every other Python of this machine, with a wheel as pip makes it

test-pythons: | $(PY)
	$(PY) tools/pythons.py

# ---- AVX-512 where this machine has none

test-avx512:
	$(PYTHON) tools/emulated_avx512

# ---- wheels: docs/wheels.md

wheels: | $(PY)
	$(PY) tools/wheels.py

# The same, and for each architecture one for Python 3.9 and one for 3.10.
wheels-all: | $(PY)
	$(PY) tools/wheels.py --older

test-wheels: build wheels
	$(PY) tools/wheels.py --check

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(or $(wildcard $(VENV)/bin/clang-format),clang-format) --dry-run -Werror $(C_SOURCES) $(wildcard src_c/*.h src_c/*/*.h src_c/library/*.c src_c/*.hpp examples/c/*.c examples/cpp/*.cpp examples/cpp/*.hpp tests/c/*.c tests/c/*.cpp tests/c/*.h)
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

clean:
	rm -rf build dist *.egg-info lstm_edge/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
