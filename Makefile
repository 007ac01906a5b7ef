# Two commands do everything: `make repro` (the whole pipeline) and `make test` (the test suite).
# Both fetch uv when it is missing and let it install the locked environment into .venv.

UV := $(shell command -v uv 2>/dev/null)
ifeq ($(UV),)
UV := .uv/bin/uv
endif
PYTHON ?= python3
# Stages at a time; empty: one per GPU, or per core. `make repro JOBS=1` is a plain `dvc repro`.
JOBS ?=
# Trainings of everything, this one included, that `make seeds` tells a difference from chance by.
N ?= 3

.PHONY: repro seeds test slow check clean

repro: $(UV)
ifeq ($(JOBS),1)
	$(UV) run dvc repro
else
	$(UV) run python -m deepcompress.repro $(if $(JOBS),-j $(JOBS))
endif

# The pipeline under further seeds, and the report with their verdicts.
seeds: $(UV)
	@test "$(N)" -ge 2 2>/dev/null || { echo "error: N must be a whole number of 2 or more, got '$(N)'" >&2; exit 2; }
	$(MAKE) repro
	$(UV) run python -m deepcompress.replicates --seeds $(N) $(if $(JOBS),-j $(JOBS))
	$(MAKE) repro

# One test process per core.
test: $(UV)
	$(UV) run pytest -n auto --dist loadfile

# Tests that take minutes: kills at random moments, experiments in a queue, several processes.
slow: $(UV)
	$(UV) run pytest -m slow -n auto --dist loadfile

check: $(UV)
	$(UV) run ruff check .
	$(UV) run ruff format --check .
	$(UV) run mypy

# A private environment, because system Pythons refuse `pip install`; --target where they cannot make one.
.uv/bin/uv:
	$(PYTHON) -m venv .uv && .uv/bin/pip install --quiet uv \
	|| $(PYTHON) -m pip install --quiet --target .uv uv

clean:
	rm -rf .scratch .pytest_cache .mypy_cache .ruff_cache dvc_plots
