# The libraries that Espalier stands on: what is required, and what is optional. An optional one that is missing leaves
# EPL_HAVE_<NAME> undefined; the feature then answers with the name of the Debian package.
find_package(PkgConfig REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C)
set(EPL_LIBRARIES m ${OpenMP_C_LIBRARIES})
set(EPL_DEFINITIONS)
set(EPL_INCLUDES)
set(EPL_MODULES) # names for pkg-config, of what has to be linked

function(epl_find name module required)
    pkg_check_modules(${name} QUIET ${module})
    if(${name}_FOUND)
        if(NOT "${ARGV3}" STREQUAL HEADERS_ONLY)
            list(APPEND EPL_LIBRARIES ${${name}_LINK_LIBRARIES})
            list(APPEND EPL_MODULES ${module})
        endif()
        list(APPEND EPL_DEFINITIONS EPL_HAVE_${name}=1)
        list(APPEND EPL_INCLUDES ${${name}_INCLUDE_DIRS})
        set(EPL_LIBRARIES ${EPL_LIBRARIES} PARENT_SCOPE)
        set(EPL_DEFINITIONS ${EPL_DEFINITIONS} PARENT_SCOPE)
        set(EPL_INCLUDES ${EPL_INCLUDES} PARENT_SCOPE)
        set(EPL_MODULES ${EPL_MODULES} PARENT_SCOPE)
    elseif(required)
        message(FATAL_ERROR "${module} not found: install the packages of packages.txt (`make setup`)")
    endif()
endfunction()

epl_find(JANSSON jansson TRUE)
epl_find(YAML yaml-0.1 TRUE)
epl_find(PROTOBUF_C libprotobuf-c TRUE)
epl_find(ZLIB zlib TRUE)
epl_find(XXHASH libxxhash TRUE HEADERS_ONLY)
epl_find(PNG libpng FALSE)
epl_find(TURBOJPEG libturbojpeg FALSE)
if(EPL_BENCH_DNNL) # its header alone: the benchmark loads the library when it runs
    find_path(EPL_DNNL_HEADER oneapi/dnnl/dnnl.h)
    if(EPL_DNNL_HEADER)
        list(APPEND EPL_DEFINITIONS EPL_HAVE_DNNL=1)
    endif()
endif()

if(EPL_STATIC) # archives, and zlib again for those before it in the line
    list(TRANSFORM EPL_LIBRARIES REPLACE "\\.so$" ".a")
    list(APPEND EPL_LIBRARIES -lz -lm)
endif()

function(epl_use_libraries target) # what a file needs to compile
    target_compile_definitions(${target} PRIVATE ${EPL_DEFINITIONS})
    target_include_directories(${target} SYSTEM PRIVATE ${EPL_INCLUDES})
endfunction()

function(epl_link_libraries target) # what a program needs to link
    target_link_libraries(${target} PUBLIC ${EPL_LIBRARIES})
endfunction()
