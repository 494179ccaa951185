#!/bin/sh
# fuzz.sh TIME [RECORD]: runs every fuzz target of the module for that long, and
# adds to the file RECORD how many there were.
set -eu
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# "go test -list" names the targets of a package and then the package.
list=$(go test -list '^Fuzz' ./...) || { echo "$list"; exit 1; }
targets=$(echo "$list" | awk '/^Fuzz/ { names[n++] = $1 } /^ok/ { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }')
[ -n "$targets" ] || { echo "fuzz.sh: no fuzz target found" >&2; exit 1; }

echo "$targets" | while read -r package target; do
	echo "fuzz $package $target $1"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 10x "$package" >"$log" 2>&1 && continue
	# The fuzzer now and then reports its own deadline as a failure, with no input that fails.
	if grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log"; then continue; fi
	cat "$log"
	exit 1
done

[ $# -lt 2 ] || printf '\n%d fuzz targets ran for %s each, and found nothing.\n' "$(echo "$targets" | wc -l)" "$1" >>"$2"
