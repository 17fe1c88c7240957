/* Debian compiles its 32-bit libruy without NEON, which its armhf does not demand: the kernels that
 * ruy's headers would call are not in it. This one comes before ruy's own and says so. */
#include_next <ruy/platform.h>

#undef RUY_PLATFORM_NEON
#define RUY_PLATFORM_NEON 0
