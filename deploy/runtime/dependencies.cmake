# The libraries that TensorFlow Lite needs, as targets with its names, from the pinned sources. A file
# of redirects makes each find_package() succeed without a search.
foreach(package absl cpuinfo eigen3 farmhash fft2d flatbuffers fp16_headers gemmlowp ml_dtypes
        neon_2_sse ruy xnnpack)
  file(WRITE "${CMAKE_FIND_PACKAGE_REDIRECTS_DIR}/${package}-config.cmake" "")
endforeach()
set(S "${RUNTIME_SOURCES}")

function(headers target folder)
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} SYSTEM INTERFACE "${folder}")
endfunction()

headers(Eigen3::Eigen "${S}/eigen3")
target_compile_definitions(Eigen3::Eigen INTERFACE EIGEN_MPL2_ONLY)
headers(gemmlowp::gemmlowp "${S}/gemmlowp")
add_library(ml_dtypes INTERFACE) # upstream names it, but includes nothing of it
if(CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
  headers(NEON_2_SSE::NEON_2_SSE "${S}/neon-2-sse")
endif()

add_library(farmhash STATIC "${S}/farmhash/src/farmhash.cc")
target_include_directories(farmhash PUBLIC "${S}/farmhash/src")
target_compile_definitions(farmhash PRIVATE FARMHASH_NO_CXX_STRING)

add_library(fft2d_fftsg2d STATIC "${S}/oourafft/fftsg2d.c" "${S}/oourafft/fftsg.c"
  "${S}/oourafft/alloc.c")
target_include_directories(fft2d_fftsg2d PUBLIC "${S}/oourafft")

# The generated schema needs the headers, the verifier one object: ClassicLocale lives in util.cpp.
add_library(flatbuffers STATIC "${S}/flatbuffers/src/util.cpp")
target_include_directories(flatbuffers PUBLIC "${S}/flatbuffers/include")
add_library(flatbuffers::flatbuffers ALIAS flatbuffers)

set(ABSL_PROPAGATE_CXX_STD ON CACHE BOOL "")
set(ABSL_ENABLE_INSTALL OFF CACHE BOOL "")
set(BUILD_TESTING OFF CACHE BOOL "")
add_subdirectory("${S}/abseil" abseil EXCLUDE_FROM_ALL)

set(CPUINFO_SOURCE_DIR "${S}/cpuinfo" CACHE PATH "")
set(PTHREADPOOL_SOURCE_DIR "${S}/pthreadpool" CACHE PATH "")
set(FP16_SOURCE_DIR "${S}/fp16" CACHE PATH "")
set(FXDIV_SOURCE_DIR "${S}/fxdiv" CACHE PATH "")
set(CPUINFO_LIBRARY_TYPE static CACHE STRING "")
set(PTHREADPOOL_LIBRARY_TYPE static CACHE STRING "")
set(PTHREADPOOL_ALLOW_DEPRECATED_API ON CACHE BOOL "")
set(XNNPACK_LIBRARY_TYPE static CACHE STRING "")
set(XNNPACK_BUILD_ALL_MICROKERNELS OFF CACHE BOOL "")
foreach(what CPUINFO_BUILD_TOOLS CPUINFO_BUILD_UNIT_TESTS CPUINFO_BUILD_MOCK_TESTS
        CPUINFO_BUILD_BENCHMARKS CPUINFO_BUILD_PKG_CONFIG PTHREADPOOL_BUILD_TESTS
        PTHREADPOOL_BUILD_BENCHMARKS FP16_BUILD_TESTS FP16_BUILD_BENCHMARKS FXDIV_BUILD_TESTS
        FXDIV_BUILD_BENCHMARKS XNNPACK_BUILD_TESTS XNNPACK_BUILD_BENCHMARKS)
  set(${what} OFF CACHE BOOL "")
endforeach()
# The kernels of cores that no Pi has. DOTPROD is the Pi 5's (Cortex-A76), chosen at run time.
foreach(what KLEIDIAI ARM_SME ARM_SME2 ARM_I8MM ARM_BF16 ARM_FP16_VECTOR ARM_FP16_SCALAR)
  set(XNNPACK_ENABLE_${what} OFF CACHE BOOL "")
endforeach()
add_subdirectory("${S}/xnnpack" xnnpack EXCLUDE_FROM_ALL)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL aarch64)
  # A tile of upstream's generator that is missing in its lists: see xnnpack-int8-tiles.patch. If GCC
  # schedules before register allocation, its values do not fit into 32 registers.
  foreach(kind gemm igemm)
    set(template "${S}/xnnpack/src/qs8-${kind}/c2-neon-mull-shuffle.c.in")
    set(kernel "${CMAKE_CURRENT_BINARY_DIR}/qs8-qc8w-${kind}-4x8c2s4-minmax-fp32-neonv8-mlal.c")
    add_custom_command(OUTPUT "${kernel}" DEPENDS "${template}"
      COMMAND "${Python_EXECUTABLE}" "${S}/xnnpack/tools/xngen" "${template}" -D MR=4 -D NR=8 -D MLA=1
        -D REQUANTIZATION=FP32 -D DATATYPE=QC8 -D ARMV8=1 -o "${kernel}")
    list(APPEND kernels "${kernel}")
  endforeach()
  add_library(int8_tiles STATIC ${kernels})
  target_include_directories(int8_tiles PRIVATE "${S}/xnnpack/include" "${S}/xnnpack/src"
    "${S}/pthreadpool/include")
  target_compile_options(int8_tiles PRIVATE -O2 -fno-schedule-insns)
  target_link_libraries(microkernels-prod PRIVATE int8_tiles)
endif()
# Upstream's own XNNPACK module gives all of TensorFlow Lite these folders.
include_directories(AFTER SYSTEM "${S}/pthreadpool/include" "${S}/fp16/include" "${S}/xnnpack/include"
  "${S}/cpuinfo/include")

# ruy's source is not on the mirror: Debian's static library of it is used, from the target's root. It
# reads the structures of the cpuinfo that it was compiled with, so the two are pinned together.
file(GLOB ruy_archives "${RUNTIME_ROOT}/usr/lib/${RUNTIME_TRIPLE}/libruy_*.a")
if(NOT ruy_archives)
  message(FATAL_ERROR "no libruy in ${RUNTIME_ROOT}")
endif()
add_library(isoc23 STATIC isoc23.c)
headers(ruy::ruy "${RUNTIME_ROOT}/usr/include")
if(CMAKE_SYSTEM_PROCESSOR STREQUAL armv7)
  target_include_directories(ruy::ruy SYSTEM BEFORE INTERFACE "${CMAKE_CURRENT_SOURCE_DIR}/armhf")
endif()
target_link_libraries(ruy::ruy INTERFACE
  -Wl,--start-group ${ruy_archives} -Wl,--end-group isoc23 cpuinfo)
