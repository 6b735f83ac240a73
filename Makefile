# Scripts rely on the names of these targets; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONUNBUFFERED = 1
export PYTHONDONTWRITEBYTECODE =  # many processes start, and compile nothing twice

# TEXT is used as it was typed: make does not expand a $ in it.
ifdef TEXT
override TEXT := $(value TEXT)
export TEXT
endif
TEXT_OPTION = $${TEXT+--text="$$TEXT"}
PUBLIC_OPTION = $(if $(PUBLIC),--public "$(PUBLIC)")
FRONT_OPTION = $(if $(FRONT),--front "$(FRONT)")
CAPACITY_OPTION = $(foreach limit,$(CAPACITY),--capacity "$(limit)")

UV = uv==0.13.9
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(LOCK)

SCHEMA := .data/check-infra
LITELLM := .data/check-llm

.DEFAULT_GOAL := help
.PHONY: help run demo test coverage check format token emulators clients simulate mutants bench lock package \
	check-infra check-llm screenshots deploy smoke capacity clean

help:  ## prints this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/run  ## starts the whole system on this machine and shows one translation; Ctrl-C ends it (PORT=8080, PUBLIC=folder of pages, CAPACITY=process_run=10, FRONT=hosting)
	@exec $(BIN)/python -m infra.local.embedded.host $(PUBLIC_OPTION) $(CAPACITY_OPTION) $(FRONT_OPTION) $(TEXT_OPTION)

demo: $(VENV)/run  ## shows one translation and ends, with exit code 0 if it completed (TEXT="…" is your own text)
	@exec $(BIN)/python -m infra.local.embedded.host --once $(TEXT_OPTION)

test: $(VENV)/dev  ## runs all tests whose tools this machine has (FAST=1 runs only those that take a minute; PYTEST="-k …")
	@$(BIN)/python -m pytest -n auto $(if $(FAST),--fast) $(PYTEST)

coverage: $(VENV)/dev  ## runs the tests and prints which files they execute least (FAST=1 and PYTEST as for test)
	@$(BIN)/python -m pytest -n auto --cov --cov-report=json:.data/coverage/report.json $(if $(FAST),--fast) $(PYTEST)

check: $(VENV)/dev  ## checks format, lint rules and types
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@echo "format, lint and types are fine"

format: $(VENV)/dev  ## formats the code and fixes lint errors
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix . && $(BIN)/ruff format --quiet .

token: $(VENV)/run  ## prints a bearer token for this machine: make token USER=demo
	@test "$(origin USER)" = "command line" || { echo "whose? make token USER=demo" >&2; exit 1; }
	@$(BIN)/python -m infra.local.token "$(USER)"

simulate: $(VENV)/dev  ## runs whole systems with faults under a virtual clock (SEEDS=1000 START=1; SEED=17 replays one; SECONDS=120 runs as many as fit)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(START),--start $(START)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SECONDS),--seconds $(SECONDS))

mutants: $(VENV)/dev  ## takes out one guarantee of the code at a time, and shows after how many seeds the simulation notices (ONLY=fence)
	@$(BIN)/python -m tests.simulation.mutants $(if $(ONLY),--only "$(ONLY)") $(if $(SEEDS),--seeds $(SEEDS))

bench: $(VENV)/dev  ## compares the system with others under load, and prints tables (ONLY=peers is one part; tests/bench/README.md has the others)
	@$(BIN)/python -m tests.bench $(ONLY)

emulators: $(VENV)/run  ## starts the same system on Google's emulators, one process per function; Ctrl-C ends it (FRONT=hosting)
	@exec $(BIN)/python -m infra.local.emulators.host $(FRONT_OPTION) $(TEXT_OPTION)

clients: $(VENV)/dev  ## generates Python and TypeScript clients from infra/openapi.yaml into .data/clients
	@$(BIN)/python -m infra.clients.generate .data/clients

screenshots: $(VENV)/dev  ## makes the README's pictures of the console
	@$(BIN)/python -m tests.e2e.screenshots

