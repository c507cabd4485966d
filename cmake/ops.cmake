# Tables collected by the build, so that nothing else lists what stands in them: the operators, every `const epl_op epl_op_<name>`
# in src/ops, and the architectures, every `const epl_zoo_entry epl_zoo_<name>` in src/zoo.
function(epl_table folder type prefix macro)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${folder}/*.c ${CMAKE_SOURCE_DIR}/src/${folder}/*.def)
    set(out ${CMAKE_BINARY_DIR}/generated/${folder}_table.inc)
    add_custom_command(OUTPUT ${out}
        COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DDIR=${CMAKE_SOURCE_DIR}/src/${folder} -DTYPE=${type} -DPREFIX=${prefix} -DMACRO=${macro}
                -P ${CMAKE_SOURCE_DIR}/cmake/table.cmake
        DEPENDS ${sources} ${CMAKE_SOURCE_DIR}/cmake/table.cmake
        COMMENT "table of ${folder}")
    add_custom_target(espalier-${folder}-table DEPENDS ${out})
    add_dependencies(espalier-core espalier-${folder}-table)
endfunction()

epl_table(ops epl_op epl_op_ EPL_OP)
epl_table(zoo epl_zoo_entry epl_zoo_ EPL_ZOO)
