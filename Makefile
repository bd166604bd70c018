# The few verbs of this repository. `make test` on a fresh machine sets everything up first.
PYTHON ?= python3
BIN := .venv/bin
SAMPLES := build/samples

.PHONY: setup check test bench bench-quality demo kill rot questions replace mini clean

setup: .venv/setup.stamp

# Extras of the suite and the benchmarks. open_clip_torch brings torch and torchvision; there is no CPU build of
# torchvision, so these are the ordinary builds (5.5 GB), which work without a GPU.
.venv/setup.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --config-settings editable_mode=compat -e ".[cpu,clip,hf,st,hub,heic,pdf,video,plots,dev]"
	touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup
	$(BIN)/python -m pytest

bench: setup
	$(BIN)/python -m bench

# Holds `mini` to the figures of its model card, and the default question to its floors, on the shared data.
bench-quality: setup
	$(BIN)/python -m bench.quality
	$(BIN)/python -m bench.answers --part test --check

kill: setup
	$(BIN)/python -m tests.reliability.kill $(or $(N),10000) $(or $(SEED),1)

# Flips single bits of every file of a library: `check --read-data` must see each that changes anything.
rot: setup
	$(BIN)/python -m tests.reliability.harness.rot $(or $(N),1000) $(or $(SEED),1)

# Odd questions and options: none may make a library look damaged.
questions: setup
	MMSEARCH_QUESTIONS=$(or $(N),2000) $(BIN)/python -m pytest tests/reliability/test_questions.py

# Sequences of files replaced by folders, links and the like, after each of which the catalog must be the tree.
replace: setup
	$(BIN)/python -m tests.reliability.replace $(or $(N),1000) $(or $(SEED),1)

mini: setup
	$(BIN)/python -m pip install --quiet -e ".[train]"
	$(BIN)/python -m mmsearch.training.mini

# From nothing to answers: the smallest install, pictures that another package's wheel carries and sounds
# made by formulas, six questions.
demo: .venv/bin/mmsearch $(SAMPLES)/skimage
	PYTHONPATH=$(SAMPLES) $(BIN)/python data/make_samples.py ./media
	rm -rf demo-library
	$(BIN)/mmsearch --library demo-library index ./media
	data/ask.sh $(BIN)/mmsearch "a cat" cat
	data/ask.sh $(BIN)/mmsearch "a rocket" rocket
	data/ask.sh $(BIN)/mmsearch "一杯咖啡" coffee
	data/ask.sh $(BIN)/mmsearch "a dog barking" barking
	data/ask.sh $(BIN)/mmsearch "狗叫" barking
	data/ask.sh $(BIN)/mmsearch "rain" rain

.venv/bin/mmsearch:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet ".[cpu]"

$(SAMPLES)/skimage:
	$(BIN)/python -m pip install --quiet --no-deps --target $(SAMPLES) scikit-image

clean:
	rm -rf .venv build media demo-library
