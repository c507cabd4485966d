#!/bin/bash
# The form of the sources that a script can see: lines of at most 140 columns (tables and lists in comments may be wider), no tabs,
# no spaces at a line's end.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

find src include tests bench fuzz papers -name '*.[ch]' | sort | xargs awk '
    function bad(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; failed = 1 }
    length($0) > 140 && $0 !~ /^[ \t]*[{*#]/ { bad(length($0) " columns") }
    /\t/ { bad("a tab") }
    /[ \t]$/ { bad("spaces at its end") }
    END { exit failed }
' || { echo "form: the lines above are too long, or hold what nobody sees"; exit 1; }

echo "form: lines are short and end where they seem to"
