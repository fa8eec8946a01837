#!/bin/sh
# Makes sure of what the system must bring: a Python that can make virtual environments (Debian and Ubuntu ship it
# without `ensurepip`), and the programs that are named after it, each from the package of the same name; with `gcc` the
# headers that it compiles against.
# Installs what is missing when it may (root, or sudo without a password); otherwise says what is missing.
set -eu
python=${1:-python3}
[ $# -gt 0 ] && shift

packages=""
"$python" -c 'import ensurepip' 2>/dev/null || packages="python3-venv python3-pip"
has_headers='import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))'
for program in "$@"; do
    command -v "$program" >/dev/null 2>&1 || packages="$packages $program"
    [ "$program" != gcc ] || "$python" -c "$has_headers" || packages="$packages libc6-dev python3-dev"
done
[ -z "$packages" ] && exit 0

if [ "$(id -u)" = 0 ]; then as_root=""
elif sudo -n true 2>/dev/null; then as_root="sudo"
else
    echo "missing system packages: $packages (install them, or run as root)" >&2
    exit 1
fi
command -v apt-get >/dev/null 2>&1 || { echo "missing system packages: $packages (no apt-get here)" >&2; exit 1; }
# A service must not start by itself: the tests start their own, on ports of their own.
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 $as_root apt-get install -y -qq --no-install-recommends $packages
