PYTHON ?= python3

build:
	python setup.py build_ext --inplace

.PHONY: build
