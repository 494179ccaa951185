#!/bin/sh
# fuzz.sh TIME [RECORD [PATTERN]]: runs every fuzz target of the module for that long,
# or those with a line "PACKAGE TARGET" that matches PATTERN, and adds to the file
# RECORD which they were. Each package is built once, and not for each of its targets.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log
corpus=$(go env GOCACHE)/fuzz # where "go test" keeps it

targets=$(grep -ro --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' cmd internal test | sed 's|/[^/]*:func | |' | sort)
targets=$(echo "$targets" | grep -E "${3:-.}") || true
[ -n "$targets" ] || { echo "fuzz.sh: no fuzz target found" >&2; exit 1; }

count=$(echo "$targets" | wc -l)
echo "$targets" | nl | while read -r number package target; do
	printf 'fuzz %d of %d: %s %s for %s: ' "$number" "$count" "$package" "$target" "$1"
	program=$work/$package.test
	[ -e "$program" ] || go test -c -vet=off -ldflags=-s -fuzz=. -o "$program" "./$package"
	# The fuzzer now and then reports its own deadline as a failure, with no input that fails.
	if (cd "$package" && "$program" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$1" \
		-test.fuzzminimizetime 10x -test.fuzzcachedir "$corpus/mbus/$package") >"$log" 2>&1 ||
		{ grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log"; }; then
		echo "nothing found"
		continue
	fi
	echo FAILED
	cat "$log"
	exit 1
done

[ $# -lt 2 ] || echo "$targets" | awk -v time="$1" '
	{ sub(".*/", "", $1); names = names (NR > 1 ? ", " : "") $1 "." $2 }
	END { printf "\n%d fuzz targets ran for %s each, and found nothing: %s.\n", NR, time, names }' | fold -sw 100 >>"$2"
