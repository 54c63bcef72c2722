# What a developer runs. `make` alone lists the targets; each sets up .venv by itself if it needs it.

PYTHON ?= python3
CLANG ?= clang
LLVM_STRIP ?= llvm-strip

VENV := .venv
BIN := $(VENV)/bin
CAN_RUN := $(VENV)/.can-run
CAN_DEVELOP := $(VENV)/.can-develop

BPF_SOURCES := $(wildcard bpf_obj/*.bpf.c)
BPF_HEADERS := $(wildcard bpf_obj/*.h)
BPF_OBJECTS := $(BPF_SOURCES:.bpf.c=.bpf.o)
# v3: atomics that fetch, and 32-bit jumps; Linux 5.12. The compilation directory would stand in the BTF's
# line information, and make the object differ from checkout to checkout.
BPF_FLAGS := -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Werror -Ibpf_obj -fdebug-compilation-dir=.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test model fuzz faults lab lab-scale lint format bpf bpf-check man man-check samples plots bench dist clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(CAN_RUN) ## Record a real command, prove the capture and show its process tree
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh samples/demo.sh

# Tests that need no kernel share the CPUs; then the kernel's have the machine to themselves, one by one. Hundreds
# of them start a recorder: it is compiled once, also where PYTHONDONTWRITEBYTECODE is set.
# pytest ends with 5 if ARGS choose no test of its half; that is an error only of both.
test: $(CAN_DEVELOP) ## Run the tests (as root with BTF also those on the live kernel); ARGS="-k name" to choose
	@$(BIN)/python -m compileall -q linnix_rec
	@$(BIN)/python -m pytest --numprocesses auto $(ARGS) -m "not kernel"; others=$$?; \
	$(BIN)/python -m pytest $(ARGS) -m kernel; kernel=$$?; \
	case $$others,$$kernel in 0,0 | 0,5 | 5,0) ;; *) exit 1 ;; esac

FUZZ_INPUTS ?= 20000
FUZZ_SEED ?= 1
fuzz: $(CAN_DEVELOP) ## Fuzz the readers of captures, objects and images (atheris); FUZZ_INPUTS=1000000 for long
	$(BIN)/python -m tests.fuzz --inputs $(FUZZ_INPUTS) --seed $(FUZZ_SEED)

faults: $(CAN_DEVELOP) ## Break what a recording stands on: 50 kills in a storm, disks, clock, CPU (root, BTF, alone on the machine)
	LINNIX_REC_FAULTS=1 LINNIX_REC_KILLS=50 LINNIX_REC_REQUIRE_KERNEL=1 $(BIN)/python -m pytest -s tests/faults \
	    tests/kernel/test_resume.py tests/kernel/test_overload.py $(ARGS)

KERNELS ?= 6.1 6.12
CPUS ?=
lab: $(CAN_DEVELOP) ## Run the kernel tests in guests of other kernels (root, Debian): KERNELS="6.1 6.12" CPUS=8 ARGS="-k tree"
	$(BIN)/python -m tests.lab suite --kernels $(KERNELS) --cpus $(or $(CPUS),8) -- $(ARGS)

lab-scale: $(CAN_DEVELOP) ## Repeat the paper's experiment in guests of CPUS="8 32 64 128"
	$(BIN)/python -m tests.lab scale --kernels $(firstword $(KERNELS)) --cpus $(or $(CPUS),8 32 64 128)

lint: $(CAN_DEVELOP) ## Check style (ruff), types (mypy --strict) and the direction of imports (import-linter)
	$(BIN)/ruff check .
	$(BIN)/mypy --strict -p linnix_rec
	$(BIN)/lint-imports

format: $(CAN_DEVELOP) ## Format the Python code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

model: ## Search a model of the slot protocol to the end with spin, and refuse its broken twins (needs spin, gcc)
	$(PYTHON) tests/model/check.py

bpf: $(BPF_OBJECTS) ## Rebuild the BPF objects (needs clang and llvm-strip)

bpf-check: $(CAN_RUN) | need-clang ## Rebuild the BPF objects elsewhere; fail unless they equal the committed ones
	@rm -rf build/bpf-check && mkdir -p build/bpf-check
	@set -e; for source in $(BPF_SOURCES); do \
	    object=$$(basename $$source .c).o; \
	    $(CLANG) $(BPF_FLAGS) -c $$source -o build/bpf-check/$$object; \
	    $(LLVM_STRIP) -g build/bpf-check/$$object; \
	    $(BIN)/python bpf_obj/check.py bpf_obj/$$object build/bpf-check/$$object; \
	done

%.bpf.o: %.bpf.c $(BPF_HEADERS) | need-clang
	$(CLANG) $(BPF_FLAGS) -c $< -o $@
	$(LLVM_STRIP) -g $@

.PHONY: need-clang
need-clang:
	@command -v $(CLANG) >/dev/null && command -v $(LLVM_STRIP) >/dev/null || { \
	    echo "error: $(CLANG) and $(LLVM_STRIP) are needed to build BPF objects; on Debian: apt-get install clang llvm" >&2; \
	    exit 1; }

man: $(CAN_RUN) ## Write man/*.1 again from the commands
	$(BIN)/python man/generate.py

man-check: $(CAN_RUN) ## Fail unless man/*.1 are in step with the commands
	$(BIN)/python man/generate.py --check

samples: $(CAN_RUN) ## Record the captures in samples/ again (root, BTF)
	$(BIN)/python samples/make.py

plots: $(CAN_DEVELOP) ## Draw benchmarks/results.json into benchmarks/plots/
	$(BIN)/python -m linnix_rec.bench.plots

bench: $(CAN_RUN) ## Measure speed, loss and cost into benchmarks/results.json (root, BTF, stress-ng); WHAT="capture" RUNS=1
	$(BIN)/python -m linnix_rec.bench $(WHAT) $(if $(RUNS),--runs $(RUNS))
	$(BIN)/python benchmarks/tell.py

dist: $(CAN_DEVELOP) ## Build the sdist, and the wheel from it, into dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

clean: ## Remove what the targets above have made, captures in build/ included
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find linnix_rec tests man samples -name __pycache__ -type d -prune -exec rm -rf {} +

$(CAN_RUN): pyproject.toml | $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(CAN_DEVELOP): pyproject.toml | $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(CAN_RUN)

$(VENV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "error: Python 3.10 or newer is needed; say which: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "error: no virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }
