# Warnings, sanitizers and ccache: what holds for every target of ours.

find_program(LACONIC_CCACHE ccache)
if(LACONIC_CCACHE)
  # Paths below the source tree are made relative, so a second checkout reuses the first one's cache.
  # The sloppiness lets ccache handle precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${LACONIC_CCACHE})
endif()

if(LACONIC_SANITIZE)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${LACONIC_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>")
  add_link_options(-fsanitize=${LACONIC_SANITIZE})
endif()

if(LACONIC_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "LACONIC_FUZZ needs clang++ (libFuzzer), the compiler is ${CMAKE_CXX_COMPILER_ID}: use the preset 'fuzz'")
  endif()
  # Coverage feedback in every layer; libFuzzer's main only in the programs of tests/fuzz.
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

find_program(LACONIC_LLD ld.lld)
if(LACONIC_LLD)
  add_link_options(-fuse-ld=lld)
endif()

# Debug builds keep line tables for stack traces; full debug information of gRPC and torch headers
# would multiply build time and disk use.
string(REPLACE "-g" "-g1" CMAKE_CXX_FLAGS_DEBUG "${CMAKE_CXX_FLAGS_DEBUG}")

function(laconic_warnings target)
  target_compile_options(${target} PRIVATE
    "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion>"
    "$<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${LACONIC_WERROR}>>:-Werror>"
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:Clang>>:-Wthread-safety>
    # g++ 12 warns of overlaps inside std::string that cannot happen (gcc.gnu.org/PR105651).
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-Wno-restrict>)
endfunction()
