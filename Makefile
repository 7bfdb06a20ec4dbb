# Common development tasks. `make` lists them. Requires GNU make 3.81 and Python 3.11, or newer.
#
#   make VENV=path ...     use a different virtual environment than .venv
#   make PYTHON=path ...   create a new virtual environment with this Python
#   make ARGS='...' test   pass arguments to pytest (for example ARGS='-k layout -x'), demo, bench or docs
#   make WORKERS=4 test    run tests in 4 processes (default: 2; 0: in the process of pytest)
#
# pip reads its own settings: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo installs the small CPU
# build of torch, without CUDA.

VENV    ?= .venv
PYTHON  ?=
ARGS    ?=
WORKERS ?= 2

PY  := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check

# All tests of a file run in one process, so its fixtures are created once. Bytecode is written even if the environment
# disables it: otherwise each process compiles all tests and pytest plugins in every run.
PYTEST := PYTHONDONTWRITEBYTECODE= $(VENV)/bin/pytest -n $(WORKERS) --dist loadfile

# Integrations with large libraries: their tests run in separate environments.
ENGINES := daft mteb ray

SOURCES := core plugins builtin_poolers builtin_models io_processors kernels tests benchmarks examples scripts

export PIP_NO_INPUT = 1
# The environments of clients of other servers, for `make test-slow` and `make test-ray`.
export TEST_CLIENTS_CACHE ?= $(VENV)-clients

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow environments test-engines $(ENGINES:%=test-%) check check-mypy check-pyright check-rest docs \
  wheels bench bench-full models fmt clean

# Targets run one after the other, because they install packages into the same environment. With SIDE_BY_SIDE=1 they do not:
# it is for targets whose packages are installed, and which use one core each.
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif
SIDE_BY_SIDE_JOBS := --jobs=2 SIDE_BY_SIDE=1 $(if $(filter output-sync,$(.FEATURES)),--output-sync)

help: ## List these tasks
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed-demo ## Embed six sentences with a real model and print their similarities
	@$(PY) examples/demo.py $(ARGS)

test: $(VENV)/.installed-test ## Run the tests, except those marked slow
	$(PYTEST) -m "not slow" $(ARGS)

# These tests compare the speed or memory of a server at two points in time, so no other tests may run at the same time.
SERIAL_TESTS := tests/plugins/millpond_server/runtime/test_overload.py tests/plugins/millpond_server/runtime/test_load.py

test-slow: $(VENV)/.installed-test-slow ## Run the tests marked slow
	$(PYTEST) -m slow $(SERIAL_TESTS:%=--deselect %) $(ARGS)
	$(VENV)/bin/pytest -m slow $(SERIAL_TESTS)
	$(MAKE) test-engines ARGS=

# The tests of Ray are last and alone: its programs expect responses of each other within seconds.
test-engines: environments ## Run the tests of Daft, mteb and Ray, which need their extras
	@$(MAKE) $(SIDE_BY_SIDE_JOBS) test-daft test-mteb
	$(MAKE) test-ray

environments: $(ENGINES:%=$(VENV)-%/.installed) ## Create the environments of test-engines

# Two processes: Ray keeps the settings of the first cluster that a process connects to.
$(ENGINES:%=test-%): test-%: $(VENV)-%/.installed
	$(VENV)-$*/bin/python -m pytest tests/plugins/millpond_$* $(ARGS)
	$(VENV)-$*/bin/python -m pytest "tests/docs/test_code_blocks.py::test_page_works_as_shown[docs/how-to/$*.md]" $(ARGS)

check: $(VENV)/.installed-dev ## Check format, lint, language, types and import contracts
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	@$(MAKE) $(if $(SIDE_BY_SIDE),,$(SIDE_BY_SIDE_JOBS)) check-mypy check-pyright check-rest

check-mypy:
	$(PY) -m mypy
	$(PY) -m mypy benchmarks scripts examples/addons/*/src

check-pyright:
	$(VENV)/bin/pyright --pythonpath $(PY)
	$(VENV)/bin/pyright --pythonpath $(PY) examples/addons/*/src

check-rest:
	$(PY) scripts/language.py .
	$(VENV)/bin/lint-imports

docs: $(VENV)/.installed-docs ## Build the documentation site in build/docs/html
	$(PY) scripts/docs_site/build_site.py $(ARGS)

