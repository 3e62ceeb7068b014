# llmill: set-up, demo and tests on a machine with Python 3.11+, make and a C++ compiler.
#
#   make demo      install into .venv, then run the whole chain on the synthetic web (report: runs/demo/report/index.html)
#   make test      install, then lint, types, import rules and the fast tests (under 15 minutes on two cores)
#   make test-all  the same with the slow tests
#   make bench     install, then every benchmark, --quick (benchmarks/README.md)
#
# PYTHON=python3.12 make ... chooses the interpreter, VENV=dir the environment.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
OUT    ?= runs/demo

.PHONY: install demo test test-all bench lint clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt setup.py $(wildcard data_pipeline/native/src/*)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "llmill needs Python 3.11 or newer, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip setuptools wheel -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/llmill run configs/recipes/demo.yaml --out $(OUT)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy millbase data_pipeline training evaluation llmill
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile -q

test-all: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -q

bench: $(STAMP)
	@status=0; for script in benchmarks/*.py; do \
		echo "== $$script --quick"; $(BIN)/python $$script --quick || status=1; \
	done; exit $$status

clean:
	rm -rf $(VENV) runs .mypy_cache .pytest_cache .ruff_cache
