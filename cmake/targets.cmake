# choir_joined(TARGET [alone...]): a build with sanitizers compiles eight of the target's files at a
# time, for most of its time would go into the headers that they share. The names in their anonymous
# namespaces must then differ; the files named last, whose names or headers clash with others', are
# compiled alone. Other builds compile each file alone and show that it can be.
function(choir_joined target)
  if(CHOIR_SANITIZE)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
    foreach(file ${ARGN})
      if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
        message(FATAL_ERROR "${target}: ALONE names ${file}, which is not in this folder")
      endif()
      set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/${file}
        PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    endforeach()
    # Meant for types in headers; the joined files look like some.
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
  endif()
endfunction()

# How test programs are compiled: with less optimisation than the libraries, whose code is what
# takes time in them. With sanitizers also without two checks that cost a third of their compile
# time and that the libraries keep: a null pointer crashes anyway, alignment matters to kernels.
add_library(choir_test_flags INTERFACE)
if(CHOIR_SANITIZE)
  target_compile_options(choir_test_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:
    -O0 -fno-sanitize=null,alignment>)
else()
  target_compile_options(choir_test_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-O1>)
endif()

# choir_library(NAME [JOINED [ALONE files...]] [ROOMS folders...] [DEPS targets...]): a library of
# every .cc (and, with CUDA, .cu) file in the current folder and the named ones inside it, except
# main.cc. One with .cu files is linked with the CUDA runtime and cuBLAS. JOINED: see choir_joined.
function(choir_library name)
  cmake_parse_arguments(ARG "JOINED" "" "ALONE;ROOMS;DEPS" ${ARGN})
  set(patterns *.cc)
  foreach(room ${ARG_ROOMS})
    list(APPEND patterns ${room}/*.cc)
  endforeach()
  list(TRANSFORM patterns PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  if(CHOIR_CUDA)
    file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cu)
    list(APPEND sources ${cuda_sources})
  endif()
  add_library(choir_${name} STATIC ${sources})
  target_include_directories(choir_${name} PUBLIC ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/..)
  target_link_libraries(choir_${name} PUBLIC choir_flags ${ARG_DEPS})
  if(ARG_JOINED)
    choir_joined(choir_${name} ${ARG_ALONE})
  endif()
  if(cuda_sources)
    target_link_libraries(choir_${name} PRIVATE CUDA::cudart CUDA::cublas)
  endif()
endfunction()

# choir_test(FOLDER [JOINED [ALONE files...]] [ROOMS folders...] [DEPS targets...]): one program of
# every *.cc in the current folder and the named ones inside it, and, with CUDA, of every *.cu in
# the current one.
function(choir_test name)
  cmake_parse_arguments(ARG "JOINED" "" "ALONE;ROOMS;DEPS" ${ARGN})
  set(patterns *.cc)
  foreach(room ${ARG_ROOMS})
    list(APPEND patterns ${room}/*.cc)
  endforeach()
  list(TRANSFORM patterns PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  if(NOT sources)
    return()
  endif()
  if(CHOIR_CUDA)
    file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cu)
    list(APPEND sources ${cuda_sources})
  endif()
  add_executable(${name}_test ${sources})
  if(cuda_sources)
    target_link_libraries(${name}_test PRIVATE CUDA::cudart CUDA::cublas)
  endif()
  target_link_libraries(${name}_test
    PRIVATE ${ARG_DEPS} choir_test_flags GTest::gmock GTest::gtest GTest::gtest_main)
  target_compile_definitions(${name}_test
    PRIVATE CHOIR_SOURCE_DIR="${CMAKE_CURRENT_FUNCTION_LIST_DIR}/..")
  if(ARG_JOINED)
    choir_joined(${name}_test ${ARG_ALONE})
  endif()
  gtest_discover_tests(${name}_test
    TEST_PREFIX ${name}. DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300)
endfunction()
