#!/bin/sh
# demo.sh DIR: a tour with the programs in DIR, on free ports and with a data
# directory of its own. Whatever it shows it also checks: it ends with 0 only if
# all was as it says.
set -eu
bin=$(cd "$1" && pwd)
work=$(mktemp -d)
broker=

finish() {
	status=$?
	[ -z "$broker" ] || kill -9 "$broker" 2>/dev/null || true
	if [ "$status" != 0 ]; then
		echo "demo: FAILED; the broker said:" >&2
		cat "$work/log" >&2 || true
	fi
	rm -rf "$work"
	exit "$status"
}
trap finish EXIT
trap 'exit 1' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
command_line() { printf '$ %s\n' "$*"; }
die() {
	echo "demo: $*" >&2
	exit 1
}

# start runs the broker and sets broker, pport and cport.
start() {
	command_line "./build/broker"
	"$bin/broker" -data "$work/data" -pport 0 -cport 0 -kport 0 2>"$work/log" &
	broker=$!
	until pport=$(port producers) && cport=$(port consumers) && [ -n "$pport" ] && [ -n "$cport" ]; do
		kill -0 "$broker" 2>/dev/null || die "the broker does not start"
		sleep 0.05
	done
	sed 's/^/  /' "$work/log"
}
port() { sed -n "s/^$1: .*:\([0-9][0-9]*\)$/\1/p" "$work/log"; }

kill_broker() {
	command_line "kill -9 $broker"
	kill -9 "$broker"
	wait "$broker" 2>/dev/null || true
}

producer() { "$bin/producer" -port "$pport" "$@"; }
consumer() { "$bin/consumer" -port "$cport" "$@"; }

# text makes 120,000 lines such as real files have: many lengths and scripts,
# control bytes, empty lines. It is the same every time.
text() {
	LC_ALL=C awk 'BEGIN {
		srand(1)
		n = split("order|naïve|Grüße|日本語|🚌|+17|-FAILED|.|%s|\t|\r|\033[31m|\001|  ", word, "|")
		for (line = 0; line < 120000; line++) {
			count = rand() < 0.05 ? 0 : int(rand() ^ 4 * 200) + 1
			text = ""
			while (count-- > 0) text = text word[int(rand() * n) + 1] " "
			print text
		}
	}'
}

say "A broker, on ports of its own for this tour."
start

say "Three messages in, each on disk before the producer ends."
for message in "first order" "second order" "third order"; do
	command_line "./build/producer -topic orders -message \"$message\""
	producer -topic orders -message "$message"
done

say "And out again. The second time there is nothing left: they are consumed."
command_line "./build/consumer -topic orders"
consumer -topic orders | tee "$work/orders"
[ "$(wc -l <"$work/orders")" -eq 3 ] || die "three messages were expected"
command_line "./build/consumer -topic orders"
[ -z "$(consumer -topic orders)" ] || die "consumed messages came again"

say "The same by hand. +2 says that two messages are on disk."
command_line "printf 'parcels\\na box\\na tube\\n' | nc -N 127.0.0.1 $pport"
answer=$(printf 'parcels\na box\na tube\n' | nc -N 127.0.0.1 "$pport")
echo "$answer"
[ "$answer" = +2 ] || die "+2 was expected"

say "The broker is killed and started again. What it had acknowledged is there."
kill_broker
start
command_line "echo parcels | nc 127.0.0.1 $cport"
answer=$(echo parcels | nc 127.0.0.1 "$cport")
echo "$answer"
[ "$answer" = "a box
a tube" ] || die "two parcels were expected"

say "Real input: lines of all lengths, UTF-8, control bytes, empty lines."
text >"$work/text"
command_line "wc -lc text"
(cd "$work" && wc -lc text)
[ "$(wc -l <"$work/text")" -ge 100000 ] || die "too little text was made"
command_line "./build/producer -topic words < text"
producer -topic words <"$work/text"
kill_broker
start
command_line "./build/consumer -topic words -f '%s\\n' | cmp - text"
consumer -topic words -f '%s\n' >"$work/words"
cmp "$work/words" "$work/text" || die "the text has changed"
echo "No difference: nothing was lost, nothing was added, nothing was changed."

say "The end: SIGTERM."
command_line "kill $broker"
kill "$broker"
wait "$broker" || die "the broker did not exit with 0"
broker=
echo "demo: all was as it should be"
