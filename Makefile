# make          four static binaries in build/
# make demo     a tour with real input, checked; installs what it needs
# make demo-cluster  three nodes, killed one after the other while clients publish; counts what is lost
# make test     all tests, 7 minutes; installs what it needs
# make quick    most of the tests in a minute and a half
# make promise  tries to prove the promises wrong; LONG=1 for hours, written to docs/PROOF.md
# make check    what the tests do not see: vet, linters, formats, fuzzing, sabotage; 13 minutes
# make bench    the figures to reach beside the limits of this machine, in docs/FIGURES.md
# make bench-peers   mbus beside other brokers, written to docs/BENCHMARKS.md

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   := -s -w -X mbus/internal/flags.Version=$(VERSION)
TOOL      := go tool -modfile=tools/go.mod
FUZZTIME  ?= 1m
BENCH     ?= .
REF       ?= HEAD
TESTFLAGS ?=
# A line for each package when it ends, and at the end what failed and what was not run.
GOTEST    := gotestsum --format pkgname --format-hide-empty-pkg --
# Only root can make file systems of its own to cut the power of.
DISKS     := $(if $(filter 0,$(shell id -u)),losetup mkfs.ext4)

.PHONY: all run demo demo-cluster test tests tests-own tests-others quick promise race check lint fuzz cover sabotage bench bench-peers bench-compare clean

all:
	@scripts/need.sh go
	@mkdir -p build
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o build/ ./cmd/...

run: all
	./build/broker

demo: all
	@scripts/need.sh nc
	scripts/demo.sh build

demo-cluster: all
	@scripts/need.sh nc curl
	scripts/demo-cluster.sh build

test:
	@scripts/timed.sh "make test" "7 minutes on 2 processors; make quick one and a half" make --no-print-directory tests

# Not from the cache: it does not know of the programs that the tests start. Tests with clients
# of others mostly wait for them, and run beside the rest.
tests:
	@scripts/need.sh go nc strace kcat rsync openssl curl unshare node npm gcc chromium $(DISKS)
	@scripts/prometheus.sh
	@make --no-print-directory -j2 tests-own tests-others

tests-own:
	@$(TOOL) $(GOTEST) -count=1 $(TESTFLAGS) ./...

tests-others:
	@cd test/clients && go tool -modfile=../../tools/go.mod $(GOTEST) -count=1 $(TESTFLAGS) ./...
	@cd test/browser && go tool -modfile=../../tools/go.mod $(GOTEST) -count=1 $(TESTFLAGS) ./...
	@cd bench && go tool -modfile=../tools/go.mod $(GOTEST) -count=1 $(TESTFLAGS) ./...

# Without the tests that need programs of others, and with fewer rounds of those at random.
quick:
	@scripts/need.sh go
	@scripts/timed.sh "make quick" "90 seconds on 2 processors" env TEST_SLOW=1 $(TOOL) $(GOTEST) -short -p 8 -parallel 16 -count=1 $(TESTFLAGS) $$(go list ./... | grep -v -e /test/fault -e /test/programs)

# Some cases need root, for file systems of their own, and say so where it is missing.
promise:
	@scripts/need.sh nc strace kcat rsync openssl curl unshare $(DISKS)
	go test -count=1 -v -timeout 24h ./test/fault $(if $(LONG),-long -record $(CURDIR)/docs/PROOF.md)
	$(if $(LONG),scripts/fuzz.sh 10m $(CURDIR)/docs/PROOF.md)

race:
	@scripts/need.sh nc strace kcat rsync openssl curl unshare gcc $(DISKS)
	CGO_ENABLED=1 go test -race -count=1 $(TESTFLAGS) ./...

check:
	@scripts/timed.sh "make check" "13 minutes on 2 processors" make --no-print-directory lint sabotage fuzz FUZZTIME=3s

lint:
	@scripts/need.sh go
	scripts/sabotage.sh -n
	go mod tidy -diff
	cd tools && go mod tidy -diff
	cd test/clients && go mod tidy -diff
	cd test/browser && go mod tidy -diff
	cd bench && go mod tidy -diff
	go vet ./...
	cd test/clients && go vet ./...
	cd test/browser && go vet ./...
	cd bench && go vet ./...
	CGO_ENABLED=0 GOOS=darwin go build -o /dev/null ./cmd/producer ./cmd/consumer ./cmd/admin
	@echo "staticcheck takes two minutes when it runs for the first time"
	scripts/vuln.sh
	$(TOOL) staticcheck ./...
	cd bench && go tool -modfile=../tools/go.mod staticcheck ./...
	@files=$$($(TOOL) gofumpt -l .) && if [ -n "$$files" ]; then echo "not formatted as gofumpt does:" $$files; exit 1; fi
	go test -count=1 -run 'Import|Architecture|TheWay|Access|View|Transport|Document|Operations' . ./test/docs

fuzz:
	scripts/fuzz.sh $(FUZZTIME)

cover:
	@scripts/need.sh nc strace kcat rsync openssl curl unshare $(DISKS)
	@mkdir -p build
	go test -count=1 -coverpkg=./internal/... -coverprofile=build/cover.out ./...
	go tool cover -func=build/cover.out | awk '$$3 + 0 < 60 || $$1 == "total:"'

# A build that breaks a promise must turn a named test red. "lint" says which case is out of date.
sabotage:
	@scripts/need.sh strace
	scripts/sabotage.sh

bench: all
	@scripts/need.sh strace $(DISKS)
	cd bench && go run ./own -build ../build -out ../docs $(BENCHFLAGS)
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./internal/...

# Measures what is there: Debian's redis-server and rabbitmq-server are not
# installed here, for they would be started as services.
bench-peers: all
	cd bench && go run ./peers -build ../build -out ../docs $(BENCHFLAGS)

# This tree's Go benchmarks beside those of the revision REF.
bench-compare:
	scripts/bench-compare.sh '$(REF)' '$(BENCH)'

clean:
	rm -rf build
