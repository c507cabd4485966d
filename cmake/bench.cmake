# One program per bench/*.c, built with everything else and run by hand or by `make bench`.
file(GLOB EPL_BENCH_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*.c)
foreach(source ${EPL_BENCH_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE espalier)
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src) # some time single kernels
endforeach()
