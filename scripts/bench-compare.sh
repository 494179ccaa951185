#!/bin/sh
# bench-compare.sh REVISION BENCH: the Go benchmarks matching BENCH in REVISION
# and in this tree, run in turn, and what benchstat says of the difference.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'git worktree remove --force "$work/base"; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/base" "$1"

for round in 1 2 3 4 5 6; do
	echo "round $round of 6" >&2
	(cd "$work/base" && go test -run '^$' -bench "$2" -benchmem ./internal/...) >>"$work/before"
	go test -run '^$' -bench "$2" -benchmem ./internal/... >>"$work/after"
done
go tool -modfile=tools/go.mod benchstat before="$work/before" after="$work/after"
