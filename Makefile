# make demo        a factory, a PanDA to play with, and pilots, for a minute
# make test        unit tests, then the daemon on a real HTCondor pool behind a real squid (root or sudo)
# make test-quick  unit tests and the coverage of the core
# make lint        style, types, shell scripts

PYTHON ?= /usr/bin/python3.11
export PYTHON

.PHONY: demo test test-quick lint clean

demo:
	@scripts/make-venv .venv
	.venv/bin/autopyfactory demo --seconds 60

test: test-quick
	scripts/test-integration

test-quick:
	@scripts/make-venv .venv test,lint
	.venv/bin/pytest tests/unit -n 3 --cov=autopyfactory --cov-branch --cov-report=
	.venv/bin/python scripts/core_coverage.py

lint:
	@scripts/make-venv .venv test,lint
	scripts/lint .venv

clean:
	rm -rf .venv .testbed .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
