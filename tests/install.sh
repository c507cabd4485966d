#!/bin/bash
# Installs into a temporary folder and builds a program against it, once with pkg-config and once with find_package.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/root" > "$work/install.log"
mkdir "$work/app"
cat > "$work/app/main.c" << 'END'
#include <espalier/espalier.h>
#include <stdio.h>

int main(void)
{
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 3));
    char         text[192];
    if (!x)
        return 1;
    printf("%s\n", epl_shape_text(text, x->shape));
    epl_tensor_free(x);
    epl_context_free(ctx);
    return 0;
}
END
cat > "$work/app/CMakeLists.txt" << 'END'
cmake_minimum_required(VERSION 3.22)
project(app LANGUAGES C)
find_package(espalier 0.1 REQUIRED)
add_executable(app main.c)
target_link_libraries(app PRIVATE espalier::espalier)
END

expect() { [ "$2" = "[2, 3]" ] || { echo "install: the program built with $1 printed '$2', expected '[2, 3]'"; exit 1; }; }

PKG_CONFIG_PATH=$(dirname "$(find "$work/root" -name espalier.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046 # flags are words
cc -std=c17 -Wall -Wextra -Werror "$work/app/main.c" -o "$work/by-pkg-config" $(pkg-config --cflags --libs espalier)
expect pkg-config "$("$work/by-pkg-config")"

cmake -S "$work/app" -B "$work/app/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/root" > "$work/cmake.log"
cmake --build "$work/app/build" > "$work/cmake.log"
expect find_package "$("$work/app/build/app")"

for header in "$work"/root/include/espalier/*.h; do # each stands alone
    echo "#include <espalier/$(basename "$header")>" | cc -std=c17 -Wall -Wextra -Werror -fsyntax-only -I"$work/root/include" -xc -
done
if [ -x "$work/root/bin/espalier" ]; then
    "$work/root/bin/espalier" --help > /dev/null
fi
echo "install: pkg-config, find_package and every header work"
