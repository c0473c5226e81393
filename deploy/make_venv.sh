#!/usr/bin/env bash
# Make a virtual environment with pip in it: make_venv.sh PYTHON FOLDER
# A bare Debian has Python without ensurepip; pip's own wheel, unpacked without root, does its work.
set -euo pipefail
python=$1 folder=$2
rm -rf "$folder"
if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv "$folder"
    exit
fi
"$python" -m venv --without-pip "$folder"
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
(cd "$unpacked" && apt-get download -qq python3-pip-whl && dpkg -x python3-pip-whl_*.deb .) || {
    echo "This Python has no ensurepip and Debian's python3-pip-whl could not be had." >&2
    echo "Install python3.11-venv, then try again." >&2
    exit 1
}
wheel=$(echo "$unpacked"/usr/share/python-wheels/pip-*.whl)
"$folder/bin/python" "$wheel/pip" install --quiet --no-index "$wheel"
