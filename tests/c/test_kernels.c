/* The kernel tables on their own: matmul against double arithmetic, activations against libm, ISAs against each other. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <windows.h>
#endif

#include "check.h"
#include "kernels/kernels.h"
#include "binding.h"
#include "system.h"

static void fill_random(float *p, int n) {
    for (int i = 0; i < n; i++)
        p[i] = random_float();
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* NaN payloads are free. */
static bool same_bits(float a, float b) { return bits_of(a) == bits_of(b) || (isnan(a) && isnan(b)); }

/* ---- arrays whose end is the end of the readable memory: reading or writing one float too many ends the process ---- */

enum { PAGE = 1 << 16 };

static unsigned char *guarded_pages(void) {
#if defined(MAP_ANONYMOUS)
    unsigned char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED && mprotect(p + PAGE, PAGE, PROT_NONE) == 0)
        return p;
#elif defined(_WIN32)
    unsigned char *p = VirtualAlloc(NULL, 2 * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    DWORD before;
    if (p && VirtualProtect(p + PAGE, PAGE, PAGE_NOACCESS, &before))
        return p;
#endif
    return calloc(2, PAGE);
}

typedef struct {
    unsigned char *pages;
} fence;

static float *fenced(const fence *f, size_t n) { return (float *)(f->pages + PAGE) - n; }

/* ---- matmul ---- */

typedef struct {
    float *w;
    le_packed packed;
} matrix;

static matrix make_matrix(const le_kernels *kernels, int n, int k) {
    matrix m = {.w = malloc(((size_t)n * (size_t)k + 1) * sizeof(float)), .packed = {.n = n, .k = k}};
    size_t size = (kernels->pack_f32_size(n, k) + 63) / 64 * 64 + 64;
    m.packed.data = le_alloc_aligned(size);
    if (!m.w || !m.packed.data)
        exit(2);
    fill_random(m.w, n * k);
    kernels->pack_f32(n, k, m.w, k, m.packed.data);
    return m;
}

static void free_matrix(matrix *m) {
    free(m->w);
    le_free_aligned(m->packed.data);
}

static fence x_fence, init_fence, y_fence;

static void check_against_double(const le_kernels *kernels, const matrix *m, int rows) {
    const int n = m->packed.n, k = m->packed.k;
    float *x = fenced(&x_fence, (size_t)(rows * k)), *init = fenced(&init_fence, (size_t)(rows * n));
    float *y = fenced(&y_fence, (size_t)(rows * n));
    fill_random(x, rows * k);
    fill_random(init, rows * n);
    y[-1] = 12345.0f;
    kernels->matmul_f32(rows, x, k, &m->packed, init, n, y, n);
    CHECK(y[-1] == 12345.0f, "%s wrote before y, n=%d k=%d rows=%d", kernels->name, n, k, rows);
    double worst = 0;
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++) {
            double sum = init[r * n + j], size = fabs(sum);
            for (int i = 0; i < k; i++) {
                double term = (double)x[r * k + i] * m->w[j * k + i];
                sum += term;
                size += fabs(term);
            }
            double error = fabs(y[r * n + j] - sum) / ((k + 2) * 6e-8 * size + 1e-30);
            worst = error > worst ? error : worst;
        }
    CHECK(worst <= 1.0, "%s n=%d k=%d rows=%d: %.2f of the bound", kernels->name, n, k, rows, worst);

    /* A row alone, and rows in another grouping, have the same bits; so has init in place of y; so has no init and one of zeros. */
    float alone[128], zeros[128] = {0}, other[128];
    int differing = 0;
    for (int r = 0; r < rows; r++) {
        kernels->matmul_f32(1, x + r * k, k, &m->packed, init + r * n, 0, alone, n);
        differing += memcmp(alone, y + r * n, (size_t)n * sizeof(float)) != 0;
    }
    kernels->matmul_f32(1, x, k, &m->packed, NULL, 0, alone, n);
    kernels->matmul_f32(1, x, k, &m->packed, zeros, 0, other, n);
    differing += memcmp(alone, other, (size_t)n * sizeof(float)) != 0;
    kernels->matmul_f32(rows, x, k, &m->packed, init, n, init, n);
    differing += memcmp(init, y, (size_t)(rows * n) * sizeof(float)) != 0;
    CHECK(differing == 0, "%s n=%d k=%d rows=%d: %d rows differ", kernels->name, n, k, rows, differing);
}

