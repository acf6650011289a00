# `make help` lists what there is. Every target makes its own environment when it is missing or out of date.

PROFILE ?= mini
JOBS ?=
export PROFILE PROTOCOL SEEDS METHODS JOBS DEVICE DEVICES SEWERML_ROOT LABELS IMAGES RUN OUT FORCE SCAN YES TRAIN VAL CLUSTER PARTITION TIME

ARTEFACTS := table1 table2 table3 table4 table5 fig1 fig2 fig3 fig4 fig5 fig6 fig7 fig8 fig9 fig10 claims protocol classes detectors detectors-unlabelled detectors-shares detectors-gallery labelfree walkthrough

# PYTHON=python uses the active environment (conda); else .venv, remade when the text of the lock or of pyproject changes.
PY := $(or $(PYTHON),.venv/bin/python)
LOCKED := .venv/.locked-$(shell cat requirements.txt pyproject.toml | cksum | cut -d ' ' -f 1)-$(or $(TORCH_BACKEND),pypi)
ENV := $(if $(PYTHON),,$(LOCKED))

.DEFAULT_GOAL := help
.PHONY: help replicate test $(ARTEFACTS) run estimate archive explain data data-check notebook lab redraw report predict reference docs compare simulator benchmark mutations lint lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[^\t#].*:.*## / { sub(/\$$\(ARTEFACTS\)/, "$(ARTEFACTS)", $$1); printf "  %-36s %s\n", $$1, $$2 }' Makefile
	@echo; echo "  Variables: PROFILE=smoke|mini|gpu|paper|rehearsal|own|walkthrough PROTOCOL=clean|paper SEEDS=42,43 METHODS=simclr,byol"
	@echo "             ID=run RUN=run NB=notebook ARGS=\"-p name value\" ARTEFACT=fig2 LABELS=csv IMAGES=folder OUT=csv"
	@echo "             SEWERML_ROOT=folder JOBS=2 DEVICE=cpu DEVICES=2 FORCE=1 YES=1 WORKSPACE=folder PYTHON=python TORCH_BACKEND=cpu"
	@echo "             CLUSTER=slurm PARTITION=gpu TIME=240 (minutes a job) and sbatch's own, SBATCH_ACCOUNT=lab and others"

replicate: $(ENV)  ## train what is missing, render every table and figure, write the report
	$(PY) -m lib.scheduling.plan run
	$(PY) -m lib.scheduling.measuring
	$(PY) -m lib.publish.notebooks render || failed=1; $(PY) -m lib.publish.pages && test -z "$$failed"

test: $(ENV)  ## every test, the smoke replication included
	$(PY) -m pytest --numprocesses 2 --dist loadfile

$(ARTEFACTS): $(ENV)  ## that table or figure alone: its missing runs, its notebook
	$(PY) -m lib.scheduling.plan run $@
	$(PY) -m lib.scheduling.measuring $@
	$(PY) -m lib.publish.notebooks render $@

redraw: $(ENV)  ## tables and figures without training: from runs made here, else from the committed reference
	$(PY) -m lib.publish.notebooks render $(ARTEFACT)

report: $(ENV)  ## what was rendered, on pages that open from disk: build/<profile>/report/index.html
	$(PY) -m lib.publish.pages

run: $(ENV)  ## one training: make run ID=simclr-resnet18-d45-s42
	@test -n "$(ID)" || { echo "error: which run? make run ID=simclr-resnet18-d45-s42" >&2; exit 2; }
	$(PY) -m lib.scheduling.plan run --id $(ID)

estimate: $(ENV)  ## hours, disk and memory that the missing runs will take here, from a short probe; trains nothing
	$(PY) -m lib.scheduling.plan estimate $(ARTEFACT) $(if $(ID),--id $(ID))

archive: $(ENV)  ## simulated frames laid out as Sewer-ML's archive, zips included: SEWERML_ROOT=new folder TRAIN=440 VAL=200
	$(PY) -m lib.data.archive

explain: $(ENV)  ## which runs are complete, missing or stale, and why
	$(PY) -m lib.scheduling.plan explain

data: $(ENV)  ## draw or check the images and decode them once
	$(PY) -m lib.scheduling.plan data

data-check: $(ENV)  ## what data are there against what is expected; SCAN=1 decodes every image, too
	PROFILE=$(if $(filter file,$(origin PROFILE)),,$(PROFILE)) $(PY) -m lib.data.check

notebook: $(ENV)  ## any notebook: make notebook NB=train_one ARGS="-p method simclr"
	@test -n "$(NB)" || { echo "error: which notebook? make notebook NB=table1" >&2; exit 2; }
	$(PY) -m lib.publish.notebooks run $(NB) -p profile $(PROFILE) $(ARGS)

predict: $(ENV)  ## scores of your images: make predict IMAGES=folder RUN=simclr-resnet18-d45-s42 OUT=scores.csv
	$(PY) -m lib.training.predict

lab: $(ENV)  ## JupyterLab on the notebooks
	$(PY) -m jupyter lab notebooks

reference: $(ENV)  ## renew results/reference, figures/ and the documentation's numbers from complete mini runs
	$(PY) -m lib.publish.reference
	$(PY) -m lib.publish.docs

docs: $(ENV)  ## renew the generated pages of docs/ and parts of the READMEs from the committed reference
	$(PY) -m lib.publish.docs

compare: $(ENV)  ## hold the mini runs made here against the committed reference
	$(PY) -m lib.publish.reference compare

simulator: $(ENV)  ## measure the criteria on which the simulated frames were frozen
	$(PY) -m benchmarks.simulator

benchmark: $(ENV)  ## how fast this is beside what one would use instead: PART=input, steps, grid, evaluation or redraw
	$(PY) -m benchmarks.speed $(PART)

mutations: $(ENV)  ## break facts of the protocol one by one, in a copy, and see a test fail each time
	$(PY) -m benchmarks.mutations

lint: $(ENV)  ## ruff on modules, tests and notebooks
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

lock: $(ENV)  ## renew requirements.txt from pyproject.toml
	$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate \
		--custom-compile-command "make lock" pyproject.toml --output-file requirements.txt

clean:  ## drop executed notebooks and caches; data and runs stay
	rm -rf build .pytest_cache .ruff_cache

# CPU wheels do without the CUDA libraries, which the lock holds for Linux.
$(LOCKED):
	@python3 -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"error: Python 3.11 or newer is needed, python3 is {v[0]}.{v[1]}.")'
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet $(shell grep '^uv==' requirements.txt)
	grep -vE '$(if $(filter cpu,$(TORCH_BACKEND)),^(nvidia|cuda|triton)-?,^$$)' requirements.txt > .venv/requirements.txt
	.venv/bin/python -m uv pip install --compile-bytecode --python .venv/bin/python -r .venv/requirements.txt $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND))
	.venv/bin/python -m uv pip install --python .venv/bin/python --no-deps -e .
	@git rev-parse --git-dir >/dev/null 2>&1 && git config filter.notebook.clean '$(PY) -m lib.publish.notebooks strip' || true
	@rm -f .venv/.locked-* && touch $@
