# What a person calls by hand, beside `python manage.py`. The first target is the one to start with.

PORT ?= 8000
ARGS ?=
UPGRADE ?=
PYTHON := .venv/bin/python
# The programs of a virtual environment name its folder: in a folder that was moved or copied it is made anew.
ifneq ($(wildcard .venv/.installed),)
ifneq ($(shell cat .venv/.installed),$(CURDIR))
$(shell rm -rf .venv)
endif
endif
# A deploy's config, for the checks that look at one: nothing of it is contacted.
DEPLOY := READ_DOT_ENV=false LOG_LEVEL=error DATABASE_URL=sqlite:///var/lint.sqlite3 CELERY_BROKER_URL=amqp://localhost \
	EMAIL_URL=smtp://localhost MEDIA_STORAGE_URL=file:// ALLOWED_HOSTS=localhost

.PHONY: run test prove setup lint bench lock

run: setup  ## web, worker and clock on http://localhost:$(PORT), restarted when the code changes; Ctrl-C stops
	@$(PYTHON) manage.py run_processes --port $(PORT)

test: setup  ## the tests that need Python alone; ARGS=apps/shop are those of an app
	@$(PYTHON) -m pytest -m "not prove" $(or $(ARGS),-n 2)

prove: setup  ## the proofs: real servers, processes, a browser, builds; ARGS=tests/… are some of them
	@$(PYTHON) -m pytest -m prove $(or $(ARGS),-n 3 --dist loadfile)

setup: .venv/.installed .env
	@mkdir -p var
	@LOG_LEVEL=warning $(PYTHON) manage.py migrate --noinput --verbosity 0

lint: setup  ## all that the gate checks beside the tests
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(PYTHON) -m deptry .
	@key=$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(50))'); set -x; \
	env $(DEPLOY) SECRET_KEY=$$key $(PYTHON) manage.py makemigrations --check --dry-run && \
	env $(DEPLOY) SECRET_KEY=$$key $(PYTHON) manage.py check_migrations && \
	env $(DEPLOY) SECRET_KEY=$$key $(PYTHON) manage.py check --deploy --fail-level WARNING

bench: setup  ## what things cost, each beside something else in the same run
	@$(PYTHON) -m tests.twelve.bench

lock: .venv/.installed  ## the requirements, compiled for every supported Python and installed; UPGRADE=1 renews the versions
	@for pair in base:requirements.txt sentry:requirements/sentry.txt gcs:requirements/gcs.txt \
		mysql:requirements/mysql.txt dev:requirements/dev.txt; do \
		$(PYTHON) -m uv pip compile -q $(if $(UPGRADE),--upgrade) --universal --python-version 3.12 --no-python-downloads \
			--generate-hashes --custom-compile-command 'make lock' requirements/$${pair%%:*}.in -o $${pair#*:} || exit 1; \
	done
	@# make looks at a file once in a run: another make sees the new locks, so that `make lock test` tests with them.
	@$(MAKE) --no-print-directory .venv/.installed

# Each candidate is run: a version manager's stub can exist and fail.
.venv/bin/python:
	@found=; looked=; \
	for python in python3 python3.14 python3.13 python3.12; do \
		version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
		looked="$$looked $$python ($${version:-does not run}),"; \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	rm -rf .venv; \
	if [ -z "$$found" ] && command -v uv >/dev/null; then found=3.13; fi; \
	if [ -z "$$found" ]; then \
		echo "Python 3.12 or newer is needed. Looked for:$$looked uv (not there)." >&2; \
		echo "Install Python 3.13 (python.org/downloads, or your system's package) or uv (docs.astral.sh/uv), then try again." >&2; \
		exit 1; \
	fi; \
	echo "Making .venv with $$found and installing the requirements: a minute, once."; \
	if command -v uv >/dev/null; then uv venv -q --python "$$found" .venv; else "$$found" -m venv .venv; fi \
		|| { rm -rf .venv; exit 1; }

.venv/.installed: requirements.txt requirements/dev.txt | .venv/bin/python
	@if command -v uv >/dev/null; then uv pip sync -q --python $(PYTHON) --require-hashes requirements/dev.txt; \
	else $(PYTHON) -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt; fi
	@echo '$(CURDIR)' > $@

.env: | .venv/.installed
	@$(PYTHON) -c "import pathlib, secrets; text = pathlib.Path('.env.example').read_text(); \
	pathlib.Path('.env').write_text(text.replace('SECRET_KEY=\n', f'SECRET_KEY={secrets.token_urlsafe(50)}\n', 1))"
	@echo "Wrote .env from .env.example, with a new SECRET_KEY."