static void test_matmul_sizes(const le_kernels *kernels) {
    static const int sizes_n[] = {1,  2,  3,  4,  5,  7,  8,  9,  12, 15, 16, 17, 24,  31, 32,
                                  33, 47, 48, 49, 63, 64, 65, 66, 67, 95, 96, 97, 105, 127};
    static const int sizes_k[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65, 67};
    static const int sizes_rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 67};
    for (size_t a = 0; a < sizeof sizes_n / sizeof *sizes_n; a++)
        for (size_t b = 0; b < sizeof sizes_k / sizeof *sizes_k; b++) {
            matrix m = make_matrix(kernels, sizes_n[a], sizes_k[b]);
            for (size_t c = 0; c < sizeof sizes_rows / sizeof *sizes_rows; c++)
                check_against_double(kernels, &m, sizes_rows[c]);
            free_matrix(&m);
        }
}

static void test_matmul_strides(const le_kernels *kernels) {
    enum { N = 37, K = 19, ROWS = 5, X_STRIDE = 23, Y_STRIDE = 41 };
    float w[N * 29], x[ROWS * X_STRIDE + 1], bias[N], y[ROWS * Y_STRIDE], row[N];
    fill_random(w, N * 29);
    fill_random(x, ROWS * X_STRIDE + 1);
    fill_random(bias, N);
    matrix m = make_matrix(kernels, N, K);
    kernels->pack_f32(N, K, w, 29, m.packed.data);
    memset(y, 0x7f, sizeof y);
    kernels->matmul_f32(ROWS, x + 1, X_STRIDE, &m.packed, bias, 0, y, Y_STRIDE);
    int wrong = 0;
    for (int r = 0; r < ROWS; r++) {
        for (int j = 0; j < N; j++) {
            double sum = bias[j];
            for (int i = 0; i < K; i++)
                sum += (double)x[1 + r * X_STRIDE + i] * w[j * 29 + i];
            wrong += fabs(y[r * Y_STRIDE + j] - sum) > 1e-5;
        }
        for (int j = N; j < Y_STRIDE; j++)
            wrong += bits_of(y[r * Y_STRIDE + j]) != 0x7f7f7f7f;
        kernels->matmul_f32(1, x + 1 + r * X_STRIDE, K, &m.packed, bias, N, row, N);
        wrong += memcmp(row, y + r * Y_STRIDE, sizeof row) != 0;
    }
    CHECK(wrong == 0, "%s: %d wrong", kernels->name, wrong);
    free_matrix(&m);
}

/* x then h with init = y: the bits of one product over [x, h]. */
static void test_matmul_chains(const le_kernels *kernels) {
    for (int n = 8; n < 70; n += 7) {
        const int kx = 13, kh = 21, k = kx + kh;
        matrix both = make_matrix(kernels, n, k), first = make_matrix(kernels, n, kx), second = make_matrix(kernels, n, kh);
        kernels->pack_f32(n, kx, both.w, k, first.packed.data);
        kernels->pack_f32(n, kh, both.w + kx, k, second.packed.data);
        float x[64], bias[128], y[128], whole[128];
        fill_random(x, k);
        fill_random(bias, n);
        kernels->matmul_f32(1, x, k, &both.packed, bias, 0, whole, n);
        kernels->matmul_f32(1, x, kx, &first.packed, bias, 0, y, n);
        kernels->matmul_f32(1, x + kx, kh, &second.packed, y, n, y, n);
        CHECK(memcmp(y, whole, (size_t)n * sizeof(float)) == 0, "%s n=%d", kernels->name, n);
        free_matrix(&both);
        free_matrix(&first);
        free_matrix(&second);
    }
}

/* ---- activations ---- */

enum { EVERY_ACT = LE_ACT_log + 1 };

static const char *name_of(int kind) { return kind == LE_ACT_log ? "log" : le_act_names[kind]; }

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static double softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }

static double clamp(double low, double x, double high) { return fmin(fmax(x, low), high); }

