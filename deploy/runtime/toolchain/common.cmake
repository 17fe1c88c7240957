# The common part of the toolchains. Each sets RUNTIME_TRIPLE and RUNTIME_CPU and includes this.
set(CMAKE_C_COMPILER "${RUNTIME_TRIPLE}-gcc")
set(CMAKE_CXX_COMPILER "${RUNTIME_TRIPLE}-g++")
set(CMAKE_ASM_COMPILER "${RUNTIME_TRIPLE}-gcc")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
# Nothing on this machine is searched: every dependency comes from the pinned sources.
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)

# Each function and object has its own section, so that the linker can drop unused ones.
# No errno from sqrt and the like: it is not read, and without it they are one instruction.
# The result contains no paths of this machine.
set(_runtime_flags "${RUNTIME_CPU} -ffunction-sections -fdata-sections -fno-math-errno")
string(APPEND _runtime_flags " -ffile-prefix-map=${RUNTIME_SOURCES}=/src")
string(APPEND _runtime_flags " -ffile-prefix-map=${RUNTIME_ROOT}=/root")
# Hardening that costs nothing per frame.
string(APPEND _runtime_flags " -D_FORTIFY_SOURCE=2 -fstack-clash-protection")
set(CMAKE_C_FLAGS_INIT "${_runtime_flags}")
set(CMAKE_CXX_FLAGS_INIT "${_runtime_flags}")
set(CMAKE_ASM_FLAGS_INIT "${RUNTIME_CPU}")
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES RUNTIME_SOURCES RUNTIME_ROOT)
