#!/bin/bash
# The names that the static library exports are exactly those that the public headers declare with EPL_API: every declared
# function is defined, nothing else is visible, and every name starts with epl_.
set -euo pipefail
cd "$(dirname "$0")/.."
library=${BUILD:-build}/libespalier.a

# The preprocessor leaves EPL_API's attribute before every declaration; the function is the first name before a parenthesis.
declared=$(for header in include/espalier/*.h; do echo "#include <espalier/$(basename "$header")>"; done |
    cc -std=c17 -E -P -Iinclude -xc - | tr '\n' ' ' | sed 's/__attribute__((visibility("default")))/\n@/g' |
    sed -nE 's/^@[^(;]*[ *]([A-Za-z_0-9]+) *\(.*/\1/p' | LC_ALL=C sort -u)
exported=$(readelf --syms --wide "$library" | awk '$5 == "GLOBAL" && $6 == "DEFAULT" && $7 != "UND" { print $8 }' | LC_ALL=C sort -u)

fail() { [ -z "$2" ] || { echo "abi: $1:"; echo "$2"; exit 1; }; }
fail "declared in include/espalier, but defined nowhere" "$(LC_ALL=C comm -23 <(echo "$declared") <(echo "$exported"))"
fail "visible, but no public header declares it" "$(LC_ALL=C comm -13 <(echo "$declared") <(echo "$exported"))"
fail "declared, but does not start with epl_" "$(grep -v '^epl_' <<< "$declared" || true)"
echo "abi: $(wc -l <<< "$declared") exported names, as declared"
