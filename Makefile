# `make help` lists what there is to make. PYTHON chooses the Python that makes .venv.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
# pip 23.0, which Debian 12 has, else warns of packages without a wheel.
PIP := PIP_USE_PEP517=1 .venv/bin/pip --quiet --disable-pip-version-check
# jq ends with its input, not by Ctrl-C, so that the last tweets are seen.
JQ := $(if $(shell command -v jq),| (trap '' INT; jq --unbuffered .))
# More for pytest, such as `make test TESTS=tests/rules`.
TESTS :=
CORES := $(shell getconf _NPROCESSORS_ONLN)
IN_FRONT := .venv/bin/python -c 'import os; exit(not os.isatty(0) or os.tcgetpgrp(0) != os.getpgrp())' 2>/dev/null

.PHONY: help demo demo-json demo-fleet demo-store test test-fast test-heavy test-deploy lint audit lock dist docs bench kafka kafka-start kafka-stop opensearch clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# In front of a terminal the demo gets a process group of its own (set -m), once the shell has not become it (|| exit):
# Ctrl-C is for it, not for make.
demo: .venv/run ## tweets to look at, without accounts or servers; Ctrl-C ends it
	@if $(IN_FRONT); then set -m; fi; .venv/bin/python -m traptor --demo --look || exit

demo-json: .venv/run ## the same as they go to Kafka, in JSON
	@if $(IN_FRONT); then set -m; fi; .venv/bin/python -m traptor --demo --test $(JQ) || exit

demo-fleet: .venv/run ## three Traptors, one is killed, its rules move; a minute
	@.venv/bin/python -m scripts.demo_fleet

demo-store: .venv/run ## the same into a file, tweets.db, to look at; Ctrl-C ends it
	@echo "demo: look at it while it grows:" >&2
	@echo "  .venv/bin/python -m traptor report tweets.db" >&2
	@echo "  .venv/bin/python -m traptor export tweets.db --format csv > tweets.csv" >&2
	@echo "  .venv/bin/python -c 'import sqlite3; print(*sqlite3.connect(\"tweets.db\").execute(\"SELECT * FROM tweets_by_rule\"), sep=\"\n\")'" >&2
	@echo "  datasette tweets.db    (pip install datasette)" >&2
	@if $(IN_FRONT); then set -m; fi; .venv/bin/python -m traptor --demo --test | \
		(trap '' INT; LOG_DIR=none exec .venv/bin/python -m traptor store tweets.db -)

# More workers than cores: a test on real servers waits for them more than it works.
test: .venv/test ## all tests but the heavy ones, on real servers; about four minutes on two cores
	@.venv/bin/pytest --quiet --dist loadgroup --numprocesses $$((2 * $(CORES))) $(TESTS)

test-fast: .venv/test ## the unit tests alone; a minute or two
	@.venv/bin/pytest --quiet --dist worksteal --numprocesses $$((2 * $(CORES))) -m "not integration and not heavy"

test-heavy: .venv/test ## those that take long: soaks, kills, outages, brokers with logins, supervisor; ten minutes
	@.venv/bin/pytest --quiet --dist loadgroup --numprocesses $$((2 * $(CORES))) -m heavy

test-deploy: .venv/test ## Vagrant, systemd, Ansible, the image, compose.yaml and the newest Python for real, on Debian roots; needs root on Debian
	@tests/deploy/run

lint: .venv/test ## ruff, mypy, and the layers
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@.venv/bin/lint-imports

audit: .venv/test .venv/audit ## are the packages those that are asked for, and is a hole known in one of them?
	@.venv/bin/pip check
	@$(PIP) install --dry-run --no-index --requirement requirements-test.txt
	@.venv/bin/python -m scripts.audit .venv/audit/bin/pip-audit

lock: .venv/release ## requirements.lock: the versions that are tested and deployed, with their hashes
	@.venv/release/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --extra fast --extra postgresql --output-file requirements.lock setup.py

# The extras that the lock has are all that a node or the image may need; pyarrow alone would double them.
dist: .venv/release ## sdist, wheel and bill of materials (CycloneDX) into dist, tried on every Python from 3.11 on that is here
	@rm -rf dist build
	@.venv/release/bin/python -m build --outdir dist . >.venv/build.log || { cat .venv/build.log; exit 1; }
	@.venv/release/bin/twine check --strict dist/*
	@.venv/release/bin/check-wheel-contents dist/*.whl
	@scripts/try_wheel dist/*.whl
	@.venv/release/bin/cyclonedx-py requirements --output-reproducible --output-file dist/traptor.cdx.json requirements.lock

docs: .venv/docs ## the documentation as a site, into site; a link that leads nowhere ends it
	@.venv/docs/bin/zensical build --strict --clean
	@! grep -rE '<(script|link|img)[^>]*="(https?:)?//' site # who reads it fetches nothing from elsewhere
	@echo "To read it: python3 -m http.server --bind 127.0.0.1 --directory site"

bench: .venv/test ## what a tweet costs, beside a relay, a loop and json.loads; a quarter of an hour
	@for one in enrich pipeline latency memory store; do .venv/bin/python -m bench.$$one || exit; done

kafka: ## Apache Kafka into .kafka, for the tests and for trying; needs Java and Maven
	@$(PYTHON) -m scripts.apache_kafka fetch

kafka-start: ## run it on 127.0.0.1:9092
	@$(PYTHON) -m scripts.apache_kafka start

kafka-stop: ## stop it
	@$(PYTHON) -m scripts.apache_kafka stop

opensearch: ## OpenSearch into .opensearch, for the tests; needs Java and Maven
	@$(PYTHON) -m scripts.opensearch

clean: ## remove .venv and the caches
	@rm -rf .venv build site .cache *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/pip:
	@echo "Making .venv with $(PYTHON) ..." >&2
	@$(PYTHON) -m venv .venv

# The two stamps: installed since the requirements last changed.
.venv/run: requirements.txt | .venv/bin/pip
	@echo "Installing requirements.txt ..." >&2
	@$(PIP) install --requirement requirements.txt
	@touch $@

.venv/test: requirements.lock requirements-test.txt setup.py | .venv/bin/pip
	@echo "Installing requirements.lock, requirements-test.txt and the traptor command ..." >&2
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --requirement requirements-test.txt --editable .
	@touch $@

# Apart, because it brings packages that it would have to look at, too.
.venv/audit: | .venv/bin/pip
	@echo "Installing pip-audit ..." >&2
	@.venv/bin/python -m venv $@
	@$@/bin/pip --quiet --disable-pip-version-check install 'pip-audit>=2.9,<3'

# What a release is made with.
.venv/release: | .venv/bin/pip
	@echo "Installing build, twine, check-wheel-contents, uv and cyclonedx-bom ..." >&2
	@.venv/bin/python -m venv $@
	@$@/bin/pip --quiet --disable-pip-version-check install 'build>=1.2,<2' 'twine>=6,<8' 'check-wheel-contents>=0.6,<1' \
		'uv>=0.5,<1' 'cyclonedx-bom>=7,<9'

# What the documentation is made with: neither users nor tests need it.
.venv/docs: requirements-docs.txt | .venv/bin/pip
	@echo "Installing requirements-docs.txt ..." >&2
	@.venv/bin/python -m venv $@
	@$@/bin/pip --quiet --disable-pip-version-check install --requirement requirements-docs.txt
	@touch $@
