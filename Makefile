# `make demo` indexes a sample film, `make test` runs the quick checks; both create .venv first.
# `make docs` writes docs/tables.md again, `make clean` removes everything that make created.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
LOCKS := $(wildcard requirements/lock*.txt)
TORCH ?=

.PHONY: demo test docs clean

demo: $(VENV)/.installed
	$(BIN)/vcn sample $(DEMO)
	$(BIN)/vcn index $(DEMO)/sample.mp4 --output $(DEMO)/out
	$(BIN)/vcn evaluate $(DEMO)/out --labels $(DEMO)/labels.csv
	$(BIN)/vcn report $(DEMO)/out

test: $(VENV)/.installed-test
	scripts/check

docs: $(VENV)/.installed
	$(BIN)/python scripts/tables_doc > docs/tables.md

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make needs Python 3.11 or newer; name one: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# What runs is installed with the versions and hashes of requirements/, so that a demo next year is
# the demo of today. TORCH=cpu or TORCH=cuda chooses a build of torch.
$(VENV)/.installed: $(VENV)/.python pyproject.toml $(LOCKS)
	@echo "installing into $(VENV): takes some minutes and about 2.8 GB, more with CUDA"
	scripts/install_locked $(BIN)/python $(TORCH)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint cluster_configs/constraints.txt \
	  --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
