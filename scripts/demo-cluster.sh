#!/bin/sh
# demo-cluster.sh DIR: three nodes with the programs in DIR, on loopback, with data of their own. Clients publish on all
# nodes, by lines, HTTP and Kafka, while one node after the other is killed, the owner of the topics too. Then all
# messages are counted: it ends with 0 only if nothing that was acknowledged is missing, and nothing is there twice.
set -eu
cd "$(dirname "$0")/.."
bin=$(cd "$1" && pwd)
work=$(mktemp -d)
pids=

finish() {
	status=$?
	touch "$work/stop"
	for pid in $pids; do kill -9 "$pid" 2>/dev/null || true; done
	wait
	if [ "$status" != 0 ]; then
		echo "demo-cluster: FAILED; the nodes said:" >&2
		tail -n 20 "$work"/log* >&2 || true
	fi
	rm -rf "$work"
	exit "$status"
}
trap finish EXIT
trap 'exit 1' INT TERM

bold= normal=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$(printf '\033[1m') normal=$(printf '\033[0m')
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$normal"; }
command_line() { printf '$ %s\n' "$*"; }
die() {
	echo "demo-cluster: $*" >&2
	exit 1
}
now() { date +%s.%N; }

# port gives a port of a node.
port() { echo $((base + 10 * $1 + $2)); }
producers=0 consumers=1 http=2 kafka=3 routes=4 links=5
address() { echo "127.0.0.1:$(port "$1" "$2")"; }

# launch runs a node, without waiting.
launch() {
	peers=$(address 1 $routes),$(address 2 $routes),$(address 3 $routes)
	set -- "$1" -node-id "$1" -cluster "$(address "$1" $routes)" -peers "$peers" -data "$work/node$1" \
		-pport "$(port "$1" $producers)" -cport "$(port "$1" $consumers)" -hport "$(port "$1" $http)" -kport "$(port "$1" $kafka)"
	node=$1
	shift
	command_line "./build/broker $(echo "$*" | sed "s|$work/||")"
	: >"$work/log$node"
	"$bin/broker" "$@" 2>"$work/log$node" &
	eval "pid$node=$!"
	pids="$pids $!"
}

# await waits until a node lets clients in, and fails if it ends instead.
await() {
	until grep -q '^http:' "$work/log$1"; do
		eval "kill -0 \$pid$1" 2>/dev/null || return 1
		sleep 0.05
	done
}

# owner asks a node which one owns the topics.
owner() {
	for node in 1 2 3; do
		found=$(curl -s -m 5 "$(address $node $http)/nodes" | sed -n 's/^{"owner":\([1-9]\).*/\1/p') || true
		[ -z "$found" ] || break
	done
	echo "$found"
}

# healthy waits until a node says that all replicas are current.
healthy() {
	until curl -s -m 5 "$(address 1 $http)/nodes" | grep -q '"problems":\[\]'; do sleep 0.1; done
}

# The ways in: each publishes a text on a node, and fails unless it is acknowledged.
by_lines() { [ "$(printf 'orders\n%s\n' "$2" | timeout 20 nc -N 127.0.0.1 "$(port "$1" $producers)" 2>/dev/null)" = +1 ]; }
by_http() { curl -s -f -m 20 -o "$work/answer" -d "$2" "$(address "$1" $http)/topics/orders"; }
by_kafka() {
	echo "$2" | timeout 30 kcat -P -q -b "$(address 1 $kafka),$(address 2 $kafka),$(address 3 $kafka)" -t orders -X enable.idempotence=true 2>/dev/null
}

# publish publishes numbered messages by a way, on another node after each failure, until the file stop is there. What
# was acknowledged, and when, is in a file.
publish() {
	number=0 node=$2
	: >"$work/acked-$1$2"
	while [ ! -e "$work/stop" ]; do
		number=$((number + 1))
		if "by_$1" "$node" "$1 from $2, $number"; then
			echo "$(now) $1 from $2, $number" >>"$work/acked-$1$2"
		else
			node=$((node % 3 + 1))
		fi
	done
}

