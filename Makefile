# make demo   install and make a video on this machine, no GPU needed
# make test   install and run every test
# make check  ruff, mypy and the tests, as CI does
# make constraints  the versions in constraints.trt.txt anew; needs an index that has TensorRT

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# The GPU build of ONNX Runtime, beside the CPU's: tests run its CUDA provider without a GPU.
PROVIDER := build/onnxruntime-gpu

.PHONY: demo test check lint proto constraints clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[export,calibration,server,demo,dev]'
	touch $@

# Where there is no such build, or no network, its tests are skipped; the next make tries again.
$(PROVIDER)/.installed: $(VENV)/.installed
	rm -rf $(PROVIDER)
	version=$$($(BIN)/python -c 'import onnxruntime; print(onnxruntime.__version__)'); \
	if $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --target $(PROVIDER) onnxruntime-gpu==$$version; then touch $@; \
	else echo "no onnxruntime-gpu: its tests are skipped"; fi

demo: $(VENV)/.installed
	$(BIN)/python benchmarks/demo.py --out demo

# A process a core, each with one thread: processes of several threads would fight for the cores.
# The tests end with a process that dies, as one does that hangs: it would be started again for ever.
test: $(VENV)/.installed $(PROVIDER)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --dist loadscope \
	  --timeout 600 --timeout-method thread --max-worker-restart 0

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH=$(BIN):$$PATH $(BIN)/mypy -p wan_trt.engine -p wan_trt.media -p wan_trt.preprocess \
	  -p wan_trt.export -p wan_trt.calibration -p wan_trt.plan -p wan_trt.doctor \
	  -p wan_trt.server -p wan_trt.cli
	$(BIN)/mypy tests benchmarks

check: lint test

proto: $(VENV)/.installed
	$(BIN)/python server/proto/generate.py

constraints:
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --upgrade '.[server,cuda,trt]' setuptools
	{ sed -n '/^#/p' constraints.trt.txt; build/constraints/bin/python -m pip list --format=freeze \
	  --exclude wan-trt --exclude pip; } > build/constraints.trt.txt
	mv build/constraints.trt.txt constraints.trt.txt

clean:
	rm -rf $(VENV) build dist demo .mypy_cache .pytest_cache .ruff_cache
