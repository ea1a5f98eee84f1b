# `make` alone says what there is: the words after ## are the help. Every target that runs a program of the project
# first brings .venv up to date; tools/venv.sh does that, and is silent and quick when there is nothing to do.

.DEFAULT_GOAL := help
python := .venv/bin/python
harness := $(python) -m harness

.PHONY: help
help:
	@echo 'Usage: make <target> [ARGS="--flags of the program"] [PYTHON=/path/to/python3.13]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: venv
venv:
	@tools/venv.sh

.PHONY: test
# Three at a time, a file each: most of the time the tests wait, for an alarm or a visibility timeout.
test: venv ## Run all tests; some of them: make test ARGS="tests/unit -k retry"
	@$(python) -m pytest -q -n 3 --dist loadfile --durations=10 $(ARGS)

.PHONY: check
check: venv ## Lint (ruff), check formatting (ruff format, terraform fmt), types (mypy --strict), terraform/ (validate)
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) -m mypy
	@$(python) tools/check_terraform.py

# In an environment of its own, since its dependencies clash with LocalStack's.
.PHONY: checkov
checkov: venv ## Lint terraform/ with checkov
	@test -x build/checkov/bin/checkov || { $(python) -m venv build/checkov && build/checkov/bin/pip install -q checkov==3.3.30; }
	@build/checkov/bin/checkov --directory terraform --framework terraform --compact --quiet --skip-download

# In `make scenario burst`, burst is an argument: a goal that does nothing, whatever file of its name there may be.
.PHONY: scenario
scenario: venv ## Run a scenario: make scenario burst; without a name: list them; in Docker: EMULATOR=docker
	@$(harness) scenario $(names) $(ARGS)
ifeq ($(firstword $(MAKECMDGOALS)),scenario)
names := $(filter-out scenario,$(MAKECMDGOALS))
.PHONY: $(names)
$(names): scenario
	@:
endif

.PHONY: simulate
simulate: venv ## Simulate thousands of bad days; one of them as a story: ARGS="--seed 7"
	@$(harness) simulate $(ARGS)

.PHONY: up
up: venv ## Run the whole of it here until Ctrl-C, to publish mail to and to look at; in Docker: EMULATOR=docker
	@$(harness) up $(ARGS)

# The three reach the program through the environment, so that neither make nor the shell reads a quote or a $ in them.
.PHONY: send
override TO := $(value TO)
override SUBJECT := $(value SUBJECT)
override TEXT := $(value TEXT)
export TO SUBJECT TEXT
send: venv ## Publish a mail to what `make up` runs: make send TO=a@example.com SUBJECT=hi TEXT=hello
	@$(harness) send --to "$$TO" --subject "$$SUBJECT" --text "$$TEXT" $(ARGS)

.PHONY: inbox
override export RUN := $(value RUN)
inbox: venv ## Look at captured mail here: make inbox RUN=burst ARGS="search 'subject:order has:attachment'"
	@$(harness) inbox --run "$${RUN:-latest}" $(ARGS)

.PHONY: inbox-web
inbox-web: venv ## Look at captured mail in the browser: make inbox-web RUN=burst
	@$(harness) inbox-web --run "$${RUN:-latest}" $(ARGS)

.PHONY: artifact
artifact: venv ## Build dist/ion.zip, what Lambda runs, and print its SHA-256
	@$(harness) artifact $(ARGS)

# With your own AWS credentials, and the values in terraform/terraform.tfvars.
.PHONY: plan deploy destroy
plan: venv ## Show what `make deploy` would change in AWS
	@$(harness) deploy plan $(ARGS)
deploy: venv ## Deploy to AWS what the last scenario found valid (anything else: FORCE=1)
	@$(harness) deploy apply $(if $(FORCE),--force) $(ARGS)
destroy: venv ## Remove all of it from AWS
	@$(harness) deploy destroy $(ARGS)

.PHONY: smoke
smoke: venv ## Send one mail through what is deployed and see it through: make smoke TO=you@example.com
	@$(harness) smoke --to "$$TO" $(ARGS)

.PHONY: bench
bench: venv ## Measure speed and size on this machine
	@$(harness) bench $(ARGS)

.PHONY: lock
lock: ## Pin the dependencies of pyproject.toml anew (needs uv); the newest ones: ARGS=--upgrade
	@tools/lock.sh $(ARGS)

.PHONY: clean
clean: ## Remove what can be made again: .venv, build, dist and caches; runs and their mail stay in var/
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