static double exact(le_activation act, double x) {
    const double a = act.alpha, b = act.beta;
    if (isnan(x))
        return x;
    switch (act.kind) {
    case LE_ACT_linear: return x;
    case LE_ACT_relu: return fmax(x, 0);
    case LE_ACT_sigmoid: return sigmoid(x);
    case LE_ACT_tanh: return tanh(x);
    case LE_ACT_hard_sigmoid: return clamp(0, a * x + b, 1);
    case LE_ACT_leaky_relu: return x < 0 ? a * x : x;
    case LE_ACT_elu: return x < 0 ? a * expm1(x) : x;
    case LE_ACT_selu: return b * (x < 0 ? a * expm1(x) : x);
    case LE_ACT_softplus: return softplus(x);
    case LE_ACT_softsign: return x / (1 + fabs(x));
    case LE_ACT_gelu: return x * 0.5 * (1 + erf(x / sqrt(2)));
    case LE_ACT_gelu_tanh: return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case LE_ACT_silu: return x * sigmoid(x);
    case LE_ACT_hard_silu: return x * clamp(0, x / 6 + 0.5, 1);
    case LE_ACT_mish: return x * tanh(softplus(x));
    case LE_ACT_thresholded_relu: return x > a ? x : 0;
    case LE_ACT_scaled_tanh: return a * tanh(b * x);
    case LE_ACT_affine: return a * x + b;
    case LE_ACT_celu: return fmax(x, 0) + fmin(0, a * expm1(x / a));
    case LE_ACT_relu6: return clamp(0, x, 6);
    case LE_ACT_exp: return exp(x);
    case LE_ACT_log: return log(x);
    }
    return NAN;
}

static le_activation usual(int kind) {
    le_activation act = {(le_act)kind, 0.3f, 0.5f};
    if (kind == LE_ACT_hard_sigmoid)
        act.alpha = 0.2f;
    if (kind == LE_ACT_selu)
        act.alpha = 1.67326319f, act.beta = 1.05070102f;
    if (kind == LE_ACT_celu)
        act.alpha = 1.3f;
    if (kind == LE_ACT_scaled_tanh)
        act.alpha = 1.7159f, act.beta = 0.66666f;
    return act;
}

/* Error of y in units of what is allowed: 4e-7 absolute up to magnitude 1, relative above; exp 2e-7 relative where normal, log 1e-7 relative. */
static double activation_error(le_activation act, float x, float y) {
    double want = exact(act, x);
    if (isnan(want))
        return isnan(y) ? 0 : INFINITY;
    if (act.kind == LE_ACT_log && !isinf(want))
        return fabs(y - want) / (1e-7 * fabs(want) + 1e-45);
    if (fabs(want) > 3.4028235e38)
        return y == (want > 0 ? INFINITY : -INFINITY) || fabs(y) > 3.4e38 ? 0 : INFINITY;
    if (isnan(y) || isinf(y))
        return INFINITY;
    if (act.kind == LE_ACT_exp)
        return fabs(y - want) / (2e-7 * want + 1.5e-45);
    double scale = fmax(1, fabs(want));
    if (act.kind == LE_ACT_gelu || act.kind == LE_ACT_gelu_tanh || act.kind == LE_ACT_mish || act.kind == LE_ACT_silu)
        scale = fmax(scale, fmin(fabs(x), 8)); /* x times something near 0 */
    return fabs(y - want) / (4e-7 * scale);
}

enum { CHUNK = 1021 };

/* Activations are tried at every nth float, subnormals, infinities and NaNs included; under emulation LSTM_EDGE_TEST_STRIDE makes n larger. */
static uint64_t stride = 257;

static void read_stride(void) {
    const char *text = getenv("LSTM_EDGE_TEST_STRIDE");
    if (text && atoi(text) > 0)
        stride = (uint64_t)atoi(text);
}

/* What conv_planes.c writes for itself: up to a panel, packed weights are the rows' values one k after the other. */
static void test_one_panel(const le_kernels *kernels) {
    const int k = 3;
    for (int n = 8; n <= kernels->panel; n++) {
        matrix m = make_matrix(kernels, n, k);
        const size_t step = kernels->pack_f32_size(n, 1) / sizeof(float);
        int wrong = 0;
        for (int i = 0; i < k; i++)
            for (int j = 0; j < n; j++)
                wrong += ((const float *)m.packed.data)[(size_t)i * step + (size_t)j] != m.w[j * k + i];
        CHECK(wrong == 0, "%s n=%d: %d wrong", kernels->name, n, wrong);
        free_matrix(&m);
    }
}

