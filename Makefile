# Every target works on a fresh clone: it sets up what it needs and is quick where that is done.
SHELL := /bin/bash
UV := PATH="$(CURDIR)/.tools/bin:$(HOME)/.local/bin:$$PATH" uv
STAMP := .venv/.ready
CODE := ccat_models resources sensors ccat_assets
TYPED := $(CODE) tests tools benchmarks docs/conf.py examples/chai/observe.py examples/site_pwv/site_pwv_catalogue.py \
	examples/site_pwv/site_pwv_synthetic.py
# programs import their siblings by name, as they do when they are run
PROGRAMS := chai/calibrate chai/baseline chai/gridding site_pwv/clean site_pwv/transmission site_pwv/climatology

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast real setup-hpc lint docs format bench faults migration changelog clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

setup: $(STAMP) ## Install uv if there is none, and all dependencies into .venv

$(STAMP): pyproject.toml uv.lock tools/bootstrap.sh
	@tools/bootstrap.sh
	@touch $@

run: setup ## Run the demonstration and serve Dagit (ONCE=1: run it and end)
	@$(UV) run --no-sync ccat demo $(if $(ONCE),,--serve)

# More workers than cores: many tests wait for a job, a server or a browser rather than for the processor.
test: setup real ## Run all tests, with real components where this machine can have them
	@$(UV) run --no-sync pytest -n 3 --durations=10 --durations-min=1 $(ARGS)

test-fast: setup ## Run the tests that need nothing but Python
	@$(UV) run --no-sync pytest -n 4 -m "not real and not slow" $(ARGS)

real: ## Install what tests of real components need: PostgreSQL, Chromium, Apptainer (root or sudo)
	@tools/setup-real.sh
	@tools/setup-hpc.sh
	@tools/setup-s3.sh

setup-hpc: ## Install Slurm, MariaDB and sshd for the tests (root or sudo)
	@tools/setup-hpc.sh

lint: setup ## Check style, format, types and the direction of imports
	@$(UV) run --no-sync ruff check .
	@$(UV) run --no-sync ruff format --check .
	@$(UV) run --no-sync mypy --strict $(TYPED)
	@$(foreach example,chai site_pwv,cd $(CURDIR)/examples/$(example) && PATH="$(CURDIR)/.venv/bin:$$PATH" mypy --strict \
		--config-file $(CURDIR)/pyproject.toml $(patsubst $(example)/%,%.py,$(filter $(example)/%,$(PROGRAMS))) &&) true
	@$(UV) run --no-sync lint-imports

docs: setup ## Build the documentation into build/docs (warnings are errors)
	@$(UV) run --no-sync sphinx-build -n -W --keep-going -q -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

format: setup ## Format all code and mend what can be mended
	@$(UV) run --no-sync ruff check --fix .
	@$(UV) run --no-sync ruff format .

bench: setup ## Measure (ONLY=id,…: only these)
	@$(UV) run --no-sync python -m benchmarks $(if $(ONLY),--only $(ONLY))

faults: setup real ## Inject some hundred faults and show what each of them did (ARGS: pytest's)
	@$(UV) run --no-sync python -m benchmarks.faults $(ARGS)

migration: setup ## Write the next migration (MESSAGE="…"): the difference between migrations and models
	@PYTHONPATH=. $(UV) run --no-sync python tools/migration.py next $(MESSAGE)

changelog: ## Move the fragments of changelog.d into CHANGELOG.md (VERSION=X.Y.Z)
	@tools/changelog.sh "$(VERSION)"

clean: ## Remove what can be made again
	@rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
