/* int8 and float16 matmuls of every table: against exact integers and doubles, to the last bit between tables; and the float32 matmul of the
 * same-bits tables. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels/kernels.h"
#include "system.h"

static void *packed_memory(size_t size) {
    void *p = le_alloc_aligned((size + 127) / 64 * 64);
    if (!p)
        exit(2);
    return p;
}

enum { MAX_N = 130, MAX_K = 600, MAX_ROWS = 9 };

/* One problem; extremes makes every product 127 * 127, of one sign in pairs. */
static struct {
    int n, k, rows;
    int8_t w[MAX_N * MAX_K];
    float scale[MAX_N], x[MAX_ROWS * MAX_K], init[MAX_ROWS * MAX_N];
} p;

static void make_problem(int n, int k, int rows, int extremes) {
    p.n = n, p.k = k, p.rows = rows;
    for (int i = 0; i < n * k; i++)
        p.w[i] = (int8_t)(extremes ? (i & 2 ? 127 : -127) : (int)(random_bits() % 255) - 127);
    for (int i = 0; i < n; i++)
        p.scale[i] = 0.01f * random_float();
    for (int i = 0; i < rows * k; i++)
        p.x[i] = extremes ? (i & 2 ? 1.0f : -1.0f) : 3 * random_float();
    for (int i = 0; i < rows * n; i++)
        p.init[i] = random_float();
}

static void multiply(const le_kernels *kernels, int rows, const float *x, const float *init, float *y) {
    static int8_t q[MAX_ROWS * (MAX_K + 64)];
    float x_scale[MAX_ROWS];
    le_packed w = {.n = p.n, .k = p.k, .kind = LE_PACKED_I8, .data = packed_memory(kernels->pack_i8_size(p.n, p.k))};
    kernels->pack_i8(p.n, p.k, p.w, p.k, p.scale, w.data);
    kernels->quantize(rows, p.k, x, p.k, q, x_scale);
    kernels->matmul_i8(rows, q, le_quantized_stride(p.k), x_scale, &w, init, p.n, y, p.n);
    le_free_aligned(w.data);
}

/* The contract of kernels.h written out; volatile keeps each operation a rounding of its own. */
static void expected_i8(float *y) {
    for (int r = 0; r < p.rows; r++) {
        float top = 0;
        for (int i = 0; i < p.k; i++)
            top = fmaxf(top, fabsf(p.x[r * p.k + i]));
        const float inverse = top > 0 ? 127.0f / top : 0, x_scale = top / 127.0f;
        for (int j = 0; j < p.n; j++) {
            int32_t sum = 0;
            for (int i = 0; i < p.k; i++) {
                volatile float scaled = p.x[r * p.k + i] * inverse;
                sum += (int32_t)nearbyintf(scaled) * p.w[j * p.k + i];
            }
            volatile float product = (float)sum * p.scale[j];
            product = product * x_scale;
            y[r * p.n + j] = p.init[r * p.n + j] + product;
        }
    }
}

static void test_i8(const le_kernels *kernels) {
    static const int sizes_n[] = {1, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 37, 64, 65, 127, 130};
    static const int sizes_k[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65, 129, 600};
    static const int sizes_rows[] = {1, 2, 3, 4, 5, 9};
    static float y[MAX_ROWS * MAX_N], want[MAX_ROWS * MAX_N], alone[MAX_N];
    for (size_t a = 0; a < sizeof sizes_n / sizeof *sizes_n; a++)
        for (size_t b = 0; b < sizeof sizes_k / sizeof *sizes_k; b++)
            for (size_t c = 0; c < sizeof sizes_rows / sizeof *sizes_rows; c++) {
                make_problem(sizes_n[a], sizes_k[b], sizes_rows[c], (a + b + c) % 5 == 0);
                multiply(kernels, p.rows, p.x, p.init, y);
                expected_i8(want);
                const size_t size = (size_t)(p.rows * p.n) * sizeof *y;
                CHECK(!memcmp(y, want, size), "%s n=%d k=%d rows=%d", kernels->name, p.n, p.k, p.rows);
                const int last = p.rows - 1;
                multiply(kernels, 1, p.x + last * p.k, p.init + last * p.n, alone);
                CHECK(!memcmp(alone, y + last * p.n, (size_t)p.n * sizeof *y), "%s: a row alone, n=%d k=%d", kernels->name, p.n, p.k);
            }
}

static void test_quantize_special(const le_kernels *kernels) {
    static const float rows[][3] = {{0, 0, 0}, {1e-38f, 0, -1e-38f}, {NAN, 1, 2}, {1, -INFINITY, 0}, {3.4e38f, -3.4e38f, 1e38f}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        int8_t q[64];
        float scale;
        kernels->quantize(1, 3, rows[r], 3, q, &scale);
        for (int i = 0; i < 64; i++)
            q[i] = (int8_t)(uint8_t)((uint8_t)q[i] - (uint8_t)kernels->q_zero);
        CHECK(!q[3] && !q[63], "%s row %zu: the padding", kernels->name, r);
        if (r < 2)
            CHECK(scale == 0 && !q[0] && !q[1] && !q[2], "%s row %zu", kernels->name, r);
        else if (r < 4)
            CHECK(isnan(scale) && !q[0] && !q[1] && !q[2], "%s row %zu", kernels->name, r);
        else
            CHECK(q[0] == 127 && q[1] == -127 && q[2] == 37 && isfinite(scale), "%s: %d %d %d", kernels->name, q[0], q[1], q[2]);
    }
}

