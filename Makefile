# Two commands do all set-up: `make demo` runs the main job, `make test` passes the tests. The first
# installs what `cab` needs to run, the second adds what developing needs, in the same environment.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

# Without an NVIDIA driver the CPU build of PyTorch is taken (0.2 GB); the default one brings
# gigabytes of CUDA libraries. Elsewhere, say TORCH="torch==2.13.0" or any build in the range.
TORCH ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo "torch==2.13.0" || \
	echo "torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cpu --retries 1")

# The suites marked slow (they train, build environments or count at 8,192 tokens) run in CI; here
# say TESTS= to run them too.
TESTS ?= -m "not slow"

.PHONY: demo test prove invariance lint bench gpu clean

# One cell each, at the middle one of the task's learning rates: softmax attention recalls every key
# at every level, linear attention fewer and fewer, since its state is too small for them.
demo: $(VENV)/.installed
	$(BIN)/cab run --variant softmax --variant linear --variant none --task mqar \
		--set train.learning_rate=0.005
	@echo "The full row of your own variant: $(BIN)/cab run --variant NAME"

test: lint $(VENV)/.developed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(TESTS)

# Renew tests/conformance/ledger.json: check every variant in every pattern that the ledger does not
# hold as it is now. An interrupted run continues; `make prove CLEAN=1` checks all again.
prove: $(VENV)/.installed
	$(if $(CLEAN),rm -f tests/conformance/ledger.json)
	LEDGER=write OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal \
		tests/conformance/test_registered.py

# Renew results/invariance.json: measure every variant whose source, PyTorch or processor is another.
invariance: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/cab check all --invariance --write

# Ratios of two such documents guard against regressions: say
# BENCH="--benchmark-compare=FILE --benchmark-compare-fail=median:20%".
bench: $(VENV)/.developed
	mkdir -p .benchmarks
	$(BIN)/python -m pytest tests/benchmarks -o addopts=--strict-markers --benchmark-only \
		--benchmark-json=.benchmarks/operators.json $(BENCH)

# On a machine with a GPU (see CONTRIBUTING.md); `make gpu GPU_PYTHON=python3` takes an environment
# that is there. What is measured goes on where it was cut off; a refused row ends no target.
GPU_PYTHON ?= $(BIN)/python
GPU ?= $(shell nvidia-smi --id=0 --query-gpu=name --format=csv,noheader 2>/dev/null | \
	tr 'A-Z ' 'a-z-' | sed 's/^nvidia-//')
GPU_LENGTHS ?= 512,1024,2048,4096,8192,16384,32768,65536
GPU_OPERATORS := softmax:triton softmax:flex linear:triton linear:chunked linear:fla
GPU_BENCH = $(GPU_PYTHON) -m cab bench $(addprefix --op ,$(GPU_OPERATORS)) --device cuda \
	--baseline softmax:sdpa-flash,softmax:sdpa-cudnn --pattern ns --pattern cs \
	--pass fwd_no_grad,fwd_bwd --lengths $(GPU_LENGTHS) --dtype bfloat16 --tokens 16384 --resume

gpu:
	test -n "$(GPU)" || { echo "nvidia-smi names no GPU here"; exit 1; }
	$(GPU_PYTHON) -m pytest tests/kernels --ignore tests/kernels/test_ahead_of_time.py \
		-o addopts=--strict-markers -p no:cacheprovider -q
	mkdir -p .benchmarks results/kernels
	$(GPU_PYTHON) tests/kernels/tune.py | tee .benchmarks/tiles-$(GPU).txt
	-$(GPU_BENCH) --head-dim 128 --heads 16 --json .benchmarks/$(GPU)-128.jsonl
	-$(GPU_BENCH) --head-dim 64 --heads 32 --json .benchmarks/$(GPU)-64.jsonl
	cat .benchmarks/$(GPU)-128.jsonl .benchmarks/$(GPU)-64.jsonl > results/kernels/$(GPU).jsonl

lint: $(VENV)/.developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# With --no-compile 0.4 GB of byte code stay out, most of it of modules that are never imported;
# Python writes that of the others when it imports them first.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("CAB needs Python 3.11 or newer; say make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), some minutes the first time"
	$(PIP) install --no-compile $(TORCH)
	$(PIP) install --no-compile --editable .
	touch $@

$(VENV)/.developed: $(VENV)/.installed
	@echo "Adding the developer's tools to $(VENV)"
	$(PIP) install --no-compile --editable ".[dev]"
	touch $@

# Modules of other projects, which slow tests hold the laws against.
$(VENV)/.compared: $(VENV)/.developed
	@echo "Adding public modules to $(VENV)"
	$(PIP) install --no-compile --editable ".[public-modules]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
