# For those who work on fwbouncer. Who only wants to see it needs ./packaging/demo and ./packaging/test.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
# The two commands need root; who is root already may have no sudo.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
SCRIPTS := packaging/demo packaging/test packaging/lib/*.sh tests/booted/boot tests/james/run tests/dashboard/run tests/kernels/run tests/kernels/init tests/benchmarks/run .ci/run
SCRIPTS += packaging/register packaging/debian/fwbouncer.post* packaging/debian/tests/enforce packaging/debian/tests/unit
SCRIPTS += tests/package/run tests/package/make-tree vagrant/*.sh vagrant/james/*.sh

# The releases of the linters that pyproject.toml names; all else in .venv is the system's.
LINTERS = $(shell $(PYTHON) -c 'import tomllib; dev = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["dev"]; print(*(d for d in dev if d.startswith(("ruff", "mypy", "types-"))))')

.PHONY: help venv linters check format man completion readme test fuzz faults booted test-james test-dashboard picture test-size test-kernels bench demo clean

help:  ## what can be made
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST)

venv:  ## .venv/bin/fwbouncer on the system's python3; no network needed
	@packaging/lib/make-venv.sh

linters: venv
	@$(PYTHON) -m pip --version >/dev/null
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore $(LINTERS)

check: linters  ## lint, format and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy --explicit-package-bases tests/conftest.py tests/lab tests/contract tests/crowdsec tests/e2e tests/booted tests/faults tests/james tests/size tests/package tests/benchmarks tests/dashboard
	@$(PYTHON) packaging/lib/write_keys.py README.md --check || { echo 'README.md: its table of settings is old: make readme'; exit 1; }
	@if command -v shellcheck >/dev/null; then shellcheck -x $(SCRIPTS); else echo 'shellcheck is not installed: scripts are unchecked'; fi

format: linters  ## let ruff lay the code out
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

man: venv  ## the manual pages, into build/man
	@$(PYTHON) packaging/lib/write_manual.py build/man

completion: venv  ## completion for bash, zsh and fish, into build/completion
	@$(PYTHON) packaging/lib/write_completion.py build/completion

readme: venv  ## write the table of settings anew
	@$(PYTHON) packaging/lib/write_keys.py README.md

test:  ## every test, as root in network namespaces
	$(SUDO) ./packaging/test

faults:  ## faults at random against a packet probe; STEPS=10000 SEED=7 SETTING=owned
	$(SUDO) env PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m tests.faults.run --steps $(or $(STEPS),1000) $(if $(SEED),--seed $(SEED)) \
	    $(if $(SETTING),--setting $(SETTING))

fuzz:  ## the tests that draw examples, with TIMES as many and none drawn before
	$(SUDO) env FWBOUNCER_FUZZ=$(or $(TIMES),20) ./packaging/test tests/unit -m hypothesis

booted:  ## the unit under a systemd that boots, in full length, on Debian 12 and 13
	for suite in bookworm trixie; do \
	    $(SUDO) env FWBOUNCER_FULL=1 FWBOUNCER_SUITE=$$suite ./packaging/test tests/booted || exit 1; done

test-james:  ## the real Apache James and CrowdSec: from guessed passwords to dropped packets
	$(SUDO) ./tests/james/run

test-size:  ## every command beside a million decisions, and how long it takes; about two minutes
	$(SUDO) env PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -o python_files='check_*.py' tests/size

test-dashboard:  ## every query of the Grafana dashboard, and the alerts, against a real Prometheus
	$(SUDO) ./tests/dashboard/run

picture:  ## docs/dashboard.png from a run of three minutes; fetches matplotlib from PyPI
	$(SUDO) ./tests/dashboard/run --seconds 180 --results .cache/dashboard.json
	$(PYTHON) -m venv .cache/picture
	.cache/picture/bin/pip install --quiet --disable-pip-version-check matplotlib
	.cache/picture/bin/python -m tests.dashboard.picture .cache/dashboard.json docs/dashboard.png

test-kernels:  ## the backends on the kernels of Debian 12 and 13, in emulated machines; takes half an hour
	$(SUDO) ./tests/kernels/run $(SUITES) -- $(or $(TESTS),tests/contract)

bench:  ## fwbouncer beside others, into build/bench; BENCH=full for every size, INCUMBENT=path for another binary
	$(SUDO) env INCUMBENT="$(INCUMBENT)" ./tests/benchmarks/run $(if $(filter full,$(BENCH)),--full) $(ARGS)

demo:  ## a real ban, from cscli to the dropped packet
	$(SUDO) ./packaging/demo

.PHONY: deb
deb:  ## the Debian package, into dist
	@packaging/lib/make-deb.sh

.PHONY: dist
dist:  ## sdist and wheel, into dist
	@packaging/lib/make-dist.sh

.PHONY: test-deb
test-deb:  ## the package, in a Debian 12 and a Debian 13 that boot: SUITES=trixie for one of them
	$(SUDO) ./tests/package/run $(SUITES)

clean:  ## remove what was made here
	rm -rf --one-file-system $(VENV) .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
