# One static library per room. A room's public dependencies are the doors it may use;
# tests/architecture fails when an #include goes through a wall.
#
#   deltaserve_room(NAME SOURCES a.cc b.cc [PUBLIC deps...] [PRIVATE deps...])
#   deltaserve_test(NAME SOURCES a_test.cc [DEPS deps...] [ENVIRONMENT VAR=x ...] [LABELS l...])
#   deltaserve_test_variant(NAME TEST test ENVIRONMENT VAR=x ... [LABELS l...])
#   deltaserve_fuzzer(NAME SOURCES a_fuzzer.cc [DEPS deps...])
#
# A variant runs a test's program once more, under another environment. A test's first label is its
# room, the name of its folder: `ctest -L service` runs a room's tests, target tests_service builds
# them; likewise for every other label.
function(deltaserve_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC}
                                PRIVATE $<BUILD_INTERFACE:deltaserve_options> ${ARG_PRIVATE})
  target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
endfunction()

function(deltaserve_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;ENVIRONMENT;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE deltaserve_options ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE DELTASERVE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  deltaserve_test_variant(${name} TEST ${name} ENVIRONMENT ${ARG_ENVIRONMENT} LABELS ${ARG_LABELS})
endfunction()

function(deltaserve_test_variant name)
  cmake_parse_arguments(ARG "" "TEST" "ENVIRONMENT;LABELS" ${ARGN})
  cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME room)
  list(PREPEND ARG_LABELS ${room})
  # Tests run side by side: a compute thread that spins while it waits would take its neighbour's core.
  list(APPEND ARG_ENVIRONMENT "OMP_WAIT_POLICY=passive")
  if(DELTASERVE_SANITIZE MATCHES "thread")
    list(APPEND ARG_ENVIRONMENT "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp")
  endif()
  if(DELTASERVE_SANITIZE MATCHES "address")
    list(APPEND ARG_ENVIRONMENT
      "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/lsan.supp:print_suppressions=0")
  endif()
  add_test(NAME ${name} COMMAND ${ARG_TEST})
  set(seconds 600)
  if(DELTASERVE_SANITIZE)
    set(seconds 1800)
  endif()
  set_tests_properties(${name} PROPERTIES
    ENVIRONMENT "${ARG_ENVIRONMENT}" LABELS "${ARG_LABELS}" TIMEOUT ${seconds})
  foreach(label ${ARG_LABELS})
    if(NOT TARGET tests_${label})
      add_custom_target(tests_${label})
    endif()
    add_dependencies(tests_${label} ${ARG_TEST})
  endforeach()
endfunction()

function(deltaserve_fuzzer name)
  if(NOT DELTASERVE_BUILD_FUZZERS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE deltaserve_options ${ARG_DEPS})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)

  # As a test it runs briefly, from the seeds and from what earlier runs found.
  set(found ${CMAKE_CURRENT_BINARY_DIR}/found/${name})
  file(MAKE_DIRECTORY ${found})
  add_test(NAME ${name}
    COMMAND ${name} -max_total_time=20 ${found} ${CMAKE_CURRENT_SOURCE_DIR}/seeds/${name})
  set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 120)
  if(NOT TARGET tests_fuzz)
    add_custom_target(tests_fuzz)
  endif()
  add_dependencies(tests_fuzz ${name})
endfunction()
