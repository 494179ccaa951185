#!/bin/sh
# demo.sh DIR: a tour with the programs in DIR, on the usual ports if nobody else has them,
# and with a data directory of its own. All it shows it also checks: it ends with 0 only if
# all was as it says. In a terminal the broker is left running at the end, to be played with.
set -eu
cd "$(dirname "$0")/.."
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

bold= normal=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$(printf '\033[1m') normal=$(printf '\033[0m')
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$normal"; }
command_line() { printf '$ %s\n' "$*"; }
die() {
	echo "demo: $*" >&2
	exit 1
}

# launch runs the broker with ports, and fails if it can't have them.
launch() {
	"$bin/broker" -data "$work/data" -pport "$1" -cport "$2" -kport "$3" -hport "$4" 2>"$work/log" &
	broker=$!
	until pport=$(port producers) && cport=$(port consumers) && kport=$(port kafka) && hport=$(port http) &&
		[ -n "$pport" ] && [ -n "$cport" ] && [ -n "$kport" ] && [ -n "$hport" ]; do
		kill -0 "$broker" 2>/dev/null || return 1
		sleep 0.05
	done
}
port() { sed -n "s/^$1: .*:\([0-9][0-9]*\)$/\1/p" "$work/log"; }

# start runs the broker and sets broker, pport, cport, kport, hport, and what has to be typed for
# programs to reach them.
start() {
	launch "${pport:-9990}" "${cport:-9991}" "${kport:-9092}" "${hport:-9992}" || launch 0 0 0 0 || die "the broker does not start"
	[ "$pport" = 9990 ] && p= || p=" -port $pport"
	[ "$cport" = 9991 ] && c= || c=" -port $cport"
	command_line "./build/broker$([ -n "$c$p" ] && echo " -pport $pport -cport $cport -kport $kport -hport $hport")"
	sed -n 's/^[a-z]*: /  &/p' "$work/log"
}

kill_broker() {
	command_line "kill -9 $broker"
	kill -9 "$broker"
	wait "$broker" 2>/dev/null || true
}

# producer and consumer show their command and run it. expect does, too, and compares the
# output with its first argument.
producer() {
	command_line "./build/producer$p$(quoted "$@")"
	"$bin/producer" -port "$pport" "$@"
}
consumer() {
	command_line "./build/consumer$c$(quoted "$@")"
	"$bin/consumer" -port "$cport" "$@"
}
expect() {
	wanted=$1
	shift
	command_line "./build/consumer$c$(quoted "$@")"
	"$bin/consumer" -port "$cport" "$@" >"$work/out" || [ "$?" = "${status:-0}" ] || die "the consumer did not end as it should"
	cat "$work/out"
	[ "$(cat "$work/out")" = "$wanted" ] || die "expected was: $wanted"
}
quoted() {
	for word in "$@"; do
		case $word in
		*[!a-zA-Z0-9_./-]* | '') printf " '%s'" "$word" ;;
		*) printf ' %s' "$word" ;;
		esac
	done
}

# text makes 120,000 lines and more: this project's sources and documents, then lines of many
# lengths and scripts, control bytes and empty ones. It is the same every time.
text() {
	find cmd internal test README.md DESIGN.md FORMAT.md -name '*.go' -o -name '*.md' | LC_ALL=C sort | xargs cat
	LC_ALL=C awk 'BEGIN {
		srand(1)
		n = split("order|naïve|Grüße|日本語|🚌|+17|-FAILED|.|%s|\t|\r|\033[31m|\001|  ", word, "|")
		for (line = 0; line < 60000; line++) {
			count = rand() < 0.05 ? 0 : int(rand() ^ 4 * 200) + 1
			text = ""
			while (count-- > 0) text = text word[int(rand() * n) + 1] " "
			print text
		}
	}'
}

say "A broker."
start

say "Three messages in, each on disk before the producer ends."
for message in "first order" "second order" "third order"; do
	producer -topic orders -message "$message"
done

