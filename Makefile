# The two commands: `make audit` (fresh machine to finished report) and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: audit test lint accept bench clean

audit: $(VENV)/.installed
	$(BIN)/sinkaudit run flows/configs/demo.yaml

# as many workers as cores, a file of tests to each: those that start servers and processes wait more than they work
test: lint
	$(BIN)/python -m pytest -n auto --dist loadscope

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

accept: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m acceptance -s tests/acceptance

bench: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m benchmark -s tests/benchmarks

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .hypothesis
