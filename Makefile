# make demo        a factory, a PanDA to play with, and pilots, for a minute
# make test        unit tests and the coverage of the core, then the daemon on the real systems (root or sudo)
# make test-quick  unit tests
# make lint        style, types, shell scripts

PYTHON ?= /usr/bin/python3.11
export PYTHON

.PHONY: demo test test-quick lint clean

demo:
	@scripts/make-venv .venv
	.venv/bin/autopyfactory demo --seconds 60

# Watched for its coverage, the same run takes twice as long.
test:
	@scripts/make-venv .venv test,lint
	.venv/bin/pytest tests/unit -n 3 --cov=autopyfactory --cov-branch --cov-report=
	.venv/bin/python scripts/core_coverage.py
	scripts/test-integration

test-quick:
	@scripts/make-venv .venv test,lint
	.venv/bin/pytest tests/unit -n 3

lint:
	@scripts/make-venv .venv test,lint
	scripts/lint .venv

clean:
	rm -rf .venv .testbed .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
