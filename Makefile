# Each target works from a bare clone: it makes .venv, installs what it needs, and does its job.
#   make demo    pictures, weight maps and costs side by side, in outputs/demo/
#   make serve   a page for the browser, at http://127.0.0.1:7865/
#   make docs    the docs as a site, in build/docs/
#   make test    every test, with format, lint and types
#   make lint    format, lint and types alone
#   make clean   removes .venv, outputs and caches
# TORCH=cpu takes the build of torch for machines without a graphics card (or cu130, ...: a folder of
# download.pytorch.org/whl). PYTHON chooses the interpreter (3.10 or newer); PIP_FLAGS, PYTEST_FLAGS, DEMO_FLAGS
# and SERVE_FLAGS are passed on.
# pip's and torch's own variables (PIP_*, OMP_NUM_THREADS, ...) are respected as they are.

PYTHON ?= python3
TORCH ?=
PIP_FLAGS ?=
PYTEST_FLAGS ?=
DEMO_FLAGS ?=
SERVE_FLAGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What each target needs, and no more; what is installed for the tests serves all of them.
EXTRAS_test := diffusers,lycoris,page,dev
EXTRAS_demo := diffusers
EXTRAS_serve := diffusers,lycoris,page
EXTRAS_docs := docs
# One process more than there are cores, since the browser's tests mostly wait, each with whole groups of tests;
# PYTEST_FLAGS="-n 0" runs them in one.
SIDE_BY_SIDE = -n $$(expr $$(getconf _NPROCESSORS_ONLN) + 1) --dist loadgroup --no-loadscope-reorder
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The WebUIs' gradios, for the browser's tests; the newest is in .venv.
GRADIOS := $(patsubst tests/browser/gradio-%.txt,build/gradio-%/.installed,$(wildcard tests/browser/gradio-*.txt))

.DEFAULT_GOAL := help
.PHONY: help demo serve docs test lint clean
.DELETE_ON_ERROR:

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

demo: $(STAMP)-demo
	$(BIN)/python -m loratorio demo $(DEMO_FLAGS)

serve: $(STAMP)-serve
	$(BIN)/python -m loratorio serve $(SERVE_FLAGS)

docs: $(STAMP)-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

test: $(STAMP)-test $(GRADIOS)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_FLAGS)

lint: $(STAMP)-test
	$(BIN)/python -m pytest -m lint $(SIDE_BY_SIDE) $(PYTEST_FLAGS)

clean:
	rm -rf $(VENV) outputs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and alone, at its pinned version, so that nothing that follows can bring another one.
$(STAMP)-%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "LoRAtorio needs Python 3.10 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install $(PIP_FLAGS) $(TORCH:%=--index-url https://download.pytorch.org/whl/%) \
		"$$(grep -E '^torch==' constraints.txt)" -c constraints.txt
	$(PIP) install $(PIP_FLAGS) -e '.[$(EXTRAS_$*)]' -c constraints.txt
	@touch $(if $(filter test,$*),$(addprefix $(STAMP)-,test demo serve docs),$@)

# Only what differs from .venv, to be put in front of it: torch is not installed again. Where a wheel is missing
# for this Python, the tests with that gradio are skipped and say so.
build/gradio-%/.installed: tests/browser/gradio-%.txt $(STAMP)-test
	rm -rf $(@D)
	mkdir -p $(@D)
	if $(PIP) install $(PIP_FLAGS) --quiet --no-deps --no-compile --only-binary :all: --target $(@D) -r $<; \
		then touch $@; else echo "gradio $* could not be installed; its tests will be skipped" >&2; fi
