# Fuzz targets: one libFuzzer program per fuzz/fuzz_<name>.c, its seeds in fuzz/seeds/<name>/. Configure with clang:
#   CC=clang cmake -S . -B build-fuzz -G Ninja -DEPL_FUZZ=ON && cmake --build build-fuzz --target fuzzers
#   build-fuzz/fuzz_graph_text -max_total_time=300 build-fuzz/corpus/graph_text fuzz/seeds/graph_text
file(GLOB EPL_FUZZ_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/fuzz/fuzz_*.c)
add_custom_target(fuzzers)
foreach(source ${EPL_FUZZ_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    string(REPLACE "fuzz_" "" corpus ${name})
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/corpus/${corpus})
    add_executable(${name} EXCLUDE_FROM_ALL ${source})
    target_link_libraries(${name} PRIVATE espalier)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src)
    epl_use_libraries(${name})
    add_dependencies(fuzzers ${name})
endforeach()