# pause waits until each publisher has acknowledgements again since a time, and prints for how long one had none at most.
pause() {
	for file in "$work"/acked-*; do
		until [ "$(awk -v since="$1" '$1 > since' "$file" | wc -l)" -ge 2 ]; do sleep 0.1; done
	done
	for file in "$work"/acked-*; do
		awk -v since="$1" 'BEGIN { last = since } $1 > since { if ($1 - last > most) most = $1 - last; last = $1 } END { print most }' "$file"
	done | sort -n | tail -n 1 | xargs printf '%.1f'
}

say "Three nodes. Each message is on the disks of two of them at least before it is acknowledged."
for base in 20000 21000 22000 23000 24000 base; do
	[ "$base" != base ] || die "no ports are free"
	for node in 1 2 3; do launch $node; done
	if await 1 && await 2 && await 3; then break; fi
	for pid in $pids; do kill -9 "$pid" 2>/dev/null || true; done
	rm -rf "$work"/node*
done
until [ -n "$(owner)" ]; do sleep 0.1; done
echo "Node $(owner) owns the topics."

say "A message may come in on any node, and go out on any other."
command_line "printf 'parcels\\na box\\n' | nc -N 127.0.0.1 $(port 1 $producers)"
printf 'parcels\na box\n' | nc -N 127.0.0.1 "$(port 1 $producers)" | tee "$work/answer"
[ "$(cat "$work/answer")" = +1 ] || die "+1 was expected"
command_line "curl -d 'a crate' $(address 2 $http)/topics/parcels"
curl -sS -d 'a crate' "$(address 2 $http)/topics/parcels"
echo
command_line "echo parcels | nc 127.0.0.1 $(port 3 $consumers)"
answer=$(echo parcels | nc 127.0.0.1 "$(port 3 $consumers)")
echo "$answer"
[ "$answer" = "a box
a crate" ] || die "a box and a crate were expected"

ways="lines http"
! command -v kcat >/dev/null || ways="$ways kafka"
say "Clients publish on all nodes, by $(echo $ways | sed 's/ /, /g')."
for way in $ways; do
	for node in 1 2 3; do
		publish $way $node &
		[ $way != kafka ] || break # it knows all nodes
	done
done
pause "$(now)" >"$work/answer"

kill_node() {
	eval "pid=\$pid$1"
	command_line "kill $2 $pid"
	at=$(now)
	kill "$2" "$pid"
	wait "$pid" 2>/dev/null || [ "$2" = -9 ] || die "node $1 did not exit with 0"
	echo "No client waited longer than $(pause "$at") s."
	if [ "${3:-}" != stays ]; then
		launch "$1"
		await "$1" || die "node $1 does not start"
		healthy
	fi
}
for round in 1 2 3; do
	victim=$(owner)
	if [ $round = 2 ]; then
		victim=$((victim % 3 + 1))
		say "Node $victim is killed, which does not own the topics."
	else
		say "Node $victim is killed, which owns the topics."
	fi
	kill_node "$victim" -9
	echo "Node $(owner) owns the topics."
done
victim=$(owner)
say "Node $victim, the owner, is stopped in good order, as for an upgrade."
kill_node "$victim" -TERM

say "The count."
touch "$work/stop"
sleep 0.5
"$bin/consumer" -port "$(port 1 $consumers)" -topic orders -from beginning -f '%s\n' | sort >"$work/there"
cut -d ' ' -f 2- "$work"/acked-* | sort >"$work/acked"
lost=$(comm -23 "$work/acked" "$work/there" | wc -l)
twice=$(uniq -d "$work/there" | wc -l)
echo "$(wc -l <"$work/acked") messages were acknowledged, $lost of them are missing, $twice are there twice."
[ "$lost" = 0 ] && [ "$twice" = 0 ] || die "none should be"
"$bin/consumer" -port "$(port 2 $consumers)" -topic orders -group billing -f '%s\n' | sort | cmp - "$work/there" ||
	die "a group did not get each message once"
echo "A group got each of them once."

say "The end: SIGTERM."
command_line "kill $pid1 $pid2 $pid3"
kill "$pid1" "$pid2" "$pid3"
for pid in $pid1 $pid2 $pid3; do wait "$pid" || die "a node did not exit with 0"; done
pids=
echo "demo-cluster: every check passed"
