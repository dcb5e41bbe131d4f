# Two commands do everything, set-up included: `make fit` and `make test`.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

.PHONY: fit test lint

fit: $(VENV)/.installed
	$(RUN) -m bioplausible fit $(ARGS)

test: $(VENV)/.installed
	$(RUN) -m pytest -n auto $(ARGS)

lint: $(VENV)/.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

$(VENV)/.installed: setup.cfg pyproject.toml
	@echo "setting up $(VENV) (PyTorch and the rest, several GB; it takes minutes where they are fetched)"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable '.[test]'
	touch $@
