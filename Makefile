# Everything is installed into .venv from requirements.lock; nothing else is touched.
PYTHON ?= python3
BIN := .venv/bin
CHROMIUM ?= $(firstword $(shell command -v chromium chromium-browser google-chrome 2>/dev/null))

.PHONY: help book test lint serve lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...'; exit 2; }
	@$(PYTHON) -m venv .venv || \
		{ echo 'The module venv is missing: on Debian, apt-get install python3-venv'; exit 2; }
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

book: .venv/installed  ## build the book from scratch; prints where to open it
	rm -rf _build
	$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	@echo "The book: file://$(CURDIR)/_build/html/index.html  (or: make serve)"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check models/engine models/experiment.py models/__init__.py

test: lint book  ## build the book and run every test
	@command -v chromium chromium-browser google-chrome >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		  apt-get install -y -qq chromium; } || \
		{ echo 'The tests need Chromium: on Debian, apt-get install chromium'; exit 2; }
	$(BIN)/pytest

serve:  ## show the built book on this machine only
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

lock: .venv/installed  ## renew requirements.lock from requirements.in
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet pip-tools
	.venv-lock/bin/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --no-header \
		--strip-extras --no-emit-options --no-emit-index-url --no-emit-trusted-host \
		--no-emit-find-links -o requirements.lock requirements.in
	rm -rf .venv-lock

clean:  ## delete what was built and installed
	rm -rf .venv .venv-lock _build *.egg-info
	find models tests -name __pycache__ -type d -prune -exec rm -rf {} +
