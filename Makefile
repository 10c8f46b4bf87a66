# Two commands: `make test` sets everything up and passes the tests; `make data` shows what the product does so far.
PYTHON ?= python3
BIN := .venv/bin
# Compiled modules make every later start several times faster.
export PYTHONDONTWRITEBYTECODE =

.PHONY: setup system test test-slow lint data clean lock

setup: .venv/.installed

.venv/.installed: requirements/dev.txt pyproject.toml
	@command -v uv >/dev/null 2>&1 || $(PYTHON) -m uv --version >/dev/null 2>&1 || $(PYTHON) -m pip install --quiet uv
	@UV="$$(command -v uv || echo '$(PYTHON) -m uv')"; \
	$$UV venv --quiet --allow-existing --python 3.11 .venv && \
	$$UV pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt && \
	$$UV pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# What the tests run for real and Python cannot bring. Without root the tests that need it are skipped, and say so.
system:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y postgresql >/dev/null; } || \
	  echo "PostgreSQL is not installed: its tests are skipped (apt install postgresql)"

lint: setup
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: lint system
	$(BIN)/pytest -q

test-slow: setup system
	$(BIN)/pytest -q -m slow

data: setup
	rm -rf demo-run
	$(BIN)/mainspring init demo-run --template flights
	$(BIN)/mainspring data --project demo-run --as-of 2013-03-01 --out demo-run/training.parquet

lock: setup
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-emit-index-url \
	  --no-emit-find-links pyproject.toml requirements/build.in -o requirements/laptop.txt
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-emit-index-url \
	  --no-emit-find-links --extra dev -c requirements/laptop.txt pyproject.toml requirements/build.in -o requirements/dev.txt

clean:
	rm -rf .venv demo-run
