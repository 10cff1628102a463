/* Block-sparse weights of every table: packed where that pays, and to the last bit what the dense form gives. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "ops/ops.h"
#include "system.h"

void le_model_free_blocks(le_model *model);

enum { MAX_N = 218, MAX_K = 90, MAX_ROWS = 9 };

static float w[MAX_N * MAX_K], scale[MAX_N], x[MAX_ROWS * MAX_K], init[MAX_ROWS * MAX_N];
static int8_t w8[MAX_N * MAX_K];
static uint16_t w16[MAX_N * MAX_K];

static void make_problem(int n, int k, uint32_t percent) {
    for (int strip = 0; strip * 16 < n; strip++)
        for (int i = 0; i < k; i++) {
            const bool held = random_bits() % 100 < percent;
            for (int j = strip * 16; j < n && j < strip * 16 + 16; j++) {
                w[j * k + i] = held ? random_float() : 0;
                w8[j * k + i] = held ? (int8_t)((int)(random_bits() % 255) - 127) : 0;
                w16[j * k + i] = held ? (uint16_t)(0x3800 + random_bits() % 1000) : 0; /* 0.5 to 1 */
            }
        }
    for (int j = 0; j < n; j++)
        scale[j] = 0.01f * random_float();
    for (int i = 0; i < MAX_ROWS * MAX_K; i++)
        x[i] = random_float();
    for (int i = 0; i < MAX_ROWS * MAX_N; i++)
        init[i] = random_float();
}

static const void *rows_of(le_packed_kind kind) { return kind == LE_PACKED_I8 ? (void *)w8 : kind == LE_PACKED_F16 ? (void *)w16 : w; }

/* Dense, from the model's memory as the sparse one is. */
static void pack_dense(le_pack_ctx *ctx, le_packed *p) {
    const le_kernels *kernels = ctx->kernels;
    p->data = le_pack_alloc(ctx, p->kind == LE_PACKED_I8    ? kernels->pack_i8_size(p->n, p->k)
                                 : p->kind == LE_PACKED_F16 ? kernels->pack_f16_size(p->n, p->k)
                                                            : kernels->pack_f32_size(p->n, p->k));
    if (!p->data)
        exit(2);
    if (p->kind == LE_PACKED_I8)
        kernels->pack_i8(p->n, p->k, w8, p->k, scale, p->data);
    else if (p->kind == LE_PACKED_F16)
        kernels->pack_f16(p->n, p->k, w16, p->k, p->data);
    else
        kernels->pack_f32(p->n, p->k, w, p->k, p->data);
}

static void compare(const le_kernels *kernels, const le_packed *dense, const le_packed *sparse, int rows, bool from_init) {
    static float want[MAX_ROWS * (MAX_N + 1)], found[MAX_ROWS * (MAX_N + 1)];
    const int n = dense->n, k = dense->k;
    void *scratch = le_alloc_aligned((le_multiply_scratch(k) + 63) / 64 * 64);
    if (!scratch)
        exit(2);
    for (int i = 0; i < MAX_ROWS * MAX_N; i++)
        want[i] = found[i] = 7; /* what is not written stays */
    const float *start = from_init ? init : NULL;
    le_multiply(kernels, rows, x, k, dense, start, 0, want, n + 1, scratch);
    le_multiply(kernels, rows, x, k, sparse, start, 0, found, n + 1, scratch);
    CHECK(memcmp(want, found, sizeof want) == 0, "%s: kind %d, %d rows, n %d, k %d, fine %d", kernels->name, dense->kind, rows, n, k,
          dense->fine);
    le_packed backwards = *dense;
    backwards.backwards = true;
    le_multiply(kernels, rows, x, k, &backwards, start, 0, found, n + 1, scratch);
    CHECK(memcmp(want, found, sizeof want) == 0, "%s: kind %d, %d rows, n %d, k %d, backwards", kernels->name, dense->kind, rows, n, k);
    le_free_aligned(scratch);
}

static void test_table(const le_kernels *kernels) {
    static const int sizes[][2] = {{16, 1}, {17, 5}, {31, 33}, {64, 64}, {80, 7}, {100, 90}, {128, 31}, {150, 66}, {218, 17}};
    static const le_packed_kind kinds[] = {LE_PACKED_F32, LE_PACKED_F16, LE_PACKED_I8};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int which = 0; which < 6; which++) {
            const int n = sizes[s][0], k = sizes[s][1];
            const le_packed_kind kind = kinds[which % 3];
            if (kind == LE_PACKED_F16 && !kernels->matmul_f16)
                continue;
            le_model model = {0};
            le_node node = {.name = "n", .type = &le_op_types[0]};
            le_pack_ctx ctx = {.node = &node, .kernels = kernels, .model = &model};
            le_packed dense = {.n = n, .k = k, .kind = kind, .fine = which > 2}, sparse = dense;
            make_problem(n, k, 8);
            pack_dense(&ctx, &dense);
            CHECK(le_pack_sparse(&ctx, rows_of(kind), k, scale, &sparse) == LE_OK);
            for (int rows = 1; sparse.sparse && rows <= MAX_ROWS; rows++)
                compare(kernels, &dense, &sparse, rows, rows % 2);
            CHECK(sparse.sparse || k < 16, "n %d, k %d: 8 %% of the blocks pay", n, k);
            make_problem(n, k, 95);
            sparse.data = NULL;
            sparse.sparse = false;
            CHECK(le_pack_sparse(&ctx, rows_of(kind), k, scale, &sparse) == LE_OK && (k < 16 || !sparse.sparse), "95 %% do not");
            le_model_free_blocks(&model);
        }
}

int main(void) {
    for (int i = 0; i < le_kernel_table_count; i++)
        if (le_kernel_supported(le_kernel_tables[i])) {
            test_table(le_kernel_tables[i]);
            test_table(le_kernel_tables[i]->same_bits);
        }
    return report();
}
