# Two commands do everything on a fresh machine: `make demo` and `make test`.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: demo test quick lint bench simulate mutants clean

demo: $(VENV)/.demo
	@$(BIN)/darkroom demo $(if $(ONCE),--once)

# Tests wait more than they compute: three side by side on two cores. With four, real deadlines of real processes come near.
SIDE_BY_SIDE ?= $(shell echo $$((3 * $$(getconf _NPROCESSORS_ONLN) / 2)))

# Everything: lint, types, architecture, unit, contract (SQLite and a real PostgreSQL), integration, real processes.
# Files side by side, as many as there are cores: what needs a quiet machine says so by its own patience.
test: $(VENV)/.dev lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(SIDE_BY_SIDE) --dist loadfile

# The everyday subset: no trained weights, no kills, no browser.
quick: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" -n $(SIDE_BY_SIDE) --dist loadfile

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/basedpyright --level error

bench: $(VENV)/.dev
	@for name in startup discord ledger planner fairness engine batch_curve worker_start house comfy; do $(BIN)/python -m benchmarks.$$name $(if $(QUICK),--quick) || exit 1; done

# Virtual hours of people, kills, zombies and outages from seeds; a failing one prints the command that plays it again.
simulate: $(VENV)/.dev
	@OMP_NUM_THREADS=1 PYTHONHASHSEED=0 $(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),200) --first $(or $(FIRST),1)

# Deliberate defects, each of which the proofs must find. QUICK=0 plays more seeds for each.
mutants: $(VENV)/.dev
	@OMP_NUM_THREADS=1 PYTHONHASHSEED=0 $(BIN)/python -m tests.mutants $(if $(filter 0,$(QUICK)),--long)

$(VENV)/.demo: pyproject.toml constraints.txt deploy/install.py
	@$(PYTHON) deploy/install.py --venv $(VENV) --extras host,worker,rehearsal
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt deploy/install.py
	@$(PYTHON) deploy/install.py --venv $(VENV) --extras host,worker,rehearsal,dev
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
