# What a person does with this repository. `make` alone lists it. Needs GNU make (3.81 will do) and Python 3.11 or newer.
#
#   make VENV=path ...     another virtual environment than .venv
#   make PYTHON=path ...   the Python that a new virtual environment is made with
#   make ARGS='...' test   more arguments for pytest (for example ARGS='-k layout -x'), demo or bench
#   make WORKERS=4 test    another number of processes that tests run in than 2 (0: none but pytest itself)
#
# pip reads its own settings as always: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo
# takes the small CPU build of torch where the default one would bring CUDA.

VENV    ?= .venv
PYTHON  ?=
ARGS    ?=
WORKERS ?= 2

PY  := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check

# A file's tests stay in one process: what its fixtures make is made once. Compiled modules are kept, whatever the
# environment says: else each process of each run compiles all tests and plugins of pytest anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(VENV)/bin/pytest -n $(WORKERS) --dist loadfile

SOURCES := core plugins builtin_poolers builtin_models io_processors kernels tests benchmarks examples scripts

export PIP_NO_INPUT = 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-slow check bench bench-full models fmt clean

help: ## List what there is to make
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed-demo ## Embed a few sentences with a real model and show which are alike
	@$(PY) examples/demo.py $(ARGS)

test: $(VENV)/.installed-test ## Run the tests, but those marked slow
	$(PYTEST) -m "not slow" $(ARGS)

# These compare speed or memory of a server at two moments: beside another worker they would measure that one.
ALONE := tests/plugins/millpond_server/runtime/test_overload.py tests/plugins/millpond_server/runtime/test_load.py

test-slow: $(VENV)/.installed-test ## Run the tests marked slow
	$(PYTEST) -m slow $(ALONE:%=--deselect %) $(ARGS)
	$(VENV)/bin/pytest -m slow $(ALONE)

check: $(VENV)/.installed-dev ## Check format, lint, types and who imports whom
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m mypy benchmarks scripts
	$(VENV)/bin/pyright --pythonpath $(PY)
	$(VENV)/bin/lint-imports

bench: $(VENV)/.installed-test ## Measure speed and memory beside sentence-transformers, briefly
	$(PY) benchmarks/suite.py --short $(ARGS)

bench-full: $(VENV)/.installed-test ## Measure all of it, about two hours, and write docs/performance.md
	$(PY) benchmarks/suite.py --publish $(ARGS)

models: $(VENV)/.installed-test ## Measure how far each model is from its reference, and write docs/models.md
	$(PY) benchmarks/models_page.py --measure $(ARGS)

fmt: $(VENV)/.installed-dev ## Format the code and mend what the linter can mend
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .

clean: ## Remove what make has made: .venv, caches, built files
	rm -rf .venv dist build .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) -type d -name __pycache__ -prune -exec rm -rf {} +
	rm -f kernels/millpond_kernels/native/*.so

# One stamp an extra: a change of pyproject.toml or constraints.txt installs again, else nothing happens. An extra that
# another one brings along needs no second install.
BRINGS_dev  := test demo
BRINGS_test := demo

$(VENV)/.installed-%: pyproject.toml constraints.txt hatch_build.py $(wildcard kernels/millpond_kernels/native/*.[ch]) | $(VENV)/.torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[$*]'
	@touch $@ $(BRINGS_$*:%=$(VENV)/.installed-%)

# torch goes first and alone. Its version stands in constraints.txt and nowhere else; the exact pin keeps pip from
# looking at any other build.
$(VENV)/.torch: constraints.txt | $(VENV)/.python
	@echo "Installing into $(VENV); the first time takes some minutes."
	$(PIP) install --quiet --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	@touch $@

# An environment that is there already is used as it is, and given pip if it has none.
$(VENV)/.python:
	@set -e; \
	if [ ! -x "$(PY)" ]; then \
	  for candidate in $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3.13 python3.14 python3 python); do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found="$$candidate"; break; fi; \
	  done; \
	  if [ -z "$${found:-}" ]; then \
	    echo "error: no Python 3.11 or newer here (tried $(if $(PYTHON),$(PYTHON),python3.11 to python3.14, python3, python))." >&2; \
	    echo "hint: install one, or name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$("$$found" --version)."; \
	  "$$found" -m venv "$(VENV)" || { \
	    rm -rf "$(VENV)"; \
	    echo "error: '$$found -m venv' failed, see above." >&2; \
	    echo "hint: Debian and Ubuntu keep venv in a package of its own: apt install python3-venv" >&2; \
	    exit 1; \
	  }; \
	fi; \
	"$(PY)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(VENV) holds $$("$(PY)" --version); Millpond needs 3.11 or newer." >&2; \
	  echo "hint: remove it, or use another: make VENV=.venv311 $(MAKECMDGOALS)" >&2; \
	  exit 1; \
	}; \
	"$(PY)" -m pip --version >/dev/null 2>&1 || "$(PY)" -m ensurepip >/dev/null || { \
	  echo "error: $(VENV) has no pip and none could be added." >&2; \
	  echo "hint: remove it, or use another: make VENV=.venv311 $(MAKECMDGOALS)" >&2; \
	  exit 1; \
	}; \
	touch $@
