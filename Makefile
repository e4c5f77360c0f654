# Everything runs in this project's own virtual environment, made on first use by plain pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_DIR ?= demo_run
MODEL_DIR ?= box_model
DEVICE ?= cpu
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
DOCS_STAMP := $(VENV)/.installed-docs

.PHONY: demo model test test-long lint dist docs reference clean help

help:
	@echo "make demo       run the whole way on the synthetic two-site cohort (10 to 20 minutes on 2 cores)"
	@echo "make model LABEL_MAPS=DIR   make the model in the box (small on a CPU; DEVICE=cuda the full one)"
	@echo "make test       fast tests"
	@echo "make test-long  tests that take minutes"
	@echo "make lint       ruff and mypy"
	@echo "make dist       source archive and wheel in dist/, checked"
	@echo "make docs       the documentation as a site in build/site, a warning is an error"
	@echo "make reference  what of docs/ is written from the code"

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet -e ".[test,dev]"
	touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	touch $@

demo: $(STAMP)
	$(BIN)/femur_demo --out $(DEMO_DIR)

# MODEL_OPTIONS passes on what else femur_box_model takes, such as --jobs 1 or --map-cache DIR.
model: $(STAMP)
	$(if $(LABEL_MAPS),,$(error LABEL_MAPS is not set; give the folder of label maps, as in make model LABEL_MAPS=DIR))
	$(BIN)/femur_box_model --label-maps $(LABEL_MAPS) --out $(MODEL_DIR) --device $(DEVICE) $(MODEL_OPTIONS)

# One process a core, whole files each; more threads in each of them would only wait for one another.
test: $(DEV_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not long" -n auto --dist loadfile

test-long: $(DEV_STAMP)
	$(BIN)/pytest -m long

# mypy does not follow the mapping of folders in setup.cfg: it gets a tree of links in the installed form.
lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	rm -rf build/typecheck && mkdir -p build/typecheck/femur_nnunet
	ln -s $(CURDIR)/femur_nnunet/* build/typecheck/femur_nnunet/
	ln -s $(CURDIR)/planners $(CURDIR)/trainers $(CURDIR)/dataset_conversion $(CURDIR)/evaluation \
	  build/typecheck/femur_nnunet/
	cd build/typecheck && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml \
	  --cache-dir $(CURDIR)/.mypy_cache -p femur_nnunet

# The wheel is built from the unpacked source archive, so that nothing left in build/ gets into it.
dist: $(DEV_STAMP)
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

docs: $(DOCS_STAMP)
	rm -rf build/site
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/site

reference: $(STAMP)
	$(BIN)/python docs/scripts/write_reference.py
	$(BIN)/python docs/scripts/draw_architecture.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis $(DEMO_DIR)
