# `make demo` and `make test` are all a new user needs; each makes .venv first if it is not there.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
SEEDS ?= 1
CASES ?= 2000
SEED ?= 0
# Each process of tests, and each that they start, would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo compare test check format lint types tests test-slow test-trt test-storage fuzz networks web docs clean

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(STAMP)  ## train, prune, export and measure a ResNet-20 on real handwritten digits
	$(BIN)/edgeprune train-prune --target latency=0.5 --plan-seconds 60
	$(BIN)/edgeprune export
	$(BIN)/edgeprune bench

compare: $(STAMP)  ## every method on handwritten digits, from one small ResNet; SEEDS=3 for spreads
	$(BIN)/edgeprune compare resnet8 --methods all --seeds $(SEEDS) --epochs 8 --seconds 1 \
		--out runs/compare-digits --force --json results/compare_digits.json
	$(BIN)/python benchmarks/tables.py

test: check  ## format, lint, types, tests

check: lint types tests

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

tests: $(STAMP)
	$(BIN)/pytest -m "not slow" -n 2 --dist worksteal

test-slow: $(STAMP)  ## every torchvision CNN, and accuracies on CIFAR-10 where it is at hand
	$(BIN)/pytest -m slow

fuzz: $(STAMP)  ## damaged files, folders and options against every command; CASE=17 repeats one
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m fuzz --cases $(CASES) --seed $(SEED) $(if $(CASE),--case $(CASE))

# Networks of other packages, which edgeprune itself does not need: in an environment of their own.
networks: $(STAMP)  ## which networks of timm, torchvision, Ultralytics, transformers, MONAI, smp are pruned exactly
	test -x .venv-networks/bin/python || $(PYTHON) -m venv .venv-networks
	.venv-networks/bin/python -m pip install --quiet --editable . timm ultralytics transformers monai \
		segmentation-models-pytorch einops pytorch_lightning pytest
	.venv-networks/bin/python benchmarks/networks.py torchvision segmentation detection timm hybrids \
		ultralytics transformers monai smp
	.venv-networks/bin/python benchmarks/ultralytics_training.py
	PYTHONPATH=tests .venv-networks/bin/python -m pytest tests/integrations

# TensorRT for RTX, which parses and builds without a GPU, in a folder of its own: engines of the tests' stand-ins stay theirs.
test-trt: $(STAMP)  ## NVIDIA's own parser and builder on every kind of file that export writes
	test -d .venv-trt || { $(BIN)/pip install --quiet --no-deps --target .venv-trt.part \
		tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings && mv .venv-trt.part .venv-trt; }
	PYTHONPATH=.venv-trt $(BIN)/pytest tests/trt/test_real_library.py -n 2

# Drivers in a folder of their own: the other tests see what a user without them sees.
test-storage: $(STAMP)  ## workers of search and compare over a real PostgreSQL and a real Redis, which the tests start
	test -d .venv-storage || { $(BIN)/pip install --quiet --target .venv-storage.part \
		'psycopg[binary]>=3.1' 'redis>=4.5' && mv .venv-storage.part .venv-storage; }
	PYTHONPATH=.venv-storage $(BIN)/pytest tests/servers -n 2 --dist loadgroup

# ONNX Runtime for browsers: a part of the wheel that the repository does not hold.
web: $(STAMP)  ## the files that the page of `bench --device browser` needs, by npm
	$(BIN)/python -m edgeprune.browser.web_files

docs:  ## the site, with links checked, in build/site; in an environment of its own
	test -x .venv-docs/bin/mkdocs || { $(PYTHON) -m venv .venv-docs && \
		.venv-docs/bin/python -m pip install --quiet mkdocs-material 'mkdocstrings[python]'; }
	.venv-docs/bin/mkdocs build --strict

clean:
	rm -rf .venv .venv-networks .venv-docs .venv-trt .venv-storage build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
