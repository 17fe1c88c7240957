/* Debian compiles its 32-bit libruy without NEON, which its armhf does not require: the kernels that
 * ruy's headers would call are missing in it. This header comes before ruy's own and says so. */
#include_next <ruy/platform.h>

#undef RUY_PLATFORM_NEON
#define RUY_PLATFORM_NEON 0