static void test_activations(const le_kernels *kernels) {
    float x[CHUNK], y[CHUNK];
    for (int kind = 0; kind < EVERY_ACT; kind++) {
        const le_activation act = usual(kind);
        double worst = 0;
        float where = 0;
        for (uint64_t at = 0; at < (1ull << 32);) {
            int n = 0;
            for (; n < CHUNK && at < (1ull << 32); n++, at += stride)
                x[n] = float_of((uint32_t)at);
            kernels->activate(act, n, x, y);
            for (int i = 0; i < n; i++) {
                double error = activation_error(act, x[i], y[i]);
                if (error > worst)
                    worst = error, where = x[i];
            }
        }
        CHECK(worst <= 1, "%s %s(%.9g): %.3f of what is allowed", kernels->name, name_of(kind), where, worst);
        if (getenv("VERBOSE"))
            printf("%s %-16s %.3f at %.9g\n", kernels->name, name_of(kind), worst, where);
    }
}

static void test_special_values(const le_kernels *kernels) {
    const float x[] = {NAN, INFINITY, -INFINITY, 0.0f, -NAN};
    float y[5];
    for (int kind = 0; kind < EVERY_ACT; kind++) {
        kernels->activate(usual(kind), 5, x, y);
        CHECK(isnan(y[0]) && isnan(y[4]), "%s %s(NaN) = %g", kernels->name, name_of(kind), y[0]);
    }
    static const struct {
        le_act kind;
        float plus, minus, zero;
    } cases[] = {{LE_ACT_sigmoid, 1, 0, 0.5f},  {LE_ACT_tanh, 1, -1, 0},
                 {LE_ACT_exp, INFINITY, 0, 1},  {LE_ACT_softplus, INFINITY, 0, 0.693147182f},
                 {LE_ACT_relu, INFINITY, 0, 0}, {LE_ACT_gelu, INFINITY, NAN, 0}};
    kernels->activate(usual(LE_ACT_log), 5, x, y);
    CHECK(y[1] == INFINITY && isnan(y[2]) && y[3] == -INFINITY, "%s log: %g %g %g", kernels->name, y[1], y[2], y[3]);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kernels->activate(usual(cases[i].kind), 5, x, y);
        CHECK(same_bits(y[1], cases[i].plus) && same_bits(y[2], cases[i].minus) && fabsf(y[3] - cases[i].zero) < 1e-7f, "%s %s: %g %g %g",
              kernels->name, name_of(cases[i].kind), y[1], y[2], y[3]);
    }
}

/* Every length, in place, at the end of memory: the same as one by one. */
static void test_activation_lengths(const le_kernels *kernels) {
    float x[67];
    for (int i = 0; i < 67; i++)
        x[i] = 4 * random_float();
    for (int kind = 0; kind < EVERY_ACT; kind++)
        for (int n = 1; n <= 67; n++) {
            float *y = fenced(&y_fence, (size_t)n);
            int wrong = 0;
            y[-1] = 7;
            memcpy(y, x, (size_t)n * sizeof *y);
            kernels->activate(usual(kind), n, y, y);
            for (int i = 0; i < n; i++) {
                float one;
                kernels->activate(usual(kind), 1, x + i, &one);
                wrong += !same_bits(one, y[i]);
            }
            CHECK(wrong == 0 && y[-1] == 7, "%s %s n=%d", kernels->name, name_of(kind), n);
        }
}

/* ---- cells ---- */

static void test_cells(const le_kernels *kernels) {
    const le_activation sigmoid_act = {LE_ACT_sigmoid, 0, 0}, tanh_act = {LE_ACT_tanh, 0, 0};
    for (int h = 1; h <= 67; h++) {
        float z[4 * 70], gate[4 * 70], c[67], want[67], tanh_c[67], u[3 * 70];
        float *state = fenced(&x_fence, (size_t)h), *out = fenced(&y_fence, (size_t)h);
        fill_random(z, 4 * 70);
        fill_random(u, 3 * 70);
        fill_random(c, h);
        for (int i = 0; i < 4 * 70; i++)
            z[i] *= 5;
        memcpy(state, c, (size_t)h * sizeof *c);
        kernels->lstm_cell(h, z, 70, state, state, out);
        for (int g = 0; g < 4; g++)
            kernels->activate(g == 2 ? tanh_act : sigmoid_act, h, z + g * 70, gate + g * 70);
        for (int j = 0; j < h; j++)
            c[j] = gate[70 + j] * c[j] + gate[j] * gate[140 + j];
        kernels->activate(tanh_act, h, c, tanh_c);
        int wrong = 0; /* the cell divides less often: other roundings */
        for (int j = 0; j < h; j++)
            wrong += fabsf(state[j] - c[j]) > 4e-7f || fabsf(out[j] - gate[210 + j] * tanh_c[j]) > 4e-7f;
        CHECK(wrong == 0, "%s lstm_cell h=%d", kernels->name, h);

        memcpy(out, c, (size_t)h * sizeof *c);
        kernels->gru_cell(h, z, 70, u, 70, out, out);
        for (int i = 0; i < 140; i++)
            gate[i] = z[i] + u[i];
        kernels->activate(sigmoid_act, 140, gate, gate);
        for (int j = 0; j < h; j++)
            gate[140 + j] = z[140 + j] + gate[j] * u[140 + j];
        kernels->activate(tanh_act, h, gate + 140, gate + 140);
        wrong = 0;
        for (int j = 0; j < h; j++) {
            want[j] = (1 - gate[70 + j]) * gate[140 + j] + gate[70 + j] * c[j];
            wrong += !same_bits(out[j], want[j]);
        }
        CHECK(wrong == 0, "%s gru_cell h=%d", kernels->name, h);

        memcpy(out, c, (size_t)h * sizeof *c);
        kernels->axpy(h, 0.37f, u, out);
        wrong = 0;
        for (int j = 0; j < h; j++) {
            float term = 0.37f * u[j];
            wrong += !same_bits(out[j], c[j] + term);
        }
        CHECK(wrong == 0, "%s axpy h=%d", kernels->name, h);
    }
}

