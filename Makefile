# Two commands do everything, set-up included: `make fit` and `make test`.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
# a process takes files one after the other, so that it makes what a file's tests share once; idle ones take from others
PARALLEL = -n auto --dist worksteal

.PHONY: fit test test-thorough test-slow mutation benchmark-peers lint docs

fit: $(VENV)/.installed
	$(RUN) -m bioplausible fit $(ARGS)

test: $(VENV)/.installed
	$(RUN) -m pytest $(PARALLEL) $(ARGS)

# what CI runs besides: further cases of what `make test` samples, and what takes tens of seconds
test-thorough: $(VENV)/.installed
	$(RUN) -m pytest $(PARALLEL) -m "thorough and not slow" $(ARGS)

# what takes minutes
test-slow: $(VENV)/.installed
	$(RUN) -m pytest $(PARALLEL) -m slow $(ARGS)

# Mutants of a copy of the checkout; a sample of each package, for all of them take days on two cores. A part, another draw:
#   make mutation PACKAGES='rules network' SAMPLE=100 SEED=1
PACKAGES ?=
SAMPLE ?= 40
SEED ?= 0
# beside the environment, not in it: it brings rich, and some tests are of what is said where rich is missing
COSMIC_RAY = build/cosmic-ray

mutation: $(COSMIC_RAY)/.installed
	PYTHONPATH="$(abspath $(COSMIC_RAY))" $(RUN) -m tests.mutation --sample $(SAMPLE) --seed $(SEED) $(PACKAGES)

# Other codes' speed beside ours, each in an environment of its own: several GB. Fewer, or a quick look:
#   make benchmark-peers ARGS='predictive_coding --cores 1 --rounds 3'
PEERS = build/peers

benchmark-peers: $(VENV)/.installed $(patsubst %,$(PEERS)/%/.installed,pcx ngclearn fabricpc biotorch)
	$(RUN) -m tests.benchmarks.peers --environments $(PEERS) $(ARGS)

# the requirements name all there is, so nothing else is fetched; where one does not install, the others are compared
$(PEERS)/%/.installed: tests/benchmarks/peers/requirements-%.txt $(VENV)/.installed
	$(PYTHON) -m venv $(PEERS)/$*
	$(PEERS)/$*/bin/python -m pip install --quiet --no-deps --requirement $< && touch $@ \
		|| echo "$* does not install here"

# biotorch takes torch from our environment: one that is the same, and no second one on the disk
$(PEERS)/biotorch/.installed: tests/benchmarks/peers/requirements-biotorch.txt $(VENV)/.installed
	$(PYTHON) -m venv $(PEERS)/biotorch
	$(RUN) -c "$(PURELIB)" > $$($(PEERS)/biotorch/bin/python -c "$(PURELIB)")/ours.pth
	$(PEERS)/biotorch/bin/python -m pip install --quiet --no-deps --requirement $< && touch $@ \
		|| echo "biotorch does not install here"

PURELIB = import sysconfig; print(sysconfig.get_path('purelib'))

lint: $(VENV)/.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# the pages of docs/ as a site: build/site/index.html
docs: $(VENV)/.docs
	$(RUN) -m mkdocs build --strict

$(VENV)/.docs: $(VENV)/.installed
	$(RUN) -m pip install --quiet --editable '.[docs]'
	touch $@

$(COSMIC_RAY)/.installed: $(VENV)/.installed
	$(RUN) -m pip install --quiet --target $(COSMIC_RAY) 'cosmic-ray>=8.3,<9'
	touch $@

$(VENV)/.installed: setup.cfg pyproject.toml
	@echo "setting up $(VENV) (PyTorch and the rest, several GB; it takes minutes where they are fetched)"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable '.[test]'
	touch $@
