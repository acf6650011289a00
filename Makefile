# `make help` lists what there is. Every target makes its own environment when it is missing or out
# of date. Variables go to `python -m lib` through the environment; lib/__main__.py checks them.

READ := PROFILE PROTOCOL SEEDS METHODS BACKBONES TRAIN_SHARES JOBS DEVICE DEVICES PRECISION SEWERML_ROOT LABELS IMAGES
READ += RUN OUT FOLDER FORCE SCAN YES TRAIN VAL CLUSTER PARTITION TIME WORKSPACE
export $(READ)

# A variable that nothing reads would be ignored without a word; those of other programs pass.
OTHERS := ARTEFACT ID NB ARGS PART PYTHON TORCH_BACKEND SBATCH_% SLURM_% CUDA_% OMP_% MKL_% UV_% PIP_% PYTEST_% PYTHON% SHELL TMPDIR
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
UNKNOWN := $(firstword $(filter-out $(READ) $(OTHERS),$(GIVEN)))
ifneq ($(UNKNOWN),)
$(error unknown variable $(UNKNOWN): `make help` lists those that are read, in capitals)
endif

# Text is UTF-8, in and out, whatever the locale.
export PYTHONUTF8 := 1

ARTEFACTS := table1 table2 table3 table4 table5 fig1 fig2 fig3 fig4 fig5 fig6 fig7 fig8 fig9 fig10 claims protocol classes detectors detectors-shares detectors-gallery labelfree walkthrough

define HELP
Replicate
  make replicate      train what is missing, render every table and figure, write the report
  make fig2           one table or figure: its missing runs, its notebook; also table1 to table5,
                      fig1 to fig10, claims, protocol, classes, detectors,
                      detectors-shares, detectors-gallery, labelfree, walkthrough
  make redraw         tables and figures without training: from runs made here, else from the
                      committed reference; ARTEFACT=fig2 for one
  make report         web pages of everything that was rendered

Explore
  make run            one training: ID=simclr-resnet18-d45-s42
  make explain        which runs are complete, missing or stale, and why
  make estimate       hours, disk and memory of the missing runs, from a short timing run: ARTEFACT, ID
  make notebook       any notebook: NB=train_one ARGS="-p method simclr"
  make lab            JupyterLab on the walkthrough, or NB=train_one; ARGS="--no-browser --port 8890"
  make predict        scores of your images: IMAGES=folder OUT=csv RUN=simclr-resnet18-d45-s42
                      PROFILE=walkthrough (a committed network), or a run trained here

Real data
  make data           draw or check the images, and decode them once
  make labels         the table of labels of images in folders (good, scratch, ...): FOLDER=folder
                      OUT=csv
  make solar          install the photographs of PROFILE=solar (90 MB, CC BY-NC-SA 4.0)
  make data-check     compare the data found with the data expected; SCAN=1 decodes every image
  make archive        simulated frames in the layout of Sewer-ML's archive: SEWERML_ROOT=folder TRAIN=440 VAL=200

Maintain
  make test           lint, then all tests, with the smoke replication
  make lint           style, imports between rooms, dependencies
  make reference      renew results/reference, figures/ and the numbers in the docs
  make docs           renew the numbers in README and docs/ from the reference alone
  make compare        compare the runs made here with the reference and its spread over seeds
  make simulator      measure the criteria by which the simulated frames were fixed
  make benchmark      speed compared with other libraries: PART=input, views, steps, grid,
                      evaluation, redraw, cache (what views lose to it)
  make mutations      break one rule of the protocol at a time; each time a test must fail
  make lock           renew requirements.txt from pyproject.toml
  make clean          delete build/: reports, executed notebooks, runs of train_one,
                      predictions; data, runs and figures stay

Variables
  PROFILE=smoke|mini|solar|gpu|paper|rehearsal|own|walkthrough    PROTOCOL=clean|paper
  METHODS=simclr,byol    BACKBONES=resnet18    TRAIN_SHARES=0.05,0.45    SEEDS=42,43
  JOBS=2 (runs at a time)    FORCE=1    YES=1
  DEVICE=cpu|cuda    DEVICES=2 (for each run)    PRECISION=32-true|bf16-mixed|16-mixed
  SEWERML_ROOT=folder    LABELS=csv    IMAGES=folder    WORKSPACE=folder (for all that is written)
  CLUSTER=slurm PARTITION=gpu TIME=240 (minutes a job), and sbatch's own, SBATCH_ACCOUNT=lab ...
  PYTHON=python (the active environment)    TORCH_BACKEND=cpu (remembered in .venv; pypi undoes it)
endef
export HELP

# PYTHON=python uses the active environment (conda); else .venv, remade when the text of the lock or
# of pyproject changes, or another TORCH_BACKEND is named than the one that .venv remembers.
PY := $(or $(PYTHON),.venv/bin/python)
BACKEND := $(or $(TORCH_BACKEND),$(shell cat .venv/.backend 2>/dev/null),pypi)
LOCKED := .venv/.locked-$(shell cat requirements.txt pyproject.toml | cksum | cut -d ' ' -f 1)-$(BACKEND)
ENV := $(if $(PYTHON),,$(LOCKED))
# PROFILE=solar reads a package, which is installed when this profile is first asked for.
ifeq ($(PROFILE)$(wildcard .venv/lib/python*/site-packages/elpv_dataset),solar)
ENV += $(if $(PYTHON),,solar)
endif

