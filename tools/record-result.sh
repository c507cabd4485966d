#!/bin/bash
# Makes a run of `espalier reproduce PAPER --out DIR` the recorded one: copies result.json and the plots to papers/PAPER/, builds, and
# writes the READMEs anew. Give several folders at once.
# usage: tools/record-result.sh DIR...
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: tools/record-result.sh DIR..." >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$root/build}
for dir in "$@"; do
    slug=$(sed -n 's/^ *"paper": "\([a-z0-9-]*\)",$/\1/p' "$dir/result.json" | head -1)
    [ -n "$slug" ] && [ -d "$root/papers/$slug" ] || { echo "record-result: $dir/result.json names no paper of papers/" >&2; exit 1; }
    grep -q '"part": "full"' "$dir/result.json" && grep -q '"shortened": false' "$dir/result.json" ||
        { echo "record-result: $dir is not a full run" >&2; exit 1; }
    rm -f "$root/papers/$slug"/*.svg
    cp "$dir/result.json" "$root/papers/$slug/"
    find "$dir" -maxdepth 1 -name '*.svg' -exec cp {} "$root/papers/$slug/" \;
    echo "recorded $slug"
done
cmake --build "$build" --target test_papers espalier-cli
(cd "$root" && EPL_UPDATE_GOLDEN=1 "$build/test_papers" 'readmes_*,the_index_*')
