# cellgate's one door: every target does its own set-up in .venv, once.
# A second run finds the stamps in $(STAMPS) newer than what they depend on and
# goes straight to work.

PYTHON ?= python3
JOBS   ?= auto
DEMO   ?= demo-out

VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP    := $(BIN)/python -m pip --disable-pip-version-check

# The native core is an error to miss where a compiler stands ready, and left
# out where none does.
COMPILER := $(shell for c in $${CXX:-c++ g++ clang++}; do command -v $$c && break; done)
export CELLGATE_NATIVE ?= $(if $(COMPILER),require,auto)

PACKAGE_FILES := pyproject.toml constraints.txt
NATIVE_FILES  := CMakeLists.txt src/cellgate/_version.py $(shell find native -type f 2>/dev/null)
CXX_FILES     := $(shell find native tests/native -type f \( -name '*.h' -o -name '*.cpp' \) 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help setup native demo test lint format pytest bench wheel test-wheel test-source sdist clean distclean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- set-up

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("cellgate: expected Python 3.11 or newer, got %d.%d: make PYTHON=python3.12 ..." % v[:2])'
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/build-tools: $(STAMPS)/venv $(PACKAGE_FILES)
	$(PIP) install --quiet --constraint constraints.txt --upgrade pip scikit-build-core nanobind cmake ninja
	@touch $@

# No build isolation: the CMake cache in build/ stays valid from run to run, so
# that a changed C++ file costs its own compilation only.
$(STAMPS)/packages: $(STAMPS)/build-tools $(PACKAGE_FILES)
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[test,dev,plot,sklearn,onnx]'
	@touch $@

$(STAMPS)/native: $(STAMPS)/packages $(NATIVE_FILES)
	$(PIP) install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

setup: $(STAMPS)/native ## Make .venv with cellgate (editable), its native core and the tools
	@:

native: ## Build the native core into src/cellgate too, for use by PYTHONPATH=src
native: setup
	cmake -G Ninja -S . -B build/inplace -DPython_EXECUTABLE="$$PWD/$(BIN)/python" -DCMAKE_MAKE_PROGRAM="$$PWD/$(BIN)/ninja"
	cmake --build build/inplace --target _native
	cp build/inplace/_native*.so src/cellgate/

# ---------------------------------------------------------------- use

demo: setup ## Train on the bundled airline passengers, forecast, and walk through an LSTM
	$(BIN)/python scripts/demo.py $(DEMO)
	$(BIN)/cellgate walkthrough
	@echo; for f in $(DEMO)/*.svg $(DEMO)/*.html; do [ ! -e "$$f" ] || echo "The forecast, drawn: $$f"; done

# ---------------------------------------------------------------- checks

# pytest last: its closing line ("N passed ...") is the last of the log.
test: lint pytest ## Lint, then run the whole test suite

lint: setup ## ruff, pyright, clang-format and the import rule
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(if $(CXX_FILES),$(BIN)/clang-format --dry-run -Werror $(CXX_FILES))
	$(BIN)/lint-imports --no-logo

pytest: setup
	@$(BIN)/python -m pytest --numprocesses $(JOBS) $(PYTEST_ARGS)

format: setup ## Put every file into the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(if $(CXX_FILES),$(BIN)/clang-format -i $(CXX_FILES))

bench: setup ## Time the layer over the grid, beside its peers
	$(PIP) install --quiet --constraint constraints.txt onnxruntime jax
	$(BIN)/python -m benchmarks

# ---------------------------------------------------------------- releases

sdist: setup ## The source distribution, into dist/
	$(PIP) install --quiet --constraint constraints.txt build
	$(BIN)/python -m build --sdist --outdir dist .

wheel: setup ## A wheel with the native core, into dist/
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls -l dist/*.whl

test-wheel: wheel ## Install the wheel into a fresh environment without a compiler, check parity there
	PYTHON=$(PYTHON) scripts/test_install wheel dist

test-source: ## Install the source where there is no compiler, check that it works and says so
	PYTHON=$(PYTHON) scripts/test_install source

clean: ## Remove what builds and tests leave
	rm -rf build dist $(DEMO) src/cellgate/_native*.so .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	rm -f $(STAMPS)/native
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove .venv too
	rm -rf $(VENV)
