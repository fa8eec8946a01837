#!/bin/sh
# Makes sure that a virtual environment can be made: Debian and Ubuntu ship Python without `ensurepip`.
# Installs what is missing when it may (root, or sudo without a password); otherwise says what is missing.
set -eu
python=${1:-python3}

"$python" -c 'import ensurepip' 2>/dev/null && exit 0

packages="python3-venv python3-pip"
if [ "$(id -u)" = 0 ]; then as_root=""
elif sudo -n true 2>/dev/null; then as_root="sudo"
else
    echo "missing system packages: $packages (install them, or run as root)" >&2
    exit 1
fi
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq $packages
