# The sources that compiled networks carry: the kernels, and the operators' reference kernels (the part of each file between
# its `begin reference` and `end reference` lines), as strings in the library. `src/compile/sources.h` is the table's type.
file(GLOB EPL_EMBEDDED CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/*.[ch] ${CMAKE_SOURCE_DIR}/src/ops/*.[ch]
                                         ${CMAKE_SOURCE_DIR}/src/compile/template/*)
set(EPL_EMBEDDED_C ${CMAKE_BINARY_DIR}/generated/sources.c)
add_custom_command(OUTPUT ${EPL_EMBEDDED_C}
    COMMAND ${CMAKE_COMMAND} -DOUT=${EPL_EMBEDDED_C} -DDIR=${CMAKE_SOURCE_DIR}/src -P ${CMAKE_SOURCE_DIR}/cmake/embed_sources.cmake
    DEPENDS ${EPL_EMBEDDED} ${CMAKE_SOURCE_DIR}/cmake/embed_sources.cmake
    COMMENT "sources of compiled networks")
target_sources(espalier-core PRIVATE ${EPL_EMBEDDED_C})