/* ---- the pointwise part has the same bits on every ISA ---- */

static void test_same_bits(const le_kernels *one, const le_kernels *other) {
    float x[CHUNK], y[CHUNK], z[CHUNK];
    for (int kind = 0; kind < EVERY_ACT; kind++) {
        int differing = 0;
        for (uint64_t at = 0; at < (1ull << 32);) {
            int n = 0;
            for (; n < CHUNK && at < (1ull << 32); n++, at += 2 * stride - 5)
                x[n] = float_of((uint32_t)at);
            one->activate(usual(kind), n, x, y);
            other->activate(usual(kind), n, x, z);
            for (int i = 0; i < n; i++)
                differing += !same_bits(y[i], z[i]);
        }
        CHECK(differing == 0, "%s: %d differ between %s and %s", name_of(kind), differing, one->name, other->name);
    }
    for (int round = 0; round < 2000; round++) {
        float gates[4 * 67], u[4 * 67], c[2][67], h[2][67], before[67];
        const int n = 1 + round % 67;
        fill_random(gates, 4 * 67);
        fill_random(u, 4 * 67);
        for (int i = 0; i < 4 * 67; i++)
            gates[i] *= 12;
        fill_random(c[0], 67);
        memcpy(c[1], c[0], sizeof c[0]);
        memcpy(before, c[0], sizeof before);
        one->lstm_cell(n, gates, 67, before, c[0], h[0]);
        other->lstm_cell(n, gates, 67, c[1], c[1], h[1]);
        CHECK(!memcmp(c[0], c[1], sizeof c[0]) && !memcmp(h[0], h[1], (size_t)n * sizeof(float)), "lstm_cell h=%d", n);
        one->gru_cell(n, gates, 67, u, 67, c[0], h[0]);
        other->gru_cell(n, gates, 67, u, 67, c[0], h[1]);
        CHECK(!memcmp(h[0], h[1], (size_t)n * sizeof(float)), "gru_cell h=%d", n);
        one->axpy(n, gates[0], u, h[0]);
        other->axpy(n, gates[0], u, h[1]);
        CHECK(!memcmp(h[0], h[1], (size_t)n * sizeof(float)), "axpy n=%d", n);
    }
}

/* ---- the bits that every machine gives (promise 2) ---- */

static void fill_known(float *p, int n, float bound) {
    for (int i = 0; i < n; i++)
        p[i] = bound * ((float)((uint32_t)(i + 1) * 2654435761u >> 8) / 8388608.0f - 1.0f);
}

static uint32_t crc_of_activations(const le_kernels *kernels, uint32_t crc) {
    float x[CHUNK], y[CHUNK];
    fill_known(x, CHUNK, 20);
    for (int kind = 0; kind < EVERY_ACT; kind++) {
        kernels->activate(usual(kind), CHUNK, x, y);
        crc = le_crc32(crc, y, sizeof y);
    }
    return crc;
}

static uint32_t crc_of_cells(const le_kernels *kernels, uint32_t crc) {
    float z[4 * 67], u[3 * 67], state[67], c[67], h[67];
    fill_known(z, 4 * 67, 6);
    fill_known(u, 3 * 67, 2);
    fill_known(state, 67, 1);
    kernels->lstm_cell(67, z, 67, state, c, h);
    crc = le_crc32(le_crc32(crc, c, sizeof c), h, sizeof h);
    kernels->gru_cell(67, z, 67, u, 67, state, h);
    return le_crc32(crc, h, sizeof h);
}

