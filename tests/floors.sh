#!/bin/bash
# The rule of the house: a floor includes only itself and the floors above it; cli and papers see nothing but <espalier/...>.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

floors="base report tensor graph ops grad passes kernels program onnx nn zoo data train compress morph search analysis dist online compile bench pipeline"

awk -v floors="$floors" '
    BEGIN { n = split(floors, list, " "); for (i = 1; i <= n; i++) rank[list[i]] = i }
    function bad(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; failed = 1 }
    FNR == 1 {
        path = FILENAME
        public_only = path ~ /^(src\/cli|papers)\//
        floor = path
        sub(/^(src|include\/espalier)\//, "", floor)
        sub(/(\/.*|\.h)$/, "", floor)
        if (!public_only && !(floor in rank) && floor != "espalier") bad("the floor \"" floor "\" is not in the list of tests/floors.sh")
    }
    /^[ \t]*#[ \t]*include[ \t]*["<][a-z_0-9]+\/[^">]+[">]/ {
        quoted = $0 ~ /"/
        target = $0
        sub(/^[^"<]*["<]/, "", target)
        sub(/[">].*/, "", target)
        if (target ~ /^espalier\//) {
            sub(/^espalier\//, "", target)
            sub(/\.h$/, "", target)
        } else if (quoted) {
            if (target == "ops/ref.h") next # stands alone; the table entry, graph/op.h, is made of it
            sub(/\/.*/, "", target)
            if (public_only && target != "cli" && target != "papers") bad("includes an internal header of \"" target "\"")
        } else
            next # a header of the system
        if (!public_only && floor != "espalier" && (target in rank) && rank[target] > rank[floor])
            bad("\"" floor "\" includes \"" target "\", a floor below it")
        if (!public_only && (target == "cli" || target == "papers")) bad("includes a header of " target)
    }
    END { exit failed }
' $(find src include papers -name '*.[ch]' -o -name '*.def' -o -name '*.inc' 2> /dev/null | sort) || { echo "floors: the rule is broken"; exit 1; }

echo "floors: every include stays on its side"
