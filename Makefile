# make demo      install, train mnist_cnn on the embedded digits, quantise it, prove that
#                five runtimes agree, attack and turn it, execute it on simulated machines,
#                every bit and cycle compared; then the TPU, the cost and the best of
#                millions of machines
#                (FULL=1: the full MNIST, prepared or downloaded)
# make test      install the test extra, run the whole suite (ARGS="-k loop" for a part)
# make figures   the long figures that the README quotes
# make bench     speed of training against PyTorch
# make bench-int8  speed of the integers against ONNX Runtime and LiteRT
# make bench-sim   speed of the simulated arrays against SCALE-Sim
# make bench-sweep  designs a second of a sweep
# make bench-attack image-steps a second of attacks against those of training
# make lint      ruff
#
# PYTHON=/path/to/python3.12 picks the interpreter; the environment is rebuilt for it.

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python

.PHONY: demo test figures bench bench-int8 bench-sim bench-sweep bench-attack lint clean FORCE

demo: $(VENV)/.installed
	$(RUN) -m train --config mnist_cnn --run runs/demo --overwrite \
	  --data.source $(if $(FULL),auto,embedded)
	$(RUN) -m quant --run runs/demo --overwrite
	$(RUN) -m quant probe --run runs/demo --overwrite --quick --models float int8 \
	  --sections attacks angles grid --eps 0.1
	$(RUN) -m accel compare --run runs/demo --overwrite
	$(RUN) -m accel verify --run runs/demo --rows 16 --cols 16 --images 100 --overwrite
	$(RUN) -m accel tpu --run runs/demo --overwrite
	$(RUN) -m accel cost --run runs/demo --out runs/demo/accel/cost --overwrite
	$(RUN) -m accel sweep --run runs/demo --overwrite

test: $(VENV)/.installed-test
	$(RUN) -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

figures: $(VENV)/.installed
	$(RUN) -m benchmarks.figures $(ARGS)

bench: $(VENV)/.installed-bench
	$(RUN) -m benchmarks.train_speed $(ARGS)

bench-int8: $(VENV)/.installed
	$(RUN) -m benchmarks.int8_speed $(ARGS)

bench-sim: $(VENV)/.installed
	$(RUN) -m benchmarks.sim_speed $(ARGS)

bench-sweep: $(VENV)/.installed
	$(RUN) -m benchmarks.sweep_speed $(ARGS)

bench-attack: $(VENV)/.installed
	$(RUN) -m benchmarks.attack_speed $(ARGS)

lint: $(VENV)/.installed-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/.installed: pyproject.toml $(VENV)/.interpreter
	$(RUN) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-%: pyproject.toml $(VENV)/.interpreter
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@ $(VENV)/.installed

# Rebuilds the environment if it is of another interpreter than PYTHON.
$(VENV)/.interpreter: FORCE
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"'
	@wanted="$$($(PYTHON) -c 'import sys; print(sys.version, sys.base_prefix)')"; \
	if [ "$$wanted" != "$$(cat $@ 2>/dev/null)" ]; then \
	  echo "Creating $(VENV) with $$($(PYTHON) --version)"; \
	  rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) && echo "$$wanted" > $@; \
	fi
FORCE:
