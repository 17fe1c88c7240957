# Debian's cross compiler for the Pi 4's Cortex-A72 under a 32-bit system. -mfpu=neon-fp-armv8 is the
# A72's unit; neon-vfpv4 would be the Cortex-A7's.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7)
set(RUNTIME_TRIPLE arm-linux-gnueabihf)
set(RUNTIME_CPU "-march=armv8-a+crc -mtune=cortex-a72 -mfpu=neon-fp-armv8 -mfloat-abi=hard")
include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")