say "And out again. The second call prints nothing: the messages are consumed."
consumer -topic orders | tee "$work/orders"
[ "$(grep -c ' order$' "$work/orders")" -eq 3 ] || die "three messages were expected"
expect "" -topic orders

say "Another group gets them, too, because each group has a position of its own."
expect "0: first order
1: second order
2: third order" -topic orders -group billing -f '%o: %s\n'

say "The same by hand. +2 says that two messages are on disk."
command_line "printf 'parcels\\na box\\na tube\\n' | nc -N 127.0.0.1 $pport"
answer=$(printf 'parcels\na box\na tube\n' | nc -N 127.0.0.1 "$pport")
echo "$answer"
[ "$answer" = +2 ] || die "+2 was expected"

say "The broker is killed and started again. Every acknowledged message is there."
kill_broker
start
command_line "echo parcels | nc 127.0.0.1 $cport"
answer=$(echo parcels | nc 127.0.0.1 "$cport")
echo "$answer"
[ "$answer" = "a box
a tube" ] || die "two parcels were expected"

say "A worker: a command gets each message. With -attempts 1 a failed message goes to orders.dlq."
status=4
expect "done: first order
done: third order" -topic orders -group mail -attempts 1 \
	-exec 'read -r m; [ "$m" != "second order" ] && echo "done: $m"'
status=0
expect "second order" -topic orders.dlq -from beginning -f '%s\n'
say "The dead letter goes back to that group, and to no other."
consumer -topic orders.dlq -redrive
expect "second order" -topic orders -group mail -f '%s\n'
expect "" -topic orders -group billing

if command -v curl >/dev/null; then
	say "The same by HTTP. The answer to a publish says that the message is on disk."
	command_line "curl -d 'a crate' 127.0.0.1:$hport/topics/parcels"
	answer=$(curl -sS -d 'a crate' "127.0.0.1:$hport/topics/parcels")
	echo "$answer"
	[ "$answer" = '{"topic":"parcels","partition":0,"offset":2}' ] || die "offset 2 was expected"
	command_line "curl 127.0.0.1:$hport/topics/parcels/messages"
	answer=$(curl -sS "127.0.0.1:$hport/topics/parcels/messages")
	echo "$answer"
	[ "$answer" = "a crate" ] || die "the crate was expected"
fi

if command -v kcat >/dev/null; then
	say "A Kafka client reads the same messages."
	command_line "kcat -C -b 127.0.0.1:$kport -t orders -o beginning -e -q"
	answer=$(kcat -C -b "127.0.0.1:$kport" -t orders -o beginning -e -q)
	echo "$answer"
	[ "$answer" = "first order
second order
third order" ] || die "three orders were expected"
fi

say "Real input: sources, documents, lines of all lengths, UTF-8, control bytes."
text >"$work/text"
command_line "wc -lc text"
(cd "$work" && wc -lc text)
[ "$(wc -l <"$work/text")" -ge 120000 ] || die "too little text was made"
command_line "./build/producer$p -topic words < text"
"$bin/producer" -port "$pport" -topic words <"$work/text"
kill_broker
start
command_line "./build/consumer$c -topic words -f '%s\\n' | cmp - text"
"$bin/consumer" -port "$cport" -topic words -f '%s\n' >"$work/words"
cmp "$work/words" "$work/text" || die "the text has changed"
echo "No difference: nothing was lost, nothing was added, nothing was changed."

if [ -t 0 ] && [ -t 1 ]; then
	say "demo: every check passed. The broker keeps running: in another terminal try"
	echo "  ./build/consumer$c -topic news -follow"
	echo "  ./build/producer$p -topic news"
	echo "  ./build/admin topics$c"
	echo "or in a browser http://localhost:$hport/"
	echo "^C ends it and removes its data."
	trap 'echo' INT
	while kill -0 "$broker" 2>/dev/null; do wait "$broker" || true; done
	broker=
	exit 0
fi

say "The end: SIGTERM."
command_line "kill $broker"
kill "$broker"
wait "$broker" || die "the broker did not exit with 0"
broker=
echo "demo: every check passed"
echo "next: ./build/broker, and in another terminal ./build/producer -topic news"
