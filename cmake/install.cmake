# Install rules: headers, the static library, the command, a CMake package and a pkg-config file.