static uint32_t crc_of_products(const le_kernels *kernels, uint32_t crc) {
    enum { N = 37, K = 75, ROWS = 3, STRIDE = 128 };
    float x[ROWS * K], w[N * K], y[ROWS * N], scale[N], x_scale[2 * ROWS];
    static int8_t stored[N * K], q[2 * ROWS * STRIDE];
    fill_known(x, ROWS * K, 3);
    fill_known(w, N * K, 0.3f);
    fill_known(scale, N, 0.01f);
    for (int i = 0; i < N * K; i++)
        stored[i] = (int8_t)(w[i] * 400);
    matrix m = make_matrix(kernels->same_bits, N, K);
    kernels->same_bits->pack_f32(N, K, w, K, m.packed.data);
    kernels->same_bits->matmul_f32(ROWS, x, K, &m.packed, NULL, 0, y, N);
    crc = le_crc32(crc, y, sizeof y);
    free_matrix(&m);
    le_packed packed = {.n = N, .k = K, .kind = LE_PACKED_I8};
    packed.data = le_alloc_aligned((kernels->pack_i8_size(N, K) + 63) / 64 * 64);
    kernels->pack_i8(N, K, stored, K, scale, packed.data);
    for (int fine = 0; fine < 2; fine++) {
        packed.fine = fine;
        (fine ? kernels->quantize_fine : kernels->quantize)(ROWS, K, x, K, q, x_scale);
        kernels->matmul_i8(ROWS, q, le_quantized_stride(K), x_scale, &packed, NULL, 0, y, N);
        crc = le_crc32(crc, y, sizeof y);
    }
    le_free_aligned(packed.data);
    return crc;
}

static void test_known_bits(const le_kernels *kernels) {
    const uint32_t expected = 0x0c64efdc, found = crc_of_products(kernels, crc_of_cells(kernels, crc_of_activations(kernels, 0)));
    CHECK(found == expected, "%s: expected CRC32 %08x, found %08x", kernels->name, expected, found);
}

/* ---- the benchmark's probe: what it says it did ---- */

static void test_probe(const le_kernels *kernels) {
    static const float data[1024];
    const char *isa = kernels->name;
    CHECK(le_probe(isa, LE_PROBE_READ, data, sizeof data, 3) == 3.0 * sizeof data, "%s: reads what it was given", isa);
    CHECK(le_probe(isa, LE_PROBE_READ, data, 100, 3) == 0 && le_probe(isa, LE_PROBE_READ, NULL, 512, 1) == 0, "%s: a wrong size", isa);
    const double f32 = le_probe(isa, LE_PROBE_F32, NULL, 0, 10), i8 = le_probe(isa, LE_PROBE_I8, NULL, 0, 10);
    CHECK(f32 >= 2 * 64 * 10 && i8 == 4 * f32, "%s: four times as many products of int8", isa);
    CHECK(le_probe(isa, LE_PROBE_F32, NULL, 0, 0) == 0 && le_probe("none", LE_PROBE_F32, NULL, 0, 1) == 0, "%s: nothing to do", isa);
}

int main(void) {
    read_stride();
    x_fence.pages = guarded_pages();
    init_fence.pages = guarded_pages();
    y_fence.pages = guarded_pages();
    if (!x_fence.pages || !init_fence.pages || !y_fence.pages)
        return 2;
    CHECK(le_kernel_table_count >= 1 && le_kernel_supported(le_kernel_tables[0]), "the first table always runs");
    for (int i = 0; i < le_kernel_table_count; i++) {
        const le_kernels *kernels = le_kernel_tables[i];
        if (!le_kernel_supported(kernels)) {
            printf("%s: not on this CPU\n", kernels->name);
            continue;
        }
        test_matmul_sizes(kernels);
        test_matmul_strides(kernels);
        test_matmul_chains(kernels);
        test_one_panel(kernels);
        test_one_panel(kernels->same_bits);
        test_activations(kernels);
        test_special_values(kernels);
        test_activation_lengths(kernels);
        test_cells(kernels);
        test_known_bits(kernels);
        test_probe(kernels);
        if (i > 0)
            test_same_bits(le_kernel_tables[0], kernels);
    }
    return report();
}
