/* libruy of Debian 13 is compiled against glibc 2.38, whose strtol has a new name: it also reads
 * binary numbers. Debian 12 lacks it. ruy reads only decimal numbers with it. */
#include <stdlib.h>

long __isoc23_strtol(const char *text, char **end, int base) {
  return strtol(text, end, base);
}
