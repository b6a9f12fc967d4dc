# One test program per layer, made of all tests/<layer>/*_test.cc, each case known to ctest.

# laconic_tests(LAYER USES libraries...): call from tests/<layer>/CMakeLists.txt.
function(laconic_tests layer)
  cmake_parse_arguments(ARG "" "TIMEOUT" "USES;LABELS;DEPENDS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  file(GLOB sources CONFIGURE_DEPENDS *_test.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(${layer}_test ${sources})
  target_link_libraries(${layer}_test PRIVATE ${ARG_USES} laconic_testing GTest::gmock GTest::gtest GTest::gtest_main)
  laconic_warnings(${layer}_test)
  if(ARG_DEPENDS)
    add_dependencies(${layer}_test ${ARG_DEPENDS})
  endif()
  include(GoogleTest)
  gtest_discover_tests(${layer}_test DISCOVERY_MODE PRE_TEST
    PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${layer};${ARG_LABELS}")
endfunction()
