# The cross compiler for OpenCV: the runtime's, with the flags of deploy/opencv/recipe.py.
#
# RUNTIME_PROCESSOR  CMake's name of the target's processor
# RUNTIME_TRIPLE, RUNTIME_CPU, RUNTIME_SOURCES, RUNTIME_ROOT  as in deploy/runtime/toolchain/common.cmake
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR "${RUNTIME_PROCESSOR}")
include("${CMAKE_CURRENT_LIST_DIR}/../runtime/toolchain/common.cmake")
set(CMAKE_FIND_ROOT_PATH "${RUNTIME_ROOT}")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES RUNTIME_TRIPLE RUNTIME_CPU RUNTIME_PROCESSOR)
