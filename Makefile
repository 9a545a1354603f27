# Run `make` for the list of targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build test lint bench soak faults demo clean

export PATH := $(CURDIR)/.cache/bin:$(PATH)

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -X github.com/mpipe/mpipe/cli.version=$(VERSION)

# Packages whose goroutines share Go memory; what is shared through mapped
# memory the race detector does not see.
RACE := ./ring/... ./pipeline ./pipeline/graph/... ./pipeline/feed/... ./elements/... ./cli/... ./upload ./hls

# One package at a time: several tests measure time, and machines have few cores.
TEST := go test -p 1 -timeout 30m

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install what is missing (Debian 12); does nothing when all is there
	@scripts/setup

build: setup ## build bin/mpipe
	@[ -x bin/mpipe ] || echo "building mpipe; the first time this takes minutes, as the binding to GStreamer is compiled too"
	go build -ldflags '$(LDFLAGS)' -o bin/mpipe ./cmd/mpipe

test: setup lint ## lint, then all tests: with the race detector where it applies, then plainly
	$(TEST) -race -short $(RACE)
	@$(TEST) ./...

lint: setup ## gofmt, go vet, staticcheck
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt wants changes in:"; echo "$$out"; exit 1; fi
	go vet ./...
	@if command -v staticcheck >/dev/null; then echo staticcheck ./...; staticcheck ./...; \
	else echo "staticcheck is not installed: left out"; fi

bench: setup ## run the benchmarks, and print what the ring promises beside what it does
	go test -p 1 -run '^$$' -bench . -benchmem -timeout 60m ./...

# As long as you like: make soak SOAK=3h
SOAK ?= 2m

soak: setup ## run the ring for SOAK=2m with processes that die, and account for every frame
	MPIPE_SOAK=$(SOAK) go test -run '^TestSoak$$' -v -count=1 -timeout 0 ./ring

# What make test plays for seconds, at length.
KILLS ?= 100

faults: setup ## play every fault against a file, a stream and an object, and kill KILLS=100 times
	MPIPE_KILLS=$(KILLS) MPIPE_OUTAGE=60s MPIPE_RECORD=30m MPIPE_MINUTES=5 go test -run '^(TestFaultMatrix|TestMemoryStaysFlat|TestThreeOutputs)$$' -v -count=1 -timeout 0 ./test/e2e

demo: build ## record a page in a headless Chromium into out/demo.mp4, or a test pattern without one
	@scripts/demo

clean: ## remove what was built and recorded
	rm -rf bin out
