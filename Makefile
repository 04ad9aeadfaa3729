PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet
SOURCES := $(shell find src -name '*.py')

.PHONY: help demo install format check test bench stress build clean
help:     ## show these lines
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

demo: $(VENV)/.core  ## install into .venv and rerank French passages with the embedded models
	@$(BIN)/fr-reranker demo

install: $(VENV)/.dev  ## install everything that development needs into .venv

format: install  ## put the code into our form
	$(BIN)/ruff check --fix-only . && $(BIN)/ruff format .

check: install  ## lint, types and import directions
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

test: install  ## install what the tests need, then run them, a file for each of up to four processes
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

bench: install  ## measure speed beside other libraries; some 25 minutes on two cores
	$(BIN)/python -m benchmarks.run

stress: install  ## watch the memory of the shared scorer under 10,000 mixed requests
	$(BIN)/python -m benchmarks.stress --output benchmarks/results/stress.json

build: install  ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:    ## remove the environment and what was built
	rm -rf $(VENV) dist

$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.core: $(VENV)/.pip pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.pip pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[all]' --group dev
	@touch $@ $(VENV)/.core
