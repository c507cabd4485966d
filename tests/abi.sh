#!/bin/bash
# Compares the names that the static library exports with tests/golden/abi.txt; --update rewrites the list. Only names that
# start with epl_ may be exported.
set -euo pipefail
cd "$(dirname "$0")/.."
library=${BUILD:-build}/libespalier.a
list=tests/golden/abi.txt

exported() { # global, default visibility, defined
    readelf --syms --wide "$library" | awk '$5 == "GLOBAL" && $6 == "DEFAULT" && $7 != "UND" { print $8 }' | LC_ALL=C sort -u
}

names=$(exported)
foreign=$(grep -v '^epl_' <<< "$names" || true)
[ -z "$foreign" ] || { echo "abi: exported, but not ours:"; echo "$foreign"; exit 1; }
if [ "${1:-}" = --update ]; then
    echo "$names" > "$list"
    echo "abi: $list rewritten, $(wc -l < "$list") names"
    exit 0
fi
[ -f "$list" ] || { echo "abi: $list does not exist; tests/abi.sh --update writes it"; exit 1; }
if ! diff -u "$list" <(echo "$names") > /dev/null; then
    echo "abi: the exported names differ from $list (- gone, + new); tests/abi.sh --update accepts them"
    diff "$list" <(echo "$names") | sed -n 's/^</-/p; s/^>/+/p'
    exit 1
fi
echo "abi: $(wc -l < "$list") exported names, as listed"