wheels: $(VENV)/.installed-wheels ## Build the files of a release in dist/, check and try them
	$(PY) scripts/wheels.py $(ARGS)

bench: $(VENV)/.installed-test ## Compare speed and memory with sentence-transformers, briefly
	$(PY) benchmarks/suite.py --short $(ARGS)

bench-full: $(VENV)/.installed-test ## Run all measurements (two hours) and write docs/performance.md
	$(PY) benchmarks/suite.py --publish $(ARGS)

models: $(VENV)/.installed-test ## Compare each model with its reference and write docs/models.md
	$(PY) scripts/models_page.py --measure $(ARGS)

fmt: $(VENV)/.installed-dev ## Format the code and apply the linter's fixes
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .

clean: ## Remove .venv, caches and built files
	rm -rf .venv .venv-clients $(ENGINES:%=.venv-%) dist build .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) -type d -name __pycache__ -prune -exec rm -rf {} +
	rm -f kernels/millpond_kernels/native/*.so

# pip compiles bytecode on one core, this on all of them. Files that are not valid Python, such as templates, are skipped.
COMPILE = $(PY) -m compileall -qq -j 0 "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || true

# One stamp file per extra: changes of pyproject.toml or constraints.txt cause a new installation. An extra that another
# one includes is not installed a second time.
INCLUDED_IN_dev  := test test-slow demo docs
INCLUDED_IN_test := demo
INCLUDED_IN_test-slow := test demo docs
INCLUDED_IN_docs := test demo
INCLUDED_IN_wheels := test demo

$(VENV)/.installed-%: pyproject.toml constraints.txt hatch_build.py scripts/long_description.py $(wildcard kernels/millpond_kernels/native/*.[ch]) | $(VENV)/.torch
	$(PIP) install --quiet --no-compile --constraint constraints.txt --editable '.[$*]'
	@$(COMPILE)
	@touch $@ $(INCLUDED_IN_$*:%=$(VENV)/.installed-%)

# The environment of an engine contains its pins, and all packages of VENV that it does not replace: installing torch again
# would take minutes.
$(VENV)-%/.installed: tests/engines/%.txt $(VENV)/.installed-test-slow
	$(PY) -m venv --clear --without-pip $(VENV)-$*
	$(PY) scripts/share_packages.py $(VENV)-$*/bin/python
	$(PIP) --python $(VENV)-$*/bin/python install --quiet --no-deps --requirement $<
	@touch $@

# torch is installed first and alone. Its version is only in constraints.txt; the exact pin prevents pip from downloading
# other builds.
$(VENV)/.torch: constraints.txt | $(VENV)/.python
	@echo "Installing into $(VENV). The first time takes a few minutes."
	$(PIP) install --quiet --no-compile --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	@touch $@

# An existing environment is used unchanged, except that pip is installed if it is missing.
$(VENV)/.python:
	@set -e; \
	if [ ! -x "$(PY)" ]; then \
	  for candidate in $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3.13 python3.14 python3 python); do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python="$$candidate"; break; fi; \
	  done; \
	  if [ -z "$${python:-}" ]; then \
	    echo "error: Python 3.11 or newer not found (tried $(if $(PYTHON),$(PYTHON),python3.11 to python3.14, python3, python))." >&2; \
	    echo "hint: install it, or pass its path: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	    exit 1; \
	  fi; \
	  echo "Creating $(VENV) with $$("$$python" --version)."; \
	  "$$python" -m venv "$(VENV)" || { \
	    rm -rf "$(VENV)"; \
	    echo "error: '$$python -m venv' failed, see above." >&2; \
	    echo "hint: on Debian and Ubuntu, install venv first: apt install python3-venv" >&2; \
	    exit 1; \
	  }; \
	fi; \
	"$(PY)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(VENV) contains $$("$(PY)" --version); Millpond requires 3.11 or newer." >&2; \
	  echo "hint: remove it, or use a different one: make VENV=.venv311 $(MAKECMDGOALS)" >&2; \
	  exit 1; \
	}; \
	"$(PY)" -m pip --version >/dev/null 2>&1 || "$(PY)" -m ensurepip >/dev/null || { \
	  echo "error: $(VENV) has no pip, and installing pip failed." >&2; \
	  echo "hint: remove it, or use a different one: make VENV=.venv311 $(MAKECMDGOALS)" >&2; \
	  exit 1; \
	}; \
	touch $@
