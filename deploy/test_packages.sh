#!/usr/bin/env bash
# Debian packages the tests use. As root on Debian they are installed; elsewhere each is named with
# what is left out without it.
set -euo pipefail
declare -A needed_for=(
    [dciodvfy]="dicom3tools|DICOM conformance of what we write"
    [dcmdump]="dcmtk|reading our objects with another toolkit"
    [initdb]="postgresql|records on a real PostgreSQL"
)
missing=()
for program in "${!needed_for[@]}"; do
    compgen -G "/usr/lib/postgresql/*/bin/$program" >/dev/null && continue
    command -v "$program" >/dev/null && continue
    missing+=("$program")
done
[ ${#missing[@]} -eq 0 ] && exit 0
packages=()
for program in "${missing[@]}"; do packages+=("${needed_for[$program]%%|*}"); done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "test: installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    exit 0
fi
for program in "${missing[@]}"; do
    echo "test: no ${needed_for[$program]%%|*} here (not root, or no apt-get): leaving out ${needed_for[$program]#*|}"
done
