# Two commands set everything up from nothing: `make demo` runs the loop on a year of flights, `make test` passes the tests.
PYTHON ?= python3
BIN := .venv/bin
# Compiled modules make every later start several times faster.
export PYTHONDONTWRITEBYTECODE =

.PHONY: setup system demo test test-slow lint benchmarks clean lock proto

setup: .venv/.installed

.venv/.installed: requirements/dev.txt pyproject.toml
	tools/uv venv --quiet --allow-existing --python 3.11 .venv
	tools/uv pip sync --python $(BIN)/python --require-hashes requirements/dev.txt
	tools/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# What the tests run for real and Python cannot bring. Without root the tests that need it are skipped, and say so.
system:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y postgresql >/dev/null; } || \
	  echo "PostgreSQL is not installed: its tests are skipped (apt install postgresql)"
	@command -v java >/dev/null || { [ "$$(id -u)" = 0 ] && \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y openjdk-17-jre-headless >/dev/null; } || \
	  echo "Java is not installed: the tests on Spark are skipped (apt install openjdk-17-jre-headless)"
	@command -v redis-server >/dev/null || { [ "$$(id -u)" = 0 ] && \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y redis-server >/dev/null; } || \
	  echo "Redis is not installed: its tests are skipped (apt install redis-server)"

lint: setup
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: lint system
	$(BIN)/pytest -q -n 2 --dist loadfile

test-slow: setup system
	$(BIN)/pytest -q -m slow

demo: setup
	rm -rf flights-demo
	$(BIN)/mainspring demo flights-demo

lock: setup
	tools/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-emit-index-url \
	  --no-emit-find-links pyproject.toml requirements/build.in -o requirements/laptop.txt
	tools/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-emit-index-url \
	  --no-emit-find-links --extra dev -c requirements/laptop.txt pyproject.toml requirements/build.in -o requirements/dev.txt
	for place in serving/peers/kserve serving/peers/triton engines/spark engines/bqemulator; do tools/uv pip compile --quiet \
	  --universal --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links \
	  tests/$$place/requirements.in -o tests/$$place/requirements.txt || exit 1; done
	for place in benchmarks/peers/*/; do tools/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	  --no-header --no-emit-index-url --no-emit-find-links $$place/requirements.in -o $$place/requirements.txt || exit 1; done

# The messages of gRPC, from the protocol's definition; the results are committed.
proto: setup
	$(BIN)/python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src src/mainspring/serving/open_inference.proto

clean:
	rm -rf .venv .uv flights-demo
