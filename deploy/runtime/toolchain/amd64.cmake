# The development machine: the same recipe, so that its tests run the same runtime. Every x86-64
# processor since 2009 has x86-64-v2; XNNPACK detects more when it starts.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(RUNTIME_TRIPLE x86_64-linux-gnu)
set(RUNTIME_CPU "-march=x86-64-v2")
include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")
