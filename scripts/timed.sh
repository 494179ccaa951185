#!/bin/sh
# timed.sh NAME DURATION COMMAND [ARGUMENT...]: says how long the command takes on a usual
# machine, runs it, and closes with a line that says how it ended, and after which time.
set -eu
name=$1
echo "$name: takes about $2"
shift 2
begin=$(date +%s)
status=0
"$@" || status=$?
took=$(($(date +%s) - begin))
[ "$status" = 0 ] && how=passed || how=FAILED
echo "$name: $how after $((took / 60)) min $((took % 60)) s"
exit "$status"
