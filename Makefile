# `make demo` indexes a sample film, `make test` runs the quick checks; both create .venv first.
# `make docs` writes docs/tables.md again, `make clean` removes everything that make created.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

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

$(VENV)/.installed: $(VENV)/.python pyproject.toml constraints.txt
	@echo "installing into $(VENV): takes some minutes and about 2.8 GB, more with CUDA"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.python pyproject.toml constraints.txt
	@echo "installing into $(VENV): takes some minutes and about 2.9 GB, more with CUDA"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
