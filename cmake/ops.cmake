# The operator table: every `const epl_op epl_op_<name>` in src/ops/*.c, found by name at build time. Nothing else lists
# operators.
file(GLOB EPL_OP_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/ops/*.c ${CMAKE_SOURCE_DIR}/src/ops/*.def)
set(EPL_OP_TABLE ${CMAKE_BINARY_DIR}/generated/ops_table.inc)
add_custom_command(OUTPUT ${EPL_OP_TABLE}
    COMMAND ${CMAKE_COMMAND} -DOUT=${EPL_OP_TABLE} -DDIR=${CMAKE_SOURCE_DIR}/src/ops -P ${CMAKE_SOURCE_DIR}/cmake/ops_table.cmake
    DEPENDS ${EPL_OP_SOURCES} ${CMAKE_SOURCE_DIR}/cmake/ops_table.cmake
    COMMENT "operator table")
add_custom_target(espalier-op-table DEPENDS ${EPL_OP_TABLE})
add_dependencies(espalier-core espalier-op-table)
