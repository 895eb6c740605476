# The CUDA language, its flags and libraries. Included only where CHOIR_CUDA is on.

# The toolkit's installer leaves nvcc off the PATH. A compiler chosen by the user comes first.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(CHOIR_NVCC nvcc
    HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda /opt/cuda PATH_SUFFIXES bin)
  if(NOT CHOIR_NVCC)
    message(FATAL_ERROR
      "CHOIR_CUDA is on (the preset `cuda`), but there is no nvcc: neither on the PATH, nor below "
      "$CUDA_HOME, $CUDA_PATH, /usr/local/cuda or /opt/cuda. Install the CUDA Toolkit (12 or "
      "newer), or name the compiler with -DCMAKE_CUDA_COMPILER=<path to nvcc>, or build without "
      "CUDA: cmake --preset cpu")
  endif()
  set(CMAKE_CUDA_COMPILER ${CHOIR_NVCC})
endif()

# Machine code for A100 (it also runs on the other 8.x) and H100, and PTX that the driver translates
# for newer devices. CMake sets its own default in enable_language, so this comes before.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
endif()
# One CUDA runtime in a process, the one that CUDA::cudart names.
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
enable_language(CUDA)
# 12: the 64-bit interface of cuBLAS.
find_package(CUDAToolkit 12 REQUIRED)

set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -lineinfo")
set(CMAKE_CUDA_FLAGS_RELWITHDEBINFO "-O1 -g -lineinfo")

target_compile_definitions(choir_flags INTERFACE CHOIR_WITH_CUDA)
target_compile_options(choir_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Werror>")
