#!/bin/sh
# The client's tests on the newest Django, which wants a newer Python than Debian 12 has: in a root of
# Debian 13 that mmdebstrap makes in target/newer. Packages are fetched outside: the root needs no network.
# `make newer` starts it, with TEST_DERMALD, PYTHONPATH, ORT_DYLIB_PATH and DERMALD_CACHE as for the other tests.
set -eu
repository=$(cd "$(dirname "$0")/.." && pwd)
work=$repository/target/newer
root=$work/root
requirements=$repository/tests/requirements-newer.txt

cannot() {
	echo "NOT TESTED: Django 6.1 with Python 3.13, for which a root of Debian 13 is made ($1)"
	exit 0
}

outside() {
	[ "$(id -u)" = 0 ] || cannot "needs root"
	mkdir -p "$work"
	command -v mmdebstrap >/dev/null \
		|| { apt-get update -q && apt-get install -y -q --no-install-recommends mmdebstrap; } >"$work/apt.log" 2>&1 \
		|| cannot "needs mmdebstrap: apt-get install mmdebstrap"
	if [ ! -d "$root" ]; then
		rm -rf "$work/making"
		mmdebstrap --variant=apt --include=python3,python3-venv,redis-server trixie "$work/making" \
			>"$work/root.log" 2>&1 || cannot "mmdebstrap failed: target/newer/root.log"
		mv "$work/making" "$root"
	fi
	"$repository/.venv/bin/pip" download -q --disable-pip-version-check --only-binary=:all: \
		--python-version 3.13 --dest "$work/packages" --requirement "$requirements"
	# What is mounted for a process goes with it.
	exec unshare --mount --propagation private --fork --kill-child "$0" between
}

between() {
	for folder in /proc /sys /dev; do mount --rbind "$folder" "$root$folder"; done
	mount -t tmpfs tmpfs "$root/tmp"
	mkdir -p "$root$repository"
	mount --bind "$repository" "$root$repository"
	exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/tmp/venv/bin:/usr/bin:/bin \
		TEST_DERMALD="$TEST_DERMALD" PYTHONPATH="$PYTHONPATH" ORT_DYLIB_PATH="$ORT_DYLIB_PATH" \
		DERMALD_CACHE="$DERMALD_CACHE" "$repository/tests/newer.sh" inside
}

inside() {
	cd "$repository"
	python3 -m venv /tmp/venv
	pip install -q --disable-pip-version-check --no-index --find-links "$work/packages" --requirement "$requirements"
	exec python -m pytest -p no:cacheprovider python-client/tests -c python-client/pyproject.toml
}

"${1:-outside}"
