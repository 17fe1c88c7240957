/* Do the kernels that our patches choose compute what XNNPACK's own choices do, bit for bit?
 *
 * Links the micro-kernels of a build and runs each pair on the same numbers, with every rest of rows,
 * columns and channels. Prints "<pair> <cases> <values that differ>", one line a pair; the exit status is
 * 1 where anything differs. Weights are packed here as src/packing.c packs them. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xnnpack/dwconv.h"
#include "xnnpack/gemm.h"
#include "xnnpack/igemm.h"

enum { SPARE = 64, TAPS = 9 };
typedef union xnn_qs8_qc8w_conv_minmax_params params;
#define KERNEL(kind, rest) xnn_qs8_qc8w_##kind##_minmax_fp32_ukernel_##rest
typedef __typeof__(KERNEL(gemm, 4x8c2s4__neonv8_mlal)) *gemm_kernel;
typedef __typeof__(KERNEL(igemm, 4x8c2s4__neonv8_mlal)) *igemm_kernel;
typedef __typeof__(KERNEL(dwconv, 9p16c__neonv8_mla8_ld128)) *filter_kernel;

typedef struct { /* a matrix product's kernel, and the tile that its weights are packed for */
  gemm_kernel gemm;
  igemm_kernel igemm;
  int mr, nr, kr, sr;
} product;

static uint32_t state = 1;

static int8_t number(void) {
  state = state * 1664525u + 1013904223u;
  int8_t drawn = (int8_t)(state >> 24);
  return drawn == -128 ? -127 : drawn; /* as converters write weights; two of -128 would overflow 16 bits */
}

static int8_t *numbers(size_t total) {
  int8_t *drawn = calloc(1, total + SPARE);
  for (size_t i = 0; i < total; i++) drawn[i] = number();
  return drawn;
}

static params limits(void) {
  params made;
  memset(&made, 0, sizeof made);
  made.fp32_neonv8.output_zero_point = 3;
  made.fp32_neonv8.output_min = -120;
  made.fp32_neonv8.output_max = 121;
  return made;
}

static float scale(int channel) { return 0.0004f * (float)(1 + channel % 5); }

/* weights is [columns][taps][depth]; the caller frees what is returned. */
static int8_t *pack(product one, const int8_t *weights, int columns, int taps, int depth) {
  int tile = one.kr * one.sr, padded = (depth + tile - 1) / tile * tile;
  int blocks = (columns + one.nr - 1) / one.nr;
  int8_t *packed = calloc(1, (size_t)blocks * one.nr * (8 + (size_t)taps * padded) + SPARE), *to = packed;
  for (int first = 0; first < columns; first += one.nr) {
    for (int n = 0; n < one.nr; n++, to += 4) {
      int32_t bias = first + n < columns ? 37 * (first + n) - 500 : 0;
      memcpy(to, &bias, sizeof bias);
    }
    for (int tap = 0; tap < taps; tap++)
      for (int start = 0; start < padded; start += one.kr)
        for (int n = 0; n < one.nr; n++)
          for (int k = 0; k < one.kr; k++) {
            int at = start / tile * tile + ((start + k + n * one.kr) & (tile - 1));
            int there = at < depth && first + n < columns;
            *to++ = there ? weights[((first + n) * taps + tap) * depth + at] : 0;
          }
    for (int n = 0; n < one.nr; n++, to += 4) {
      float factor = scale(first + n);
      memcpy(to, &factor, sizeof factor);
    }
  }
  return packed;
}

/* taps is 1 for a matrix product; otherwise a convolution's, some of them in the padding. */
static int8_t *multiply(product one, const int8_t *input, const int8_t *weights, int rows, int columns,
                        int taps, int depth) {
  int8_t *packed = pack(one, weights, columns, taps, depth);
  int8_t *output = calloc(1, (size_t)rows * columns + SPARE);
  int8_t *padding = calloc(1, (size_t)depth + SPARE);
  const int8_t *pointers[TAPS * 4];
  params limit = limits();
  for (int row = 0; row < rows; row += one.mr) {
    int some = rows - row < one.mr ? rows - row : one.mr;
    if (one.gemm)
      one.gemm(some, columns, depth, input + (size_t)row * depth, depth, packed,
               output + (size_t)row * columns, columns, one.nr, &limit);
    else {
      for (int tap = 0; tap < taps; tap++)
        for (int m = 0; m < one.mr; m++) {
          int of = row + (m < some ? m : some - 1);
          pointers[tap * one.mr + m] = (of + tap) % 7 ? input + (size_t)(of + tap) * depth : padding;
        }
      one.igemm(some, columns, depth, (size_t)taps * one.mr * sizeof(void *), pointers, packed,
                output + (size_t)row * columns, columns, one.nr, 0, padding, &limit);
    }
  }
  free(packed), free(padding);
  return output;
}

