# The papers: what their reproductions share (papers/common), every papers/<slug>/reproduce.c, the table of them, their recorded
# results as text, and the commit that the program was built from.
file(GLOB EPL_PAPER_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/papers/*/*.c)
file(GLOB EPL_PAPER_RESULTS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/papers/*/result.json)
set(EPL_PAPERS_TABLE ${CMAKE_BINARY_DIR}/generated/papers_table.inc)
set(EPL_PAPERS_RESULTS_C ${CMAKE_BINARY_DIR}/generated/papers_results.c)
set(EPL_COMMIT_C ${CMAKE_BINARY_DIR}/generated/papers_commit.c)

add_custom_command(OUTPUT ${EPL_PAPERS_TABLE}
    COMMAND ${CMAKE_COMMAND} -DOUT=${EPL_PAPERS_TABLE} -DDIR=${CMAKE_SOURCE_DIR}/papers/* -DTYPE=paper -DPREFIX=paper_ -DMACRO=PAPER
            -P ${CMAKE_SOURCE_DIR}/cmake/table.cmake
    DEPENDS ${EPL_PAPER_SOURCES} ${CMAKE_SOURCE_DIR}/cmake/table.cmake
    COMMENT "table of papers" VERBATIM)
add_custom_command(OUTPUT ${EPL_PAPERS_RESULTS_C}
    COMMAND ${CMAKE_COMMAND} -DOUT=${EPL_PAPERS_RESULTS_C} -DDIR=${CMAKE_SOURCE_DIR}/papers
            -P ${CMAKE_SOURCE_DIR}/cmake/embed_results.cmake
    DEPENDS ${EPL_PAPER_RESULTS} ${CMAKE_SOURCE_DIR}/cmake/embed_results.cmake ${CMAKE_SOURCE_DIR}/cmake/c_string.cmake
    COMMENT "recorded results of papers")
add_custom_target(espalier-commit BYPRODUCTS ${EPL_COMMIT_C} # looked up at every build, written only when it changes
    COMMAND ${CMAKE_COMMAND} -DOUT=${EPL_COMMIT_C} -DDIR=${CMAKE_SOURCE_DIR} -P ${CMAKE_SOURCE_DIR}/cmake/commit.cmake)

add_library(espalier-papers STATIC ${EPL_PAPER_SOURCES} ${EPL_PAPERS_TABLE} ${EPL_PAPERS_RESULTS_C} ${EPL_COMMIT_C})
target_include_directories(espalier-papers PUBLIC ${CMAKE_SOURCE_DIR} PRIVATE ${CMAKE_BINARY_DIR}/generated)
target_link_libraries(espalier-papers PUBLIC espalier)
add_dependencies(espalier-papers espalier-commit)
