/* The benchmark's measure of a machine: kernels/probe.inc by the name of an ISA. */
#include "binding.h"
#include "kernels/kernels.h"

#include <string.h>

enum { READ_STEP = 512, ROUND = LE_PROBE_UNROLLED * LE_PROBE_ROWS };

static const le_kernels *table_of(const char *isa) {
    int supported = 0;
    for (int i = 0; i < le_kernel_table_count; i++)
        if (isa && strcmp(le_isa_name(i, &supported), isa) == 0)
            return supported ? le_kernel_tables[i] : NULL;
    return NULL;
}

double le_probe(const char *isa, le_probe_kind kind, const void *data, size_t size, int64_t times) {
    const le_kernels *table = table_of(isa);
    if (!table || times < 1 || (kind == LE_PROBE_READ && (!data || size == 0 || size % READ_STEP)))
        return 0;
    if (kind == LE_PROBE_READ) {
        volatile float kept = 0; /* else equal calls could be left out */
        for (int64_t n = 0; n < times; n++)
            kept = table->probe_read((ptrdiff_t)(size / sizeof(float)), data);
        (void)kept;
        return (double)size * (double)times;
    }
    if (kind == LE_PROBE_F32) {
        float sink[2] = {0.5f, 1.0f};
        return 2.0 * ROUND * (double)times * table->probe_f32((ptrdiff_t)times, sink);
    }
    _Alignas(64) int8_t weights[4 * 16 * ROUND];
    int32_t sink[16] = {0};
    memset(weights, 1, sizeof weights);
    return 8.0 * ROUND * (double)times * table->probe_i8((ptrdiff_t)times, weights, sink);
}
