# make quickstart   install what is needed and compare four techniques on the bundled task
# make test         the whole test suite, on all cores, with coverage (PYTEST: more arguments)
# make test-fast    what is not marked slow
# make lint         style, types, import contracts
# make docs         the site in build/site; a broken link or reference is an error
# make nano-eval    the embedded bases on tasks they never saw (DATA: folder with corpus/ and data/);
#                   five draws of 100 queries, of 60 where passages are read and tools called
# make feedback-demo  the feedback loop on nano, two rounds, with a script that plays the annotator
# make bench        every job against its peer: the tables, and benchmarks/results/ (JOBS: some of them)
PYTHON ?= python3.11
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: install install-dev quickstart test test-fast lint fix docs feedback-demo nano-eval bench clean

install: .venv/.core
install-dev: .venv/.dev

# The constraints file names every version, torch's CPU build among them.
.venv/.core: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	$(PIP) install torch -c constraints.txt
	$(PIP) install -e . -c constraints.txt
	@touch $@

.venv/.dev: .venv/.core
	$(PIP) install -e '.[dev]' -c constraints.txt
	@touch $@

quickstart: install
	$(BIN)/luthier compare routing --techniques zero-shot,few-shot,prefix,lora \
	  --seeds 1 --budget 450ktok --out runs/quickstart

# Files, and not single tests, go to the processes: many share a model that is made once a file.
WORKERS ?= auto
TEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --cov --cov-report=term:skip-covered

test: install-dev
	$(TEST) $(PYTEST)

test-fast: install-dev
	$(TEST) -m "not slow" $(PYTEST)

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: install-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

feedback-demo: install
	$(BIN)/python examples/feedback/demo.py runs/feedback-demo

fix: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The peers live in an environment of their own.
DATA ?= ../shared
BASES ?= nano nano-reader
nano-eval: install-dev
	$(BIN)/python -m pretraining data --data $(DATA) --out build/nano-eval
	$(BIN)/python -m pretraining evaluate --data $(DATA) --out build/nano-eval $(addprefix --model src/luthier/models/,$(BASES))

BENCH := benchmarks/.venv/bin/python
benchmarks/.venv/.ready: pyproject.toml constraints.txt benchmarks/peers.txt
	@test -x $(BENCH) || $(PYTHON) -m venv benchmarks/.venv || python3 -m venv benchmarks/.venv
	$(BENCH) -m pip --disable-pip-version-check --quiet install torch -c constraints.txt
	$(BENCH) -m pip --disable-pip-version-check --quiet install -e . -r benchmarks/peers.txt -c constraints.txt
	@touch $@

bench: benchmarks/.venv/.ready
	$(BENCH) -m benchmarks $(JOBS)

clean:
	rm -rf .venv benchmarks/.venv build dist src/*.egg-info
