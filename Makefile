# Everything is installed into .venv from requirements.lock (for `make bench`, what it is compared
# with into .venv-bench); nothing else is touched, but for Chromium, which `make test` needs.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE  # many tests start processes, which would all compile the same

.PHONY: help book test bench lint serve picture lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A folder made anew, with what a lock file names. The mark is set last, so that an installation
# that was interrupted is begun again. Byte code is made on all cores, which pip does on one;
# as there, a file that does not compile is left out.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...'; exit 2; }
	@$(PYTHON) -m venv --clear $(1) || \
		{ echo 'The module venv is missing: on Debian, apt-get install python3-venv'; exit 2; }
	$(1)/bin/pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r $(2)
	@-$(PYTHON) -m compileall -qq -j 0 $(1)/lib
endef

.venv/installed: requirements.lock pyproject.toml
	$(call install,.venv,requirements.lock)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv-bench/installed: requirements-bench.lock
	$(call install,.venv-bench,requirements-bench.lock)
	@touch $@

book: .venv/installed  ## build the book from scratch and say where to open it
	rm -rf _build
	$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	@echo "The book: file://$(CURDIR)/_build/html/index.html  (or: make serve)"

lint: .venv/installed  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/installed  ## build the book and prove it (installs Debian's Chromium where it may)
	@$(MAKE) --jobs 2 lint book  # pages are written on one core
	@$(BIN)/python tests/browser/chromium.py || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } || \
		{ echo 'The tests need Chromium or Google Chrome and none could be installed: on Debian,'; \
		  echo 'apt-get install chromium; elsewhere, make CHROMIUM=/path/to/it test'; exit 2; }
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: .venv/installed .venv-bench/installed  ## measure the engines; kept for the page Status
	$(BIN)/python tests/bench/run.py --others .venv-bench/bin/python --out book/benchmarks.json

serve:  ## show the built book on this machine only
	@[ -f _build/html/index.html ] || { echo 'There is no book yet: make book'; exit 2; }
	@echo 'The book: http://127.0.0.1:$(PORT)/  (end with Ctrl-C)'
	@$(PYTHON) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

picture: .venv/installed  ## draw the picture in the README
	$(BIN)/python book/picture.py

lock:  ## renew both lock files, for every system and Python
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/pip install --quiet --disable-pip-version-check uv
	for name in requirements requirements-bench; do \
		.venv-lock/bin/uv pip compile --quiet --upgrade --universal --fork-strategy fewest \
			--python-version 3.11 --generate-hashes --no-header -o $$name.lock $$name.in || exit 1; \
	done
	rm -rf .venv-lock

clean:  ## delete what was built and installed
	rm -rf .venv .venv-bench .venv-lock _build *.egg-info
	rm -rf .ruff_cache .mypy_cache .pytest_cache .hypothesis
	find book models tests -name __pycache__ -type d -prune -exec rm -rf {} +
