#!/bin/sh
# bench-compare.sh REVISION BENCH: the Go benchmarks matching BENCH in REVISION
# and in this tree, run ROUNDS times in turn (6), and what benchstat says of the
# difference.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'git worktree remove --force "$work/base"; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
git worktree add --quiet --detach "$work/base" "$1"

rounds=${ROUNDS:-6}
for round in $(seq "$rounds"); do
	echo "round $round of $rounds" >&2
	(cd "$work/base" && go test -run '^$' -bench "$2" -benchmem ./internal/...) >>"$work/before"
	go test -run '^$' -bench "$2" -benchmem ./internal/... >>"$work/after"
done
go tool -modfile=tools/go.mod benchstat before="$work/before" after="$work/after"
