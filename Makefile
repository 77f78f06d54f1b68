# Each target works from a bare clone: it makes .venv, installs what it needs, and does its job.
#   make demo    pictures, weight maps and costs side by side, in outputs/demo/
#   make serve   a page for the browser, at http://127.0.0.1:7865/
#   make test    every test, with format, lint and types
#   make lint    format, lint and types alone
#   make clean   removes .venv, outputs and caches
# PYTHON chooses the interpreter (3.10 or newer); PIP_FLAGS, PYTEST_FLAGS, DEMO_FLAGS and SERVE_FLAGS are
# passed on.
# pip's and torch's own variables (PIP_*, OMP_NUM_THREADS, ...) are respected as they are.

PYTHON ?= python3
PIP_FLAGS ?=
PYTEST_FLAGS ?=
DEMO_FLAGS ?=
SERVE_FLAGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A process for each core, each with whole groups of tests; PYTEST_FLAGS="-n 0" runs them in one.
SIDE_BY_SIDE := -n auto --dist loadgroup --no-loadscope-reorder
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The WebUIs' gradios, for the browser's tests; the newest is in .venv.
GRADIOS := $(patsubst tests/browser/gradio-%.txt,build/gradio-%/.installed,$(wildcard tests/browser/gradio-*.txt))

.DEFAULT_GOAL := help
.PHONY: help demo serve test lint clean
.DELETE_ON_ERROR:

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

demo: $(STAMP)
	$(BIN)/python -m loratorio_ext demo $(DEMO_FLAGS)

serve: $(STAMP)
	$(BIN)/python -m loratorio_ext serve $(SERVE_FLAGS)

test: $(STAMP) $(GRADIOS)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_FLAGS)

lint: $(STAMP)
	$(BIN)/python -m pytest -m lint $(SIDE_BY_SIDE) $(PYTEST_FLAGS)

clean:
	rm -rf $(VENV) outputs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and alone, at its pinned version, so that nothing that follows can bring another one.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "LoRAtorio needs Python 3.10 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install $(PIP_FLAGS) "$$(grep -E '^torch==' constraints.txt)" -c constraints.txt
	$(PIP) install $(PIP_FLAGS) -e '.[diffusers,lycoris,page,dev]' -c constraints.txt
	@touch $@

# Only what differs from .venv, to be put in front of it: torch is not installed again. Where a wheel is missing
# for this Python, the tests with that gradio are skipped and say so.
build/gradio-%/.installed: tests/browser/gradio-%.txt $(STAMP)
	rm -rf $(@D)
	mkdir -p $(@D)
	if $(PIP) install $(PIP_FLAGS) --quiet --no-deps --no-compile --only-binary :all: --target $(@D) -r $<; \
		then touch $@; else echo "gradio $* could not be installed; its tests will be skipped" >&2; fi
