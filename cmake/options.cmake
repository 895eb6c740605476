option(CHOIR_CUDA "Build the CUDA device layer (needs nvcc)" OFF)
option(CHOIR_TESTS "Build the tests" ON)
option(CHOIR_BENCH "Build the benchmarks" ON)
option(CHOIR_FUZZ "Link the programs of tests/fuzz with libFuzzer (needs clang)" OFF)
set(CHOIR_ARCH "native" CACHE STRING
  "Value of -march; use x86-64-v3 for a binary that moves between machines")
set(CHOIR_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize=")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(CHOIR_CCACHE ccache)
if(CHOIR_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CHOIR_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CHOIR_CCACHE})
endif()

set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g1")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")

add_library(choir_flags INTERFACE)
# Fused multiply-add is allowed (the result then does not depend on how the compiler schedules a
# loop, because every kernel fixes its own number of lanes); reassociation is not.
target_compile_options(choir_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:
  -Wall -Wextra -Werror -Wno-psabi -Wno-restrict -Wno-missing-field-initializers
  -march=${CHOIR_ARCH} -ffp-contract=fast -fno-math-errno -fno-trapping-math>)
if(CHOIR_SANITIZE)
  target_compile_options(choir_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:
    -fsanitize=${CHOIR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
    # gcc's own manual: its instrumentation makes this warning wrong.
    -Wno-maybe-uninitialized>)
  target_link_options(choir_flags INTERFACE -fsanitize=${CHOIR_SANITIZE})
endif()
if(CHOIR_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "CHOIR_FUZZ is on (the preset `fuzz`), but ${CMAKE_CXX_COMPILER} is not "
      "clang, which libFuzzer is part of; scripts/fuzz chooses one and says what to install")
  endif()
  # Coverage of all of Choir guides the fuzzer; only the programs themselves get its main.
  # Warnings are gcc's business: clang has others.
  target_compile_options(choir_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:
    -fsanitize=fuzzer-no-link -Wno-error -Wno-unknown-warning-option>)
endif()
