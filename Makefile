# Two words to know: `make demo` and `make test`. The rest is in `make help`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help deps deps-demo configure build demo test bench bench-train bench-convex arena clean

JOBS ?= $(shell nproc)
BUILD := build/release
PROGRAMS := laconic laconic-server laconic-worker laconic-trainer

help:
	@printf '%s\n' \
	  'make demo    install what is missing, build, train Fashion-MNIST with 4 workers' \
	  'make test    install what is missing, build everything, run all tests' \
	  'make deps    only install what is missing (deploy/packages.txt says what and why)' \
	  'make build   only build the programs, into $(BUILD)/bin/' \
	  'make bench   codecs, all-reduces and training, minutes; numbers into bench/results/' \
	  'make arena  one work by many methods (WORK=byte_gpt SEEDS=1,2,3); hours, goes on where it was' \
	  'make clean   remove build/ and runs/' \
	  '' \
	  'JOBS=N sets how many compilers and tests run at once (now $(JOBS)).'

deps:
	@deploy/install_packages.sh build torch run test

deps-demo:
	@deploy/install_packages.sh build torch run

configure:
	@cmake --preset release $(if $(wildcard $(BUILD)/build.ninja),>/dev/null,)

build: deps-demo
	@$(MAKE) --no-print-directory configure
	cmake --build --preset release --parallel $(JOBS) --target $(PROGRAMS)

demo: build
	$(BUILD)/bin/laconic run -f examples/fashion_mnist.yaml --out runs/demo

test: deps
	@$(MAKE) --no-print-directory configure
	cmake --build --preset release --parallel $(JOBS)
	ctest --preset release --parallel $(JOBS)

bench: deps
	@$(MAKE) --no-print-directory configure
	cmake --build --preset release --parallel $(JOBS) --target $(PROGRAMS) codec_bench all_reduce_bench transport_bench
	$(BUILD)/bin/codec_bench --json bench/results/codec.json
	$(BUILD)/bin/transport_bench --json bench/results/transport.json
	$(BUILD)/bin/all_reduce_bench --json bench/results/all_reduce.json
	$(BUILD)/bin/all_reduce_bench --ranks 2,4,8,16 --elements 1048576 --repetitions 3 \
	  --methods int8,int4 --json bench/results/all_reduce_worlds.json
	$(BUILD)/bin/all_reduce_bench --ranks 8 --repetitions 3 --proxy 100mbit --delay-ms 20 \
	  --methods int4,top1pct,planned --json bench/results/all_reduce_100mbit_20ms.json
	if [[ $$(id -u) == 0 ]]; then \
	  for rate in 1gbit 100mbit; do \
	    $(BUILD)/bin/all_reduce_bench --namespaces $$rate --repetitions 3 --json bench/results/all_reduce_$$rate.json; \
	  done; \
	else echo 'not root: all_reduce_bench --namespaces is left out'; fi
	$(MAKE) --no-print-directory bench-train bench-convex

bench-train: build
	bench/train_compare.py --bin $(BUILD)/bin --out bench/results/train_compare.json \
	  --baseline examples/fashion_mnist_dense.yaml \
	  --vary spec.train.optimizer.adamw.learning_rate=1e-3,3e-3,5e-3 examples/fashion_mnist.yaml

WORK ?= byte_gpt
SEEDS ?= 1,2,3
arena: build
	@deploy/install_packages.sh run arena
	bench/train/arena.py --bin $(BUILD)/bin --work $(WORK) --seeds $(SEEDS) --out bench/results/arena_$(WORK).json

bench-convex: deps
	@$(MAKE) --no-print-directory configure
	cmake --build --preset release --parallel $(JOBS) --target convex_bench
	$(BUILD)/bin/convex_bench --json bench/results/convex.json

clean:
	rm -rf build runs
