# Install rules: headers, the static library, the command, a CMake package (find_package(espalier) gives espalier::espalier)
# and a pkg-config file (pkg-config --cflags --libs espalier).
include(CMakePackageConfigHelpers)
set(EPL_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/espalier)

install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/espalier DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS espalier EXPORT espalier-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET espalier-cli)
    install(TARGETS espalier-cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

install(EXPORT espalier-targets FILE espalier-config.cmake NAMESPACE espalier:: DESTINATION ${EPL_PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/espalier-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/espalier-config-version.cmake DESTINATION ${EPL_PACKAGE_DIR})

# The library is static: whoever links it needs what it stands on, so the list stands under Libs, not Libs.private.
file(RELATIVE_PATH EPL_PC_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
list(JOIN EPL_MODULES " " EPL_PC_REQUIRES)
set(EPL_PC_LIBS "")
foreach(library ${OpenMP_C_LIBRARIES})
    string(APPEND EPL_PC_LIBS " ${library}")
endforeach()
configure_file(${CMAKE_SOURCE_DIR}/cmake/espalier.pc.in ${CMAKE_BINARY_DIR}/espalier.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/espalier.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