lock: $(VENV)/lock  ## compiles the dependencies of pyproject.toml with the same versions as before (LOCK=--upgrade takes new ones)
	@$(COMPILE) pyproject.toml --output-file requirements.txt
	@$(COMPILE) pyproject.toml --group local --group dev --constraints requirements.txt --output-file requirements-dev.txt
	@$(COMPILE) --group local --constraints requirements-dev.txt --output-file infra/local/requirements.txt
	@$(COMPILE) tests/bench/peers/requirements.in --output-file tests/bench/peers/requirements.txt

package:  ## makes the functions' source from the last commit and prints its path
	@$(PYTHON) -m infra.package

check-infra: $(VENV)/dev $(SCHEMA)/done  ## checks Terraform against Google's schema, the gcloud script, the package
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/infra/check_*.py $(PYTEST)

check-llm: $(VENV)/dev $(LITELLM)/done  ## tests the LLM protocols against LiteLLM's proxy, in a virtual environment of its own
	@LITELLM=$(LITELLM)/bin/litellm $(BIN)/python -m pytest -n 1 tests/llm/check_*.py $(PYTEST)

deploy:  ## applies infra/terraform: make deploy PROJECT=my-project REGION=europe-west1 (APPLY=-auto-approve asks nothing; TOKEN=… as for smoke)
	@test -n "$(PROJECT)" -a -n "$(REGION)" || { echo "where? make deploy PROJECT=my-project REGION=europe-west1" >&2; exit 1; }
	@test -f infra/terraform/terraform.tfvars || { echo "first: cp infra/terraform/terraform.tfvars.example infra/terraform/terraform.tfvars" >&2; exit 1; }
	@package=$$($(PYTHON) -m infra.package) && cd infra/terraform && terraform init -input=false && \
		terraform apply -input=false $(APPLY) -var project="$(PROJECT)" -var region="$(REGION)" -var package="$$package"
	@$(MAKE) --no-print-directory smoke

smoke: $(VENV)/run  ## tries the deployed system: a run of each family, a stream, a cancel, a listener (TOKEN=… of a user, MODEL=…)
	@outputs=$$(cd infra/terraform && terraform output -json) && \
		printf %s "$$outputs" | $(BIN)/python -m infra.smoke_deployed "$(TOKEN)" "$(MODEL)"

capacity: $(VENV)/run  ## prints which limit a growing load meets first, and plays it (RUNS=60 a minute, SECONDS=60 of the LLM)
	@$(BIN)/python -m infra.capacity $(or $(RUNS),60) $(or $(SECONDS),60)
	@$(BIN)/python -m tests.simulation.load $(or $(RUNS),60) $(or $(SECONDS),60)

clean:  ## removes the virtual environment and the local data
	@rm -rf $(VENV) .data

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make run PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up $(VENV), once …" >&2
	@$(PYTHON) -m venv $(VENV) >&2
	@touch $@

$(VENV)/run: $(VENV)/created requirements.txt infra/local/requirements.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.txt -r infra/local/requirements.txt >&2
	@touch $@

$(VENV)/dev: $(VENV)/lock requirements-dev.txt  # pip takes a minute for what uv does in seconds, but knows more indexes
	@echo "installing what tests and checks need, once …" >&2
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-dev.txt >&2 || \
		$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements-dev.txt >&2
	@touch $(VENV)/run $@

$(SCHEMA)/done: tests/infra/requirements.txt
	@echo "getting the schema of Terraform's Google provider, once …" >&2
	@rm -rf $(SCHEMA) && $(BIN)/python -m pip download -qq --disable-pip-version-check --no-deps --require-hashes \
		-r tests/infra/requirements.txt -d $(SCHEMA) >&2
	@touch $@

$(LITELLM)/done: tests/llm/requirements.txt
	@echo "installing LiteLLM's proxy, once …" >&2
	@$(PYTHON) -m venv $(LITELLM) >&2
	@$(LITELLM)/bin/python -m pip install -qq --disable-pip-version-check -r tests/llm/requirements.txt >&2
	@touch $@

$(VENV)/lock: Makefile $(VENV)/created
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(UV) >&2
	@touch $@
