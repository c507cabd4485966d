#!/bin/bash
# Installs the Debian packages of packages.txt that are missing: all, or only the kinds given as arguments
# (required, optional, tests). Asks nothing; says what it does; with everything there it does nothing and needs no network.
set -euo pipefail
cd "$(dirname "$0")/.."

kinds=" ${*:-required optional tests} "
if ! command -v dpkg-query > /dev/null; then
    echo "setup: this is no Debian system; install the equivalents of packages.txt yourself" >&2
    exit 0
fi

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2> /dev/null)" = installed ]; }

missing_required=() missing_other=()
while read -r kind package _; do
    case "$kind" in '' | '#'*) continue ;; esac
    if [[ "$kinds" == *" $kind "* ]] && ! is_installed "$package"; then
        if [ "$kind" = required ]; then missing_required+=("$package"); else missing_other+=("$package"); fi
    fi
done < packages.txt
missing=("${missing_required[@]}" "${missing_other[@]}")
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2> /dev/null; then
        echo "setup: missing packages, and neither root nor sudo without a password. Run:" >&2
        echo "    sudo apt-get install ${missing[*]}" >&2
        [ ${#missing_required[@]} -eq 0 ] # the others only leave features out
        exit
    fi
    as_root=(sudo -n)
fi

install_packages() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@"
}

echo "setup: installing ${missing[*]}"
if install_packages "${missing[@]}" || { "${as_root[@]}" apt-get -q update && install_packages "${missing[@]}"; }; then
    exit 0
fi
echo "setup: that did not work for all together; one by one" >&2
for package in "${missing_required[@]}"; do
    install_packages "$package" || { echo "setup: cannot install the required package $package" >&2; exit 1; }
done
for package in "${missing_other[@]}"; do
    install_packages "$package" || echo "setup: going on without $package ($(grep -E "^\w+ +$package " packages.txt | tr -s ' '))" >&2
done
