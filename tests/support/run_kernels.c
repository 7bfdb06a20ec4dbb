/* Runs compiled kernels for another program, such as one outside of an emulator: reads calls from the standard input, and
 * writes results to the standard output. Integers have 64 bits.
 *
 * A call consists of the length of the function's name, the numbers of regions of memory, of addresses in them, of integer
 * arguments and of float arguments; the name; for each region, its size and its bytes; for each address, four integers:
 * its region, its offset there, the region that it refers to and the offset there; for each integer argument, the region
 * that it refers to, or -1, and the offset there, or its value; and the float arguments. The result consists of the
 * returned integer and the bytes of all regions. A kernel that accesses memory after a region crashes.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAX_NAME = 63, MAX_REGIONS = 64, MAX_INTEGERS = 20, MAX_FLOATS = 2, PAGE = 1 << 16, ALIGNMENT = 16 };

/* The calling convention of ARM passes integers and floats in separate registers, and further integers on the stack, so
 * the order of the two kinds, and unused arguments at the end, do not matter. */
typedef int64_t (*kernel)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                          int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, float, float);

#define IN_ALL_FORMATS(X, name) X(name) X(name##_int8) X(name##_bf16)
#define IN_SHORT_FORMATS(X, name) X(name##_int8) X(name##_bf16)
#define KERNELS(X)                                                                                                    \
    IN_ALL_FORMATS(X, millpond_linear)                                                                                \
    X(millpond_linear_scratch) X(millpond_linear_int8_scratch) X(millpond_linear_bf16_scratch)                        \
    X(millpond_linear_panel) X(millpond_linear_int8_panel) X(millpond_linear_bf16_panel)                              \
    X(millpond_linear_int8_dot_products) X(millpond_linear_bf16_dot_products)                                         \
    IN_SHORT_FORMATS(X, millpond_feed_forward)                                                                        \
    X(millpond_feed_forward_int8_scratch) X(millpond_feed_forward_bf16_scratch)                                       \
    IN_ALL_FORMATS(X, millpond_gated_feed_forward)                                                                    \
    X(millpond_gated_feed_forward_scratch) X(millpond_gated_feed_forward_int8_scratch)                                \
    X(millpond_gated_feed_forward_bf16_scratch)                                                                       \
    IN_ALL_FORMATS(X, millpond_encoder_layer)                                                                         \
    X(millpond_encoder_layer_memory) X(millpond_encoder_layer_int8_memory) X(millpond_encoder_layer_bf16_memory)      \
    X(millpond_attention) X(millpond_attention_scratch)                                                               \
    X(millpond_bias_gelu) X(millpond_gated) X(millpond_residual_layer_norm) X(millpond_rms_norm)                      \
    X(millpond_rotary) X(millpond_segment_pool)

#define DECLARE(name) void name(void);
#define ENTRY(name) {#name, (kernel)name},
KERNELS(DECLARE)
static const struct {
    const char *name;
    kernel function;
} kernels[] = {KERNELS(ENTRY)};

/* Memory of a caller, at the end of a mapping that is followed by an inaccessible page. */
struct region {
    int64_t size, mapped;
    char *mapping, *start;
};

static void fail(const char *message) {
    fprintf(stderr, "run_kernels: %s\n", message);
    exit(1);
}

static void read_all(void *to, size_t size) {
    if (size > 0 && fread(to, size, 1, stdin) != 1) fail("the call ends early");
}

static void write_all(const void *from, size_t size) {
    if (size > 0 && fwrite(from, size, 1, stdout) != 1) fail("cannot write the result");
}

static struct region read_region(void) {
    struct region r;
    read_all(&r.size, sizeof r.size);
    const int64_t space = (r.size + PAGE - 1) / PAGE * PAGE;
    r.mapped = space + PAGE;
    r.mapping = mmap(NULL, r.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r.mapping == MAP_FAILED || mprotect(r.mapping + space, PAGE, PROT_NONE) != 0) fail("cannot map memory");
    r.start = r.mapping + (space - r.size) / ALIGNMENT * ALIGNMENT;
    read_all(r.start, r.size);
    return r;
}

static kernel find(const char *name) {
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (strcmp(kernels[i].name, name) == 0) return kernels[i].function;
    fail("unknown function");
    return NULL;
}

/* The address of an offset in a region; without a region, the value. */
static int64_t resolve(const struct region *regions, const int64_t place[2]) {
    return place[0] < 0 ? place[1] : (int64_t)(intptr_t)(regions[place[0]].start + place[1]);
}

static void call(const int64_t counts[5]) {
    char name[MAX_NAME + 1] = {0};
    struct region regions[MAX_REGIONS];
    int64_t integers[MAX_INTEGERS] = {0}, place[4];
    float floats[MAX_FLOATS] = {0};
    if (counts[0] > MAX_NAME || counts[1] > MAX_REGIONS || counts[3] > MAX_INTEGERS || counts[4] > MAX_FLOATS)
        fail("the call is too large");
    read_all(name, counts[0]);
    for (int64_t i = 0; i < counts[1]; i++) regions[i] = read_region();
    for (int64_t i = 0; i < counts[2]; i++) {
        read_all(place, sizeof place);
        const int64_t address = resolve(regions, place + 2);
        memcpy(regions[place[0]].start + place[1], &address, sizeof address);
    }
    for (int64_t i = 0; i < counts[3]; i++) {
        read_all(place, 2 * sizeof *place);
        integers[i] = resolve(regions, place);
    }
    read_all(floats, sizeof *floats * counts[4]);
    const int64_t *n = integers;
    const int64_t result =
        find(name)(n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13], n[14], n[15],
                   n[16], n[17], n[18], n[19], floats[0], floats[1]);
    write_all(&result, sizeof result);
    for (int64_t i = 0; i < counts[1]; i++) {
        write_all(regions[i].start, regions[i].size);
        munmap(regions[i].mapping, regions[i].mapped);
    }
    fflush(stdout);
}

int main(void) {
    int64_t counts[5];
    while (fread(counts, sizeof counts, 1, stdin) == 1) call(counts);
    return 0;
}