# The git filter of notebooks: of what JupyterLab saves, only cells and their tags are committed.
FILTER := $(PY) -m nbstripout --keep-id --extra-keys "metadata.widgets metadata.papermill metadata.language_info.version metadata.language_info.codemirror_mode metadata.language_info.file_extension metadata.language_info.mimetype metadata.language_info.nbconvert_exporter metadata.language_info.pygments_lexer cell.metadata.papermill cell.metadata.execution cell.metadata.editable cell.metadata.deletable cell.metadata.slideshow cell.metadata.jupyter cell.metadata.jp-MarkdownHeadingCollapsed cell.metadata.vscode"

.DEFAULT_GOAL := help
TARGETS := help solar replicate $(ARTEFACTS) redraw report run explain estimate notebook lab predict data data-check labels archive test lint reference docs compare simulator benchmark mutations lock clean
.PHONY: $(TARGETS)

# A target that does not exist: the nearest one is named.
.DEFAULT:
	@python3 -c 'import difflib, sys; near = difflib.get_close_matches(sys.argv[1], sys.argv[2:], 1, 0); print(f"error: there is no `make {sys.argv[1]}`: did you mean `make {near[0]}`? `make help` lists every command.", file=sys.stderr); sys.exit(2)' '$@' $(TARGETS)

help:
	@echo "$$HELP"

# Replicate

replicate report: $(ENV)
	$(PY) -m lib $@

$(ARTEFACTS): $(ENV)
	$(PY) -m lib replicate $@

redraw: $(ENV)
	$(PY) -m lib render $(ARTEFACT)

# Explore

run: $(ENV)
	@test -n "$(ID)" || { echo "error: which run? make run ID=simclr-resnet18-d45-s42" >&2; exit 2; }
	$(PY) -m lib run --id $(ID)

explain estimate: $(ENV)
	$(PY) -m lib $@ $(ARTEFACT) $(if $(ID),--id $(ID))

notebook: $(ENV)
	@test -n "$(NB)" || { echo "error: which notebook? make notebook NB=table1" >&2; exit 2; }
	$(PY) -m lib notebook $(NB) $(ARGS)

# JupyterLab asks nothing about news, and its kernels scroll to an error: lib/publish/lab.
# One thread, as when make renders: the small products of drawing are slower on several.
lab: $(ENV)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} MKL_NUM_THREADS=$${MKL_NUM_THREADS:-1} \
		JUPYTER_CONFIG_PATH="$(CURDIR)/lib/publish/lab$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
		PYTHONSTARTUP="$(CURDIR)/lib/publish/lab/show_errors.py" \
		exec $(PY) -m jupyter lab notebooks/$(or $(NB),walkthrough).ipynb $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

# Real data, drawn data, and images of your own

predict data data-check labels archive: $(ENV)
	$(PY) -m lib $@

# Maintain

test: lint
	$(PY) -m pytest --numprocesses 2 --dist loadfile

lint: $(ENV)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(patsubst %python,%lint-imports,$(PY))
	$(PY) -m deptry .

reference: $(ENV)
	$(PY) -m lib reference
	$(PY) -m lib docs

docs compare: $(ENV)
	$(PY) -m lib $@

simulator mutations: $(ENV)
	$(PY) -m benchmarks.$@

benchmark: $(ENV)
	$(PY) -m benchmarks.speed $(PART)

lock: $(ENV)
	$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate \
		--custom-compile-command "make lock" pyproject.toml --output-file requirements.txt

clean:
	rm -rf build .pytest_cache .ruff_cache

solar: $(LOCKED)
	@echo "PROFILE=solar reads ELPV, 2,624 photographs of solar cells: elpv-dataset is installed, 90 MB, images CC BY-NC-SA 4.0, code Apache-2.0."
	@.venv/bin/python -m uv pip install --quiet --python .venv/bin/python -r pyproject.toml --extra solar || \
		{ echo "error: elpv-dataset was not installed. Where no package index can be reached, fetch its wheel elsewhere, and install it: .venv/bin/python -m uv pip install --python .venv/bin/python elpv_dataset-1.0.0.post1-py3-none-any.whl" >&2; exit 2; }

# CPU wheels do without the CUDA libraries, which the lock holds for Linux.
$(LOCKED):
	@python3 -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"error: Python 3.11 or newer is needed, python3 is {v[0]}.{v[1]}.")'
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet $(shell grep '^uv==' requirements.txt)
	grep -vE '$(if $(filter cpu,$(BACKEND)),^(nvidia|cuda|triton)-?,^$$)' requirements.txt > .venv/requirements.txt
	.venv/bin/python -m uv pip install --compile-bytecode --python .venv/bin/python -r .venv/requirements.txt $(if $(filter-out pypi,$(BACKEND)),--torch-backend $(BACKEND))
	.venv/bin/python -m uv pip install --python .venv/bin/python --no-deps -e .
	@git rev-parse --git-dir >/dev/null 2>&1 && git config filter.notebook.clean '$(FILTER)' || true
	@rm -f .venv/.locked-* && echo $(BACKEND) > .venv/.backend && touch $@
