# Everything is one command. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON := .venv/bin/python

.PHONY: help setup demo status stop logs test lint bench

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install everything: system packages, Python and Node parts (quick when done already)
	@demo/setup.sh

demo: setup ## start the whole workbench on this machine with sample studies; prints the address and the logins
	@$(PYTHON) -m demo up

status: ## ask every part of the running stack how it is
	@$(PYTHON) -m demo status

stop: ## stop the stack; its data stays in var/
	@$(PYTHON) -m demo stop

logs: ## show the end of every part's log
	@$(PYTHON) -m demo logs

test: setup ## run every test (one folder or file: make test TESTS=tests/demo)
	@$(PYTHON) -m pytest $(TESTS)

lint: setup ## ruff, its formatter, and mypy
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check
	@$(PYTHON) -m mypy

bench: setup ## measure, print the table and write it to var/bench.json
	@$(PYTHON) -m tests.bench
