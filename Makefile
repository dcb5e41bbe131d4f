# Two commands do everything, set-up included: `make fit` and `make test`.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
# a process takes files one after the other, so that it makes what a file's tests share once; idle ones take from others
PARALLEL = -n auto --dist worksteal

.PHONY: fit test test-slow mutation lint

fit: $(VENV)/.installed
	$(RUN) -m bioplausible fit $(ARGS)

test: $(VENV)/.installed
	$(RUN) -m pytest $(PARALLEL) $(ARGS)

# what takes minutes and is left out of `make test`
test-slow: $(VENV)/.installed
	$(RUN) -m pytest $(PARALLEL) -m slow $(ARGS)

# Mutants of a copy, so that a run that is killed leaves the sources alone. All of them take days on two cores; a part:
#   make mutation MODULES='"bioplausible/functional"' TESTS='tests/functional tests/oracles/test_closed_forms.py'
MODULES ?= $(foreach m,rules functional network resume commands/verify commands/report,"bioplausible/$(m)",)
TESTS ?= tests/functional tests/oracles tests/rules tests/network tests/commands/test_verify.py \
	tests/commands/test_verify_changes.py tests/commands/test_report.py tests/commands/test_report_numbers.py \
	tests/commands/test_report_significance.py tests/commands/test_report_folders.py \
	tests/commands/test_report_take_away.py tests/resume
COPY = build/mutation

mutation: $(VENV)/.installed-mutation
	rm -rf $(COPY)
	git checkout-index --all --prefix=$(COPY)/
	sed -e 's|MODULES\]|$(MODULES)]|; s|PYTHON|$(abspath $(RUN))|; s| TESTS"| $(TESTS)"|' tests/mutation.toml > $(COPY)/mutation.toml
	cd $(COPY) && export PATH="$(abspath $(VENV))/bin:$$PATH" PYTHONPATH="$$PWD" OMP_NUM_THREADS=1 && \
	cosmic-ray init mutation.toml session.sqlite && cr-filter-operators session.sqlite mutation.toml && \
	cosmic-ray exec mutation.toml session.sqlite && \
	cr-report session.sqlite --show-diff --surviving-only > survivors.txt && cr-rate session.sqlite
	@echo "what survived: $(COPY)/survivors.txt"

lint: $(VENV)/.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

$(VENV)/.installed-mutation: $(VENV)/.installed
	$(RUN) -m pip install --quiet --editable '.[mutation]'
	touch $@

$(VENV)/.installed: setup.cfg pyproject.toml
	@echo "setting up $(VENV) (PyTorch and the rest, several GB; it takes minutes where they are fetched)"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable '.[test]'
	touch $@
