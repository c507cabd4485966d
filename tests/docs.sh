#!/bin/bash
# Documents tell the truth about files: every relative link leads somewhere, every source file named in DESIGN.md and
# CONTRIBUTING.md exists, every page of docs/ is linked from docs/README.md or, the verbs, docs/index.md.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
complain() { echo "docs: $1"; failed=1; }

files=$(git ls-files)
pages=$(grep '\.md$' <<< "$files")
for page in $pages; do
    while read -r target; do
        [ -e "$(dirname "$page")/$target" ] || complain "$page links to $target, which does not exist"
    done < <(grep -oE '\]\([^)#: ]+' "$page" | cut -c3-)
done
for page in DESIGN.md CONTRIBUTING.md; do
    while read -r name; do
        grep -qE "(^|/)${name//./\\.}$" <<< "$files" || complain "$page names $name, which does not exist"
    done < <(grep -oE '`[a-z0-9_/]+\.(c|h|def|sh|md|txt|cmake)`' "$page" | tr -d '`' | sort -u)
done
for page in docs/*.md; do
    [ "$page" = docs/README.md ] || grep -qF "]($(basename "$page"))" docs/README.md docs/index.md ||
        complain "$page is linked from neither docs/README.md nor docs/index.md"
done
[ "$failed" = 0 ] || exit 1
echo "docs: links, file names and the index agree with the tree"
