# What one can do here. `make` builds; `make demo` shows it.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# Static programs: domains have an empty root, without libraries.
export CGO_ENABLED := 0

# Only what needs root gets it; building never does.
SUDO     := $(if $(filter 0,$(shell id -u)),,sudo env "PATH=$$PATH")
PROGRAMS := ward wardd ward-names
FUZZTIME ?= 30s

# Where `make install` puts things. With DESTDIR, as packages do it, it needs no root.
PREFIX  ?= /usr
DESTDIR ?=

.PHONY: build install demo test bench lint redteam difftest mutate kills fuzz vm-test generate clean help

build: ## bin/ward, bin/wardd and bin/ward-names
	@mkdir -p bin
	go build -trimpath -o bin/ $(addprefix ./cmd/,$(PROGRAMS))

install: build ## the programs, the systemd unit and bash completion, below DESTDIR and PREFIX (/usr) (root, or through sudo)
	$(if $(DESTDIR),,$(SUDO)) install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/lib/systemd/system" "$(DESTDIR)$(PREFIX)/share/bash-completion/completions"
	$(if $(DESTDIR),,$(SUDO)) install -m 755 $(addprefix bin/,$(PROGRAMS)) "$(DESTDIR)$(PREFIX)/bin"
	@mkdir -p build
	sed 's,/usr/bin/ward,$(PREFIX)/bin/ward,' contrib/systemd/ward@.service >build/ward@.service
	bin/ward completion bash >build/ward.bash
	$(if $(DESTDIR),,$(SUDO)) install -m 644 build/ward@.service "$(DESTDIR)$(PREFIX)/lib/systemd/system/ward@.service"
	$(if $(DESTDIR),,$(SUDO)) install -m 644 build/ward.bash "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/ward"

demo: build ## the picture example, told as it happens (root, or through sudo)
	$(SUDO) bin/ward up examples/picture --until-done

test: build lint ## all tests; those that need root are skipped without it
	go test -json -timeout 8m ./... | go run ./internal/testreport

bench: build ## calls, filters, spawning, starting, reloading and compiling, in one run (root, or through sudo)
	$(SUDO) bin/ward bench call
	$(SUDO) bin/ward bench filter
	$(SUDO) bin/ward bench spawn
	$(SUDO) bin/ward bench up
	$(SUDO) bin/ward bench reload
	bin/ward bench compile

lint: ## formatting and vet
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted; run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	go vet ./...

redteam: ## the escape suite: attacks from inside a domain, each with its control; writes docs/redteam.md (root, or through sudo)
	@mkdir -p build
	go test -c -o build/redteam.test ./redteam
	cd redteam && $(SUDO) ../build/redteam.test -test.v -update -test.run "^TestAttackTable$$" | grep -E '^(---|    --- |        --- (FAIL|SKIP)|ok|PASS|FAIL|panic)|not shown'
	go test ./redteam

# Go minimizes what it finds interesting for up to a minute, which looks like a hang: once is enough.
difftest: ## the kernel, Go and Cedar on WARD_DIFF_MESSAGES (200000) random messages (root, or through sudo)
	@mkdir -p build
	go test -c -o build/difftest.test ./difftest
	$(SUDO) WARD_DIFF_MESSAGES=$${WARD_DIFF_MESSAGES:-200000} WARD_DIFF_SEED=$${WARD_DIFF_SEED:-} build/difftest.test -test.v -test.timeout 0 -test.run "^TestDifferential$$"

mutate: ## break the compiler and the filter in many ways: the tests must catch each (root, or through sudo; half an hour)
	$(SUDO) go run ./internal/mutate -table docs/mutations.md

kills: ## kill processes of a running system under load, WARD_KILLS (500) times (root, or through sudo)
	@mkdir -p build
	go test -c -o build/wardd.test ./cmd/wardd
	cd cmd/wardd && $(SUDO) WARD_KILLS=$${WARD_KILLS:-500} ../../build/wardd.test -test.v -test.timeout 0 -test.run '^TestKills$$'

fuzz: ## every fuzz target for FUZZTIME (30s); those of the kernel as root
	packages=$$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); \
	for package in $$packages; do \
		targets=$$(go test -list '^Fuzz' ./$$package); \
		for target in $$(grep '^Fuzz' <<<"$$targets"); do \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x ./$$package; \
		done; \
	done
	@[ "$$(id -u)" = 0 ] || echo "not root: the targets of kernel/, which load filters, were skipped"

vm-test: ## the demo and the kernel's tests in a QEMU guest with Linux 6.1
	go run ./vm

generate: ## Go code of .proto files, BPF objects, documents
	go generate ./...

clean: ## what was built here
	rm -rf bin build

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12
