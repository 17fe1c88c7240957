/* A plugin for qemu-user 7.2: counts the runs of each translated block between marks.
 *
 * A mark is a guest's getppid(), which nothing else calls. At each mark one line goes to stderr,
 * "MARK <instructions since the last>". At the end, blocks=FILE holds the blocks of the interval
 * before the last mark: "<address> <times> <word> <word> ...", one line each, most work first.
 *
 * mark=N  the guest's number of getppid: 173 on arm64 (the default), 64 on armhf
 *
 * Counts are exact for one thread. Debian has no header for the plugin interface, version 1: the
 * used part is declared here, after QEMU's documentation.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct block;
struct instruction;
typedef void on_translation(plugin_id, struct block *);
typedef void on_syscall(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t, uint64_t);
typedef void on_end(plugin_id, void *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_translation *);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_syscall *);
void qemu_plugin_register_atexit_cb(plugin_id, on_end *, void *);
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *, int operation, void *, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct block *);
uint64_t qemu_plugin_tb_vaddr(const struct block *);
struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
const void *qemu_plugin_insn_data(const struct instruction *);
size_t qemu_plugin_insn_size(const struct instruction *);

EXPORT int qemu_plugin_version = 1;

/* times is counted by translated code; before and within hold the last two marks' share of it. */
struct seen {
  uint64_t address, times, before, within;
  uint32_t total, *words;
  struct seen *next, *in_bucket;
};

enum { BUCKETS = 1 << 16, ADD_U64 = 0 };
static struct seen *buckets[BUCKETS], *all;
static const char *blocks_file;
static int64_t mark = 173;

static void translated(plugin_id id, struct block *block) {
  uint64_t address = qemu_plugin_tb_vaddr(block);
  uint32_t total = qemu_plugin_tb_n_insns(block);
  struct seen **bucket = &buckets[(address >> 2) % BUCKETS], *one;
  (void)id;
  for (one = *bucket; one; one = one->in_bucket)
    if (one->address == address && one->total == total) break;
  if (!one) {
    one = calloc(1, sizeof *one);
    one->address = address;
    one->total = total;
    one->words = calloc(total, sizeof *one->words);
    for (uint32_t i = 0; i < total; i++) {
      struct instruction *instruction = qemu_plugin_tb_get_insn(block, i);
      size_t size = qemu_plugin_insn_size(instruction);
      memcpy(&one->words[i], qemu_plugin_insn_data(instruction), size < 4 ? size : 4);
    }
    one->in_bucket = *bucket;
    *bucket = one;
    one->next = all;
    all = one;
  }
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &one->times, 1);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c,
                   uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  uint64_t instructions = 0;
  (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number != mark) return;
  for (struct seen *one = all; one; one = one->next) {
    one->within = one->times - one->before;
    one->before = one->times;
    instructions += one->within * one->total;
  }
  fprintf(stderr, "MARK %llu\n", (unsigned long long)instructions);
}

static int by_work(const void *left, const void *right) {
  const struct seen *a = *(struct seen *const *)left, *b = *(struct seen *const *)right;
  uint64_t x = a->within * a->total, y = b->within * b->total;
  return x < y ? 1 : x > y ? -1 : 0;
}

static void ends(plugin_id id, void *unused) {
  size_t total = 0, at = 0;
  (void)id, (void)unused;
  if (!blocks_file) return;
  FILE *file = fopen(blocks_file, "w");
  if (!file) {
    perror(blocks_file);
    return;
  }
  for (struct seen *one = all; one; one = one->next) total += one->within != 0;
  struct seen **sorted = calloc(total + 1, sizeof *sorted);
  for (struct seen *one = all; one; one = one->next)
    if (one->within) sorted[at++] = one;
  qsort(sorted, total, sizeof *sorted, by_work);
  for (at = 0; at < total; at++) {
    struct seen *one = sorted[at];
    fprintf(file, "%llx %llu", (unsigned long long)one->address, (unsigned long long)one->within);
    for (uint32_t i = 0; i < one->total; i++) fprintf(file, " %08x", one->words[i]);
    fputc('\n', file);
  }
  fclose(file);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *target, int argc, char **argv) {
  (void)target;
  for (int i = 0; i < argc; i++) {
    if (!strncmp(argv[i], "blocks=", 7)) blocks_file = strdup(argv[i] + 7);
    else if (!strncmp(argv[i], "mark=", 5)) mark = atoll(argv[i] + 5);
    else return -1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  qemu_plugin_register_atexit_cb(id, ends, NULL);
  return 0;
}
