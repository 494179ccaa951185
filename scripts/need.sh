#!/bin/sh
# need.sh COMMAND...: makes sure that each of these commands is there, with
# Debian's packages where root may install them, and fails where it can't.
set -eu

present() {
	case $1 in
	nc) command -v nc >/dev/null && nc -h 2>&1 | grep -q -e '-N' ;; # not every netcat has -N
	go) go list -m >/dev/null 2>&1 ;; # before 1.21 it can't read go.mod, from then on it fetches what that says
	*) command -v "$1" >/dev/null ;;
	esac
}

packages() {
	case $1 in
	nc) echo netcat-openbsd ;;
	node) echo nodejs ;;
	gcc) echo gcc libc6-dev ;;
	losetup) echo mount ;;
	mkfs.ext4) echo e2fsprogs ;;
	unshare) echo util-linux ;;
	*) echo "$1" ;;
	esac
}

for command in "$@"; do
	present "$command" && continue
	if [ "$command" = go ]; then
		echo "need.sh: Go $(sed -n "s/^go //p" "$(dirname "$0")/../go.mod") or later is missing: https://go.dev/doc/install" >&2
		exit 1
	fi
	wanted=$(packages "$command")
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "need.sh: $command is missing; install it first, on Debian with: apt-get install $wanted" >&2
		exit 1
	fi
	echo "need.sh: installing $wanted" >&2
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # several packages
	{ apt-get -q update && apt-get -q install -y --no-install-recommends $wanted; } >&2
	if ! present "$command"; then
		echo "need.sh: $command is still missing after installing $wanted" >&2
		exit 1
	fi
done
