# `make local` and `make test` set up what they need by themselves; see README.md.
PYTHON ?=
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv

.DEFAULT_GOAL := help
.PHONY: help local test test-all test-engine check format docs bench package lock clean

help:  ## What can be done here
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

# A half-made environment, or one of another Python, is repaired; the stamps make a second call instant. An interpreter
# that is gone or newer than the stamp counts as a change, too.
SET_UP = @python=$$(sh local/find_python.sh "$(PYTHON)") && "$$python" -I local/environment.py $(VENV)

$(BIN)/python: ;

$(VENV)/.ready: requirements.txt $(BIN)/python
	$(SET_UP) requirements.txt

$(VENV)/.ready-dev: requirements-dev.txt $(VENV)/.ready
	$(SET_UP) requirements.txt requirements-dev.txt

# For pulumi --policy-pack policy; apart, as pulumi-policy wants an older protobuf than the program has.
policy/.venv/.ready: policy/requirements.txt | $(VENV)/.ready
	$(UV) venv --quiet --clear --python $(BIN)/python policy/.venv
	$(UV) pip install --quiet --python policy/.venv/bin/python -r policy/requirements.txt
	@touch $@

# For the comparison with dlt; apart, as pandas behaves otherwise beside the pyarrow that dlt is quickest with.
benchmarks/.venv/.ready: benchmarks/requirements.txt | $(VENV)/.ready
	$(UV) venv --quiet --clear --python $(BIN)/python benchmarks/.venv
	$(UV) pip install --quiet --python benchmarks/.venv/bin/python -r benchmarks/requirements.txt
	@touch $@

local: $(VENV)/.ready  ## Run the whole pipeline on this machine, on real data, with no AWS account
	@$(BIN)/python -m local run

test: $(VENV)/.ready  ## Prove it: every test but the exhaustive ones
	$(BIN)/python -m pytest

test-all: test $(VENV)/.ready-dev  ## Every test: then the exhaustive ones too; those of the report want Chromium
	$(BIN)/python -m pytest -m exhaustive

test-engine: $(VENV)/.ready  ## Take stacks up and down with the Pulumi CLI, moto for AWS; wants `pulumi` on the PATH
	$(BIN)/python -m pytest -m engine -n 0 tests/test_engine.py

check: $(VENV)/.ready-dev  ## Format, lint, types and workflows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/zizmor --quiet --offline --min-severity medium .github

format: $(VENV)/.ready-dev  ## Format and sort what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.ready  ## Write what the documents say of the program from the program
	PYTHONPATH=.:handlers $(BIN)/python -m docs.generate

package: $(VENV)/.ready  ## Build the Lambda archives
	@$(BIN)/python -m components.packaging

bench: $(VENV)/.ready benchmarks/.venv/.ready  ## Speed and memory as ratios, side by side in one run
	PYTHONPATH=.:handlers $(BIN)/python -m benchmarks

lock: $(VENV)/.ready  ## Pin every requirement anew
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.12 --generate-hashes handlers/requirements.in -o handlers/requirements.txt --no-annotate --custom-compile-command "make lock"
	$(UV) pip compile --quiet --universal --python-version 3.12 --generate-hashes handlers/requirements-extract.in -c handlers/requirements.txt -o handlers/requirements-extract.txt --no-annotate --custom-compile-command "make lock"
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.12 requirements.in -c handlers/requirements.txt -o requirements.txt --no-annotate --custom-compile-command "make lock"
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.12 requirements-dev.in -o requirements-dev.txt --no-annotate --custom-compile-command "make lock"
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.12 policy/requirements.in -o policy/requirements.txt --no-annotate --custom-compile-command "make lock"
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.12 benchmarks/requirements.in -o benchmarks/requirements.txt --no-annotate --custom-compile-command "make lock"
	sed -i.bak "s/pulumi-version: .*/pulumi-version: $$(sed -n 's/^pulumi==//p' requirements.txt)/" .github/workflows/*.yml && rm .github/workflows/*.bak

clean:  ## Remove what was built and loaded here
	@for link in .local/*/postgres; do if [ -L "$$link" ]; then rm -rf "$$(dirname "$$(readlink "$$link")")"; fi; done
	rm -rf $(VENV) policy/.venv benchmarks/.venv .build .local .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