/* Every finite float16 times 1 at each place of k, and sums of random ones. */
static double half_value(uint16_t h) {
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    const double size = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h & 0x8000 ? -size : size;
}

static uint16_t random_half(void) { return (uint16_t)((random_bits() & 0x83ff) | (8 + random_bits() % 10) << 10); }

static void test_f16(const le_kernels *kernels) {
    static uint16_t w[MAX_N * 97];
    static float x[MAX_ROWS * 97], y[MAX_ROWS * MAX_N];
    for (int n = 1; n <= MAX_N; n += n < 20 ? 1 : 11)
        for (int k = 1; k <= 97; k += k < 9 ? 1 : 8)
            for (int rows = 1; rows <= MAX_ROWS; rows += 4) {
                for (int i = 0; i < n * k; i++)
                    w[i] = random_half();
                for (int i = 0; i < rows * k; i++)
                    x[i] = random_float();
                le_packed packed = {.n = n, .k = k, .kind = LE_PACKED_F16, .data = packed_memory(kernels->pack_f16_size(n, k))};
                kernels->pack_f16(n, k, w, k, packed.data);
                kernels->matmul_f16(rows, x, k, &packed, NULL, 0, y, n);
                le_free_aligned(packed.data);
                double worst = 0;
                for (int r = 0; r < rows; r++)
                    for (int j = 0; j < n; j++) {
                        double sum = 0, size = 0;
                        for (int i = 0; i < k; i++) {
                            const double term = x[r * k + i] * half_value(w[j * k + i]);
                            sum += term, size += fabs(term);
                        }
                        worst = fmax(worst, fabs(y[r * n + j] - sum) / ((k + 2) * 6e-8 * size + 1e-30));
                    }
                CHECK(worst <= 1, "%s n=%d k=%d rows=%d: %.2f of the bound", kernels->name, n, k, rows, worst);
            }
    int wrong = 0;
    for (uint32_t h = 0; h < 0x10000; h += 16) {
        enum { N = 16 };
        const float one = 1;
        uint16_t row[N];
        float out[N];
        for (int j = 0; j < N; j++)
            row[j] = (uint16_t)(h + (uint32_t)j);
        le_packed packed = {.n = N, .k = 1, .kind = LE_PACKED_F16, .data = packed_memory(kernels->pack_f16_size(N, 1))};
        kernels->pack_f16(N, 1, row, 1, packed.data);
        kernels->matmul_f16(1, &one, 1, &packed, NULL, 0, out, N);
        le_free_aligned(packed.data);
        for (int j = 0; j < N; j++)
            wrong += (row[j] >> 10 & 31) != 31 && out[j] != (float)half_value(row[j]);
    }
    CHECK(wrong == 0, "%s: %d float16 values widened wrongly", kernels->name, wrong);
}

/* The same-bits float32 matmul: one chain over k in two roundings, subnormal products included. */
static void test_f32_same(const le_kernels *table) {
    const le_kernels *kernels = table->same_bits;
    static float w[MAX_N * 65], y[MAX_ROWS * MAX_N];
    for (int n = 1; n <= MAX_N; n += 3)
        for (int k = 1; k <= 65; k += 4)
            for (int rows = 1; rows <= MAX_ROWS; rows += 2) {
                make_problem(n, k, rows, 0);
                const float size = (n + k) % 7 ? 1.0f : 1e-20f;
                for (int i = 0; i < n * k; i++)
                    w[i] = size * random_float();
                for (int i = 0; i < rows * k; i++)
                    p.x[i] *= size;
                le_packed packed = {.n = n, .k = k, .data = packed_memory(kernels->pack_f32_size(n, k))};
                kernels->pack_f32(n, k, w, k, packed.data);
                kernels->matmul_f32(rows, p.x, k, &packed, NULL, 0, y, n);
                le_free_aligned(packed.data);
                int differing = 0;
                for (int r = 0; r < rows; r++)
                    for (int j = 0; j < n; j++) {
                        volatile float sum = 0;
                        for (int i = 0; i < k; i++) {
                            volatile float term = p.x[r * k + i] * w[j * k + i];
                            sum = sum + term;
                        }
                        differing += sum != y[r * n + j];
                    }
                CHECK(differing == 0, "%s n=%d k=%d rows=%d: %d differ", kernels->name, n, k, rows, differing);
            }
}

int main(void) {
    for (int i = 0; i < le_kernel_table_count; i++) {
        const le_kernels *kernels = le_kernel_tables[i];
        if (!le_kernel_supported(kernels))
            continue;
        test_i8(kernels);
        test_quantize_special(kernels);
        if (kernels->matmul_f16)
            test_f16(kernels);
        test_f32_same(kernels);
    }
    return report();
}