static int products(const char *name, product ours, product theirs, int taps, int deepest) {
  int cases = 0, differ = 0;
  for (int depth = 1; depth <= deepest; depth += depth < 18 ? 1 : 13)
    for (int columns = 1; columns <= 56; columns += columns < 17 ? 1 : 13)
      for (int rows = 1; rows <= 9; rows++, cases++) {
        int8_t *input = numbers((size_t)(rows + taps) * depth);
        int8_t *weights = numbers((size_t)columns * taps * depth);
        int8_t *mine = multiply(ours, input, weights, rows, columns, taps, depth);
        int8_t *other = multiply(theirs, input, weights, rows, columns, taps, depth);
        for (int i = 0; i < rows * columns; i++) differ += mine[i] != other[i];
        free(input), free(weights), free(mine), free(other);
      }
  printf("%s %d %d\n", name, cases, differ);
  return differ;
}

/* Sixteen channels a tile: biases, then for each tap the weights, then the scales. */
static int8_t *filter(filter_kernel kernel, const int8_t *input,
                      const int8_t *weights, int channels, int taps, int width) {
  enum { TILE = 16 };
  int blocks = (channels + TILE - 1) / TILE;
  int8_t *packed = calloc(1, (size_t)blocks * TILE * (8 + taps) + SPARE), *to = packed;
  for (int first = 0; first < channels; first += TILE) {
    for (int c = 0; c < TILE; c++, to += 4) {
      int32_t bias = 11 * (first + c) - 90;
      memcpy(to, &bias, sizeof bias);
    }
    for (int tap = 0; tap < taps; tap++)
      for (int c = 0; c < TILE; c++)
        *to++ = first + c < channels ? weights[tap * channels + first + c] : 0;
    for (int c = 0; c < TILE; c++, to += 4) {
      float factor = 8 * scale(first + c);
      memcpy(to, &factor, sizeof factor);
    }
  }
  int8_t *output = calloc(1, (size_t)width * channels + SPARE);
  int8_t *padding = calloc(1, (size_t)channels + SPARE);
  const int8_t **pointers = calloc((size_t)width * taps, sizeof *pointers);
  for (int x = 0; x < width; x++)
    for (int tap = 0; tap < taps; tap++)
      pointers[x * taps + tap] = (x + tap) % 5 ? input + (size_t)(x + tap) * channels : padding;
  params limit = limits();
  kernel(channels, width, pointers, packed, output, (intptr_t)(taps * sizeof(void *)), 0, 0, padding, &limit);
  free(packed), free(padding), free(pointers);
  return output;
}

static int depthwise(const char *name, filter_kernel ours,
                     filter_kernel theirs, int taps) {
  int cases = 0, differ = 0;
  for (int channels = 1; channels <= 70; channels++)
    for (int width = 1; width <= 5; width++, cases++) {
      int8_t *input = numbers((size_t)(width + taps) * channels);
      int8_t *weights = numbers((size_t)taps * channels);
      int8_t *mine = filter(ours, input, weights, channels, taps, width);
      int8_t *other = filter(theirs, input, weights, channels, taps, width);
      for (int i = 0; i < width * channels; i++) differ += mine[i] != other[i];
      free(input), free(weights), free(mine), free(other);
    }
  printf("%s %d %d\n", name, cases, differ);
  return differ;
}

int main(void) {
  const product gemm = {.gemm = KERNEL(gemm, 2x8c8__asm_aarch64_neon_mlal_prfm), 0, 2, 8, 8, 1};
  const product our_gemm = {.gemm = KERNEL(gemm, 4x8c2s4__neonv8_mlal), 0, 4, 8, 2, 4};
  const product igemm = {.igemm = KERNEL(igemm, 2x8c8__asm_aarch64_neon_mlal_prfm), 2, 8, 8, 1};
  const product our_igemm = {.igemm = KERNEL(igemm, 4x8c2s4__neonv8_mlal), 4, 8, 2, 4};
  const product few = {.igemm = KERNEL(igemm, 4x16__asm_aarch64_neon_mlal_lane_ld64), 4, 16, 1, 1};
  int differ = products("gemm", our_gemm, gemm, 1, 120);
  differ += products("igemm", our_igemm, igemm, TAPS, 40);
  differ += products("igemm-few-channels", few, igemm, TAPS, 4);
  differ += depthwise("dwconv-3x3", KERNEL(dwconv, 9p16c__neonv8_mla8_ld128),
                      KERNEL(dwconv, 9p16c__neonv8_mla8_ld64), 9);
  differ += depthwise("dwconv-5x5", KERNEL(dwconv, 25p16c__neonv8_mla8_ld128),
                      KERNEL(dwconv, 25p16c__neonv8_mla8_ld64), 25);
  return differ ? 1 : 0;
}
