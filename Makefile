# Each target works from a fresh clone: what is missing is installed first.
PY := .venv/bin/python
VENV := .venv/.installed

.PHONY: setup demo test check lint format docs bench chaos assertions identities schema lock clean browser axe mail-system screenshots

setup: $(VENV)

$(VENV): pyproject.toml requirements-dev.txt
	@python3 -m venv .venv
	@echo "Installing into .venv …"
	@.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)
	@.venv/bin/varsel demo $(if $(EXIT),--exit)

# Chromium and axe-core (with npm) are wanted by the tests of pages, Postfix by those of mail. Without root they must be
# there already, or those tests say so. Postfix is left without a configuration: none but the tests' own instances ever run.
INSTALL := DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends

browser:
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || { \
		echo "Installing Chromium for the tests of pages …"; \
		apt-get update -qq >/dev/null && $(INSTALL) chromium fonts-dejavu-core >/dev/null; }

# Looks at the pages for those who cannot see or point.
axe: tests/node/node_modules/axe-core/axe.min.js

tests/node/node_modules/axe-core/axe.min.js: tests/node/package-lock.json
	@command -v npm >/dev/null || [ "$$(id -u)" != 0 ] || { \
		echo "Installing npm for the tests of pages …"; \
		apt-get update -qq >/dev/null && $(INSTALL) npm >/dev/null; }
	@if command -v npm >/dev/null; then \
		cd tests/node && npm ci --silent --ignore-scripts --no-audit --no-fund && touch node_modules/axe-core/axe.min.js || \
		echo "axe-core could not be installed: the tests of pages will say so"; fi

mail-system:
	@[ -x /usr/sbin/postfix ] || [ "$$(id -u)" != 0 ] || { \
		echo "Installing Postfix for the tests of mail …"; \
		echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections && \
		apt-get update -qq >/dev/null && $(INSTALL) postfix >/dev/null; }

# Bytecode is kept, whatever the machine's custom: the processes that tests start are up in a third of the time.
test: $(VENV) browser axe mail-system lint
	@PYTHONDONTWRITEBYTECODE= .venv/bin/pytest -n 4 --dist worksteal

check: lint
	@.venv/bin/pytest -q tests/docs/test_docs.py tests/docs/test_assertions.py

lint: $(VENV)
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy
	@said=$$(.venv/bin/lint-imports --no-logo) || { echo "$$said"; exit 1; }

format: $(VENV)
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

docs: $(VENV)
	@$(PY) docs/generate.py

# The pictures of the documentation, as the tests see the pages.
screenshots: $(VENV) browser
	@VARSEL_SCREENSHOTS=docs/images .venv/bin/pytest -q tests/flow/test_every_page.py -k pictures

bench: $(VENV)
	@$(PY) -m bench

chaos: $(VENV)
	@$(PY) -m bench.chaos

# Which test proves which numbered assertion of the specifications, and which are open.
assertions: $(VENV)
	@$(PY) tests/assertions.py

# A million identity numbers beside four other implementations; two of them want node and npm.
identities: $(VENV)
	@cd tests/node && npm ci --silent --ignore-scripts --no-audit --no-fund
	@$(PY) tests/identities.py $(COUNT)

# Some 28 000 generated requests against a running service; takes twenty minutes.
schema: $(VENV)
	@$(PY) tests/schema_run.py $(CASES)

LOCK := .venv/bin/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host --no-header --no-annotate --strip-extras --allow-unsafe

lock: $(VENV)
	@$(LOCK) --output-file requirements.txt pyproject.toml
	@$(LOCK) --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

clean:
	@rm -rf .venv tests/node/node_modules .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis
