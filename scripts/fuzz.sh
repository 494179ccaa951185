#!/bin/sh
# fuzz.sh TIME [RECORD [PATTERN]]: runs every fuzz target of the module for that long,
# or those with a line "PACKAGE TARGET" that matches PATTERN, and adds to the file
# RECORD which they were.
set -eu
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# "go test -list" names the targets of a package and then the package.
list=$(go test -list '^Fuzz' ./...) || { echo "$list"; exit 1; }
targets=$(echo "$list" | awk '/^Fuzz/ { names[n++] = $1 } /^ok/ { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }')
targets=$(echo "$targets" | grep -E "${3:-.}") || true
[ -n "$targets" ] || { echo "fuzz.sh: no fuzz target found" >&2; exit 1; }

count=$(echo "$targets" | wc -l)
echo "$targets" | nl | while read -r number package target; do
	printf 'fuzz %d of %d: %s %s for %s: ' "$number" "$count" "$package" "$target" "$1"
	# The fuzzer now and then reports its own deadline as a failure, with no input that fails.
	if go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 10x "$package" >"$log" 2>&1 ||
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
