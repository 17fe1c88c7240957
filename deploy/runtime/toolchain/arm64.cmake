# Debian's cross compiler for the Pi 4's Cortex-A72, 64 bits.
# -march and not -mcpu: XNNPACK adds a -march of its own to each kernel's file, and GCC warns where
# the two disagree. -mtune stays as it is then.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(RUNTIME_TRIPLE aarch64-linux-gnu)
set(RUNTIME_CPU "-march=armv8-a+crc -mtune=cortex-a72")
include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")
