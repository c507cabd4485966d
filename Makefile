# The front door of Espalier; CMake and Ninja do the work. `make help` lists the doors.
.DEFAULT_GOAL := all
.PHONY: all help setup build demo check conformance bench format sanitize coverage fuzz install clean

BUILD ?= build
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 300
ONNX_DATA ?= /usr/share/libonnx-testdata/data
ONNX_LIST ?= tests/golden/onnx_unsupported.txt
JOBS ?= $(shell nproc)
export OMP_WAIT_POLICY ?= passive
export GOMP_SPINCOUNT ?= 1000

CONFIGURE = cmake -S . -G Ninja -DCMAKE_BUILD_TYPE=Release
CTEST = ctest --output-on-failure -j$(JOBS)

all: build ## the library and the command, optimised, in build/

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{ printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## installs the missing packages of packages.txt
	@tools/setup.sh

build:
	@[ -f $(BUILD)/build.ninja ] || $(CONFIGURE) -B $(BUILD)
	@cmake --build $(BUILD) -j$(JOBS)

demo: ## set-up, build, and the main job: train, prune, compile, verify on Fashion-MNIST
	@tools/setup.sh required optional
	@$(MAKE) --no-print-directory build
	$(BUILD)/espalier run pipelines/fashion-mnist.yaml

check: setup ## set-up, build, and all tests
	@$(MAKE) --no-print-directory build
	cd $(BUILD) && ctest --output-on-failure -j2
	@for script in tests/*.sh; do \
	    echo "$$script"; BUILD=$(BUILD) $$script || { echo "check: $$script failed"; exit 1; }; \
	done
	@echo "check: everything passed"

conformance: build ## the ONNX project's tests, each evaluated, as a program and compiled; ONNX_DATA, ONNX_LIST for other data
	$(BUILD)/conformance --list $(ONNX_LIST) --compile all --cache $(BUILD)/conformance-cache $(ONNX_DATA)

bench: build ## speed of the kernels as a share of this machine's peak
	$(BUILD)/espalier bench kernels

format: ## clang-format over the sources
	clang-format -i $$(git ls-files 'src/*.c' 'src/*.h' 'include/*.h' 'tests/*.c' 'tests/*.h' 'fuzz/*.c' 'papers/*.[ch]' 'bench/*.c')

sanitize: ## the quick tests under the address and undefined-behaviour sanitizers
	@[ -f build-sanitize/build.ninja ] || $(CONFIGURE) -B build-sanitize -DEPL_SANITIZE=ON
	@cmake --build build-sanitize -j$(JOBS)
	cd build-sanitize && ASAN_OPTIONS=allocator_may_return_null=1 $(CTEST) -LE slow

coverage: ## lines of src/ that the tests execute
	@[ -f build-coverage/build.ninja ] || $(CONFIGURE) -B build-coverage -DEPL_COVERAGE=ON
	@cmake --build build-coverage -j$(JOBS)
	@find build-coverage -name '*.gcda' -delete
	@cd build-coverage && { $(CTEST) || echo "coverage: instrumented kernels round differently, so comparisons of bits may fail"; }
	gcovr --root . --object-directory build-coverage --filter src/ --sort-uncovered --print-summary

fuzz: ## every fuzz target for FUZZ_SECONDS (300) under the sanitizers
	@[ -f build-fuzz/build.ninja ] || CC=clang $(CONFIGURE) -B build-fuzz -DEPL_FUZZ=ON
	@cmake --build build-fuzz -j$(JOBS) --target fuzzers
	@mkdir -p build-fuzz/seeds/onnx; for model in $(ONNX_DATA)/*/*/model.onnx; do \
	    [ -f $$model ] && [ $$(stat -c %s $$model) -lt 4096 ] && cp $$model build-fuzz/seeds/onnx/$$(basename $$(dirname $$model)).onnx; \
	done; true
	@for target in build-fuzz/fuzz_*; do \
	    name=$${target#build-fuzz/fuzz_}; seeds=fuzz/seeds/$$name; mkdir -p build-fuzz/corpus/$$name; \
	    echo "$$target, $(FUZZ_SECONDS) s"; \
	    $$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
	        -artifact_prefix=build-fuzz/ build-fuzz/corpus/$$name $$(ls -d $$seeds build-fuzz/seeds/$$name 2>/dev/null) || exit 1; \
	done
	@echo "fuzz: no finding"

install: build ## library, headers and command under PREFIX (/usr/local)
	cmake --install $(BUILD) --prefix $(PREFIX)

clean: ## removes the build folders
	rm -rf build build-sanitize build-coverage build-fuzz
