#!/bin/sh
# prometheus.sh puts Debian's prometheus into build/, for the tests of the dashboard
# and of the configurations in docs/operations.md. The package is not
# installed, because that would start a service. It exits with 0 also where no mirror of Debian can
# be reached, and says then that the test is not run.
set -eu
cd "$(dirname "$0")/.."
program=build/prometheus
[ ! -x $program ] || exit 0

# leave says what is not run.
leave() {
	echo "prometheus.sh: the queries of docs/grafana.json and the configurations of docs/operations.md are not run, because $1" >&2
	exit 0
}

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || leave "this system has no apt-get, which has the package prometheus"
# Only root can renew the lists of packages. Others use those that there are.
if [ "$(id -u)" = 0 ]; then
	apt-get -q -o APT::Update::Error-Mode=any update >&2 || leave "no mirror of Debian can be reached"
fi
mkdir -p build
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "prometheus.sh: fetching prometheus" >&2
(cd "$work" && apt-get -q -o APT::Sandbox::User=root download prometheus) >&2 || {
	[ "$(id -u)" != 0 ] || exit 1
	leave "the package can't be fetched"
}
dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" ./usr/bin/prometheus
mv "$work/usr/bin/prometheus" $program
