# make setup   what the tests need besides Go and Node
# make run     the example, on http://127.0.0.1:8080, with LiveKit beside it
# make test    everything that has to pass, see .ci/run
# make torture the torture test, for an hour
# make soak    half an hour of everything, and nothing may be left of it
# make bench   the same work for this server, for Node's and for others, as a table
# make bench-go, make fuzz, make fmt

GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOFUMPT       := go run mvdan.cc/gofumpt@v0.12.0
GOTESTSUM     := go run gotest.tools/gotestsum@v1.13.0
LIVEKIT       := $(shell sed -n 's/^const livekitServer = "\(.*\)"/\1/p' livekittest/main_test.go)
BENCHSTAT     := go run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

INPUTS    ?= 2000000
BENCH     ?= .
COUNT     ?= 6

BUILD     := $(CURDIR)/.build
# chromium-browser and google-chrome are the same thing under other names.
CHROMIUM  ?= $(firstword $(shell command -v chromium chromium-browser google-chrome))
MODULES   := $(sort $(dir $(shell find . -name node_modules -prune -o -name testdata -prune -o -name go.mod -print)))
GOFILES    = $(shell find . -name node_modules -prune -o -name testdata -prune -o -name '*.go' -print)
JSTESTS    = $(filter-out browser.test.mjs livekit.test.mjs,$(notdir $(wildcard e2e/*.test.mjs)))
BROWSER    = $(notdir $(wildcard e2e/browser.test.mjs))

each-of     = @set -e; for m in $(1); do echo "-- $$m"; (cd $$m && $(2)); done
each-module = $(call each-of,$(MODULES),$(1))

.PHONY: setup setup-example setup-e2e setup-client-js setup-bench setup-chromium setup-livekit run test
setup: setup-example setup-e2e setup-client-js setup-bench setup-chromium setup-livekit
setup-example: example/node_modules/.package-lock.json build-client-js
setup-e2e: e2e/node_modules/.package-lock.json
setup-client-js: clients/js/node_modules/.package-lock.json
setup-bench: bench/node/node_modules/.package-lock.json
setup-chromium:
	@.ci/chromium
setup-livekit: $(BUILD)/livekit/server
$(BUILD)/livekit/server:
	@echo "Building the LiveKit server: about a minute, the first time."
	GOBIN=$(@D) go install $(LIVEKIT)

%/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci --no-fund --no-audit
	@touch $@

# LiveKit may be elsewhere (LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET) or
# nowhere (make run ARGS=-no-livekit); without it calls are signalling alone.
run: setup-example
	$(if $(LIVEKIT_URL)$(findstring -no-livekit,$(ARGS)),,-@$(MAKE) --no-print-directory setup-livekit)
	cd example && go run . $(ARGS)

# Side by side is what leaves a core to others: it waits for networks, for people
# and for times to pass, or has one goroutine.
test:
	@MAKE="$(MAKE)" .ci/stages setup fmt-check lint+vet,cross race+race-torture,soak-short race-bridge+race-plain,model \
		build-example browser+livekit,client-js+e2e bench-once fuzz-short

.PHONY: fmt fmt-check vet lint cross race race-torture race-plain race-bridge model build-example build-client-js e2e client-js browser livekit
fmt:
	@$(GOFUMPT) -w $(GOFILES)

fmt-check:
	@left=$$($(GOFUMPT) -l $(GOFILES)); if [ -n "$$left" ]; then echo "not formatted, make fmt does it:"; echo "$$left"; exit 1; fi

vet:
	$(call each-module,go vet ./...)

lint:
	$(call each-module,$(GOLANGCI_LINT) run --allow-serial-runners --config $(CURDIR)/.golangci.yml ./...)

# Where there are files for some systems only, and what people run on theirs.
cross:
	@set -e; for m in . boltinbox example torture bench; do echo "-- $$m"; (cd $$m && GOOS=windows go vet ./...); done
	@set -e; for m in . example; do echo "-- $$m"; (cd $$m && GOOS=darwin go vet ./...); done

race:
	$(call each-of,$(filter-out %/torture/,$(MODULES)),$(GOTESTSUM) --format pkgname -- -race -shuffle=on -timeout 10m ./...)

race-torture:
	cd torture && $(GOTESTSUM) --format pkgname -- -race -shuffle=on -timeout 10m ./...

# What meets the network once more, on the path that connections take which are
# not plain TCP on Unix. The torture test takes both in turn.
race-plain: export HEYMANITO_TEST_PLAIN = 1
race-plain:
	$(GOTESTSUM) --format pkgname -- -race -shuffle=on -timeout 10m ./internal/engineio ./internal/socketio
	$(GOTESTSUM) --format pkgname -- -race -shuffle=on -timeout 10m -run 'Hazard|Abuse|Slow|Leak|Many|Story|Everything|WhileConnecting|InAStorm' .

# All of that once more with a bridge under every Server: whatever a client may
# expect is the same. What no client sees is left out. The race detector has what
# meets the network; in fake time it cannot have it (Go 1.26): it crashes when two
# timers of the library's that wait for nothing end in the same instant.
race-bridge: export GOWORK = $(CURDIR)/bridge/testdata/suite.work
race-bridge:
	$(GOTESTSUM) --format pkgname -- -shuffle=on -timeout 10m $(BRIDGED) -skip '^(TestMemory|TestCallModel|TestExamples|TestReadme|Fuzz|Example)' .
	$(GOTESTSUM) --format pkgname -- -race -shuffle=on -timeout 10m $(BRIDGED) -run 'Hazard[2456]|TestAbuseAnswers|Everything|InAStorm|TestDisconnectWhile|TestWire$$' .
BRIDGED := -overlay bridge/testdata/overlay.json

# Thousands of random calls, more than the race detector has the time for, and
# what it cannot count.
model:
	go test -run 'TestCallModel|TestMessageAllocs' -count=1 -timeout 10m . -callruns 3000

build-example:
	cd example && go build -race -o $(BUILD)/example .

e2e: setup-e2e build-example
	cd e2e && EXAMPLE_BIN=$(BUILD)/example node --test --test-reporter=spec --test-concurrency=3 $(JSTESTS)

# Once, and not while a browser reads it.
build-client-js: clients/js/dist/index.js
clients/js/dist/index.js: clients/js/node_modules/.package-lock.json clients/js/tsconfig.json $(wildcard clients/js/src/*.ts)
	cd clients/js && npm run --silent build
	@touch $@

# The typed client, with the real server.
client-js: setup-e2e build-client-js build-example
	cd clients/js && EXAMPLE_BIN=$(BUILD)/example node --test --test-reporter=spec --test-concurrency=3 test/*.test.mjs

browser: setup-example setup-e2e build-example
	@if [ -z "$(BROWSER)" ]; then echo "there are no browser tests"; exit 0; fi; \
	cd e2e && EXAMPLE_BIN=$(BUILD)/example CHROMIUM=$(CHROMIUM) node --test --test-reporter=spec $(BROWSER)

# Calls through the real LiveKit server, where nothing can leave the machine.
livekit: setup-example setup-e2e setup-livekit build-example
	cd e2e && EXAMPLE_BIN=$(BUILD)/example LIVEKIT_BIN=$(BUILD)/livekit/server CHROMIUM=$(CHROMIUM) \
		../.ci/loopback node --test --test-reporter=spec livekit.test.mjs

.PHONY: torture soak soak-short
TORTURE ?= 1h
torture:
	cd torture && go test -race -count=1 -timeout 0 -run TestTorture -v . -duration $(TORTURE)

# Without the race detector: the heap is then what it is for those who run a
# server, and there are more connections in the same time.
SOAK ?= 30m
soak-short: SOAK = 2m
soak soak-short:
	cd torture && go test -count=1 -timeout 0 -run 'TestSoak$$' -v . -soak $(SOAK)

.PHONY: fuzz fuzz-short bench build-bench bench-once bench-go bench-compare
fuzz:
	$(call each-module,$(CURDIR)/.ci/fuzz $(INPUTS))

fuzz-short:
	$(call each-module,$(CURDIR)/.ci/fuzz 1000)

# Every server in turns, each pinned to a core: twenty minutes on two cores that
# have nothing else to do. LOADS=relay100,storm1000 is some of it, ARGS is further
# flags: make bench ARGS='-other DIRECTORY' has another build in the same table.
ROUNDS ?= 3
LOADS  ?=
PEERS   = $(BUILD)/bench
bench: build-bench
	$(PEERS)/bench -bin $(PEERS) -node bench/node -rounds $(ROUNDS) $(if $(LOADS),-loads $(LOADS)) -o $(PEERS)/table.md $(ARGS)
	@echo "The table is in $(PEERS)/table.md"

build-bench: setup-bench
	@mkdir -p $(PEERS)
	cd example && go build -o $(PEERS)/ .
	cd bench && go build -o $(PEERS)/ ./...

# Whether all of it works; the figures mean nothing.
bench-once: build-bench
	$(PEERS)/bench -bin $(PEERS) -node bench/node -quick -limit 2m $(ARGS)
	$(call each-module,go test -run '^$$' -bench . -benchtime 1x -short ./...)

# Twice, with a change in between: make bench-go; git stash; make bench-go OUT=old.txt; make bench-compare
OUT ?= new.txt
bench-go:
	@mkdir -p $(BUILD)
	$(call each-module,go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./...) | tee $(BUILD)/$(OUT)

bench-compare:
	$(BENCHSTAT) $(BUILD)/old.txt $(BUILD)/new.txt
