/* The kernel table: the few inner loops that pay, one implementation per ISA, chosen once per model.
 *
 * Kernels know no ops. All float arrays may be unaligned unless said. The order in which an output element is summed depends on n and k alone,
 * never on rows: a sequence cut into chunks gives the same bits (promise 1).
 */
#ifndef LE_KERNELS_H
#define LE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the compiler makes code for, 1 or 0: conditions of kernels.def and of the files with kernels. LE_SCALAR_ONLY leaves an x86's vectors out. */
#if defined(__x86_64__) && !defined(LE_SCALAR_ONLY) && (defined(__GNUC__) || defined(__clang__))
#define LE_X86 1
#else
#define LE_X86 0
#endif
#if LE_X86 && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11 /* the first GCC that knows it */
#define LE_AVXVNNI 1
#else
#define LE_AVXVNNI 0
#endif
#if defined(__aarch64__) && defined(__ARM_NEON)
#define LE_ARM64 1
#else
#define LE_ARM64 0
#endif
/* Any 32-bit ARM with a floating-point unit: kernels have their own flags, so one build serves ARMv6 and ARMv7. */
#if defined(__arm__) && defined(__ARM_FP) && defined(__linux__)
#define LE_ARM32 1
#else
#define LE_ARM32 0
#endif

/* Activations: one list; docs/ops.md says what each is. */
/* clang-format off */
#define LE_ACTIVATIONS(X) \
    X(linear) X(relu) X(sigmoid) X(tanh) X(hard_sigmoid) X(leaky_relu) X(elu) X(selu) X(softplus) X(softsign) X(gelu) X(gelu_tanh) \
    X(silu) X(hard_silu) X(mish) X(thresholded_relu) X(scaled_tanh) X(affine) X(celu) X(relu6) X(exp)
/* clang-format on */

typedef enum {
#define X(name) LE_ACT_##name,
    LE_ACTIVATIONS(X)
#undef X
        LE_ACT_COUNT,
    LE_ACT_log = LE_ACT_COUNT /* of op Unary alone: no layer names it */
} le_act;

extern const char *const le_act_names[LE_ACT_COUNT + 1]; /* NULL-ended */

typedef struct {
    le_act kind;
    float alpha, beta;
} le_activation;

typedef enum { LE_PACKED_F32 = 0, LE_PACKED_F16, LE_PACKED_I8 } le_packed_kind;

/* A weight matrix W (n rows, k columns) packed by a kernel table for its own matmul. */
typedef struct {
    int n, k;
    le_packed_kind kind;
    bool sparse;    /* data lies as sparse.h says, whatever the kind */
    bool backwards; /* panels from the last to the first, for the same bits: after a product forwards the caches hold the last ones */
    bool
        fine; /* LE_PACKED_I8: what it multiplies is quantised to 15 bits, for it comes from outside and may span decades, unless input_bits says 8 */
    void *data; /* pack_size bytes, 64-byte aligned */
} le_packed;

/* int8 products are summed in int32: 127 * 255 * k must stay below 2^31. Longer rows are multiplied in float32. */
#define LE_MAX_I8_K 65536

/* Bytes from one quantised row to the next. */
static inline ptrdiff_t le_quantized_stride(int k) { return ((ptrdiff_t)k + 63) / 64 * 64; }

/* The probes: independent chains, more than the latency of an addition times the loads of a cycle. */
enum { LE_PROBE_ROWS = 8, LE_PROBE_UNROLLED = 8 };

/* One name of two parts, macros among them replaced. */
#define LE_JOIN(a, b) LE_JOIN_(a, b)
#define LE_JOIN_(a, b) a##b

typedef struct le_kernels le_kernels;
struct le_fft; /* fft.h */

struct le_kernels {
    const char *name; /* ISA name: scalar, avx2, ... */
    /* The same table with a float32 matmul that gives the same bits on every ISA, for models that hold int8 (promise 2). */
    const le_kernels *same_bits;

    /* Rows of W that lie side by side in packed float32: n <= panel of them are packed as k times pack_f32_size(n, 1) bytes, where n > 7. */
    int panel;

    /* float32 weights. w: row-major, w_stride floats from row to row. */
    size_t (*pack_f32_size)(int n, int k);
    void (*pack_f32)(int n, int k, const float *w, ptrdiff_t w_stride, void *packed);
    /* y[r][j] = init[r][j] + sum over k of x[r][k] W[j][k], summed in order of k after init.
     * init: NULL is zero; init_stride 0 gives every row the same (a bias). y may be init itself (same stride). Strides in floats. */
    void (*matmul_f32)(int rows, const float *x, ptrdiff_t x_stride, const le_packed *w, const float *init, ptrdiff_t init_stride, float *y,
                       ptrdiff_t y_stride);

    /* float16 weights, widened as they are read: as the float32 ones. NULL where the ISA has no instruction for it. */
    size_t (*pack_f16_size)(int n, int k);
    void (*pack_f16)(int n, int k, const uint16_t *w, ptrdiff_t w_stride, void *packed);
    void (*matmul_f16)(int rows, const float *x, ptrdiff_t x_stride, const le_packed *w, const float *init, ptrdiff_t init_stride, float *y,
                       ptrdiff_t y_stride);

    /* int8 weights in -127..127, a scale per row. Rows of x are quantised first, each with its own scale; q has le_quantized_stride(k) bytes a row.
     * y = init + (sum of q W) * scale * x_scale, the same bits on every ISA. */
    size_t (*pack_i8_size)(int n, int k);
    void (*pack_i8)(int n, int k, const int8_t *w, ptrdiff_t w_stride, const float *scale, void *packed);
    int q_zero; /* what is added to every byte of q: 128 where the ISA multiplies unsigned by signed */
    void (*quantize)(int rows, int k, const float *x, ptrdiff_t x_stride, int8_t *q, float *x_scale);
    /* For fine weights: two rows of q and two scales a row, the second for what the first's rounding leaves; x to 15 bits. matmul_i8 adds the two
     * products one after the other: y = (init + first) + second. */
    void (*quantize_fine)(int rows, int k, const float *x, ptrdiff_t x_stride, int8_t *q, float *x_scale);
    void (*matmul_i8)(int rows, const int8_t *q, ptrdiff_t q_stride, const float *x_scale, const le_packed *w, const float *init,
                      ptrdiff_t init_stride, float *y, ptrdiff_t y_stride);

    /* y = act(x), elementwise; y may be x. */
    void (*activate)(le_activation act, ptrdiff_t n, const float *x, float *y);

    /* One LSTM step after the matmuls, sigmoid gates and tanh, no peephole: z holds i, f, g, o, each h floats, z_stride apart.
     * c_out and h_out are written; c_prev may be c_out. */
    void (*lstm_cell)(int h, const float *z, ptrdiff_t z_stride, const float *c_prev, float *c_out, float *h_out);
    /* One GRU step, reset_after: x and u hold r, z, n of W x + b and R h + c; h_prev may be h_out. */
    void (*gru_cell)(int h, const float *x, ptrdiff_t x_stride, const float *u, ptrdiff_t u_stride, const float *h_prev, float *h_out);

    /* y[j] += a * x[j] */
    void (*axpy)(ptrdiff_t n, float a, const float *x, float *y);

    /* Rfft (docs/ops.md) of `rows` rows of `size` floats, at most fft_rows: each in lanes of its own, the bits of ops/fft.c. scratch: 4 (points + 1)
     * fft_rows floats, 64-byte aligned. 0 and NULL where vectors are those that the op's own loops make anyway. */
    int fft_rows;
    void (*rfft)(const struct le_fft *plan, int rows, int64_t size, const float *x, float *y, float *scratch);

    /* What the machine can do with the table's instructions (probe.inc): the benchmark's measure, called by no op. */
    float (*probe_read)(ptrdiff_t n, const float *x);
    int (*probe_f32)(ptrdiff_t n, float *sink);
    int (*probe_i8)(ptrdiff_t n, const int8_t *w, int32_t *sink);
};

/* Tables this build carries, in order of preference, best last (kernels.def). */
extern const le_kernels *const le_kernel_tables[];
extern const char *const le_kernel_needs[]; /* of each table: CPU features by the names of /proc/cpuinfo, blanks between */
extern const int le_kernel_table_count;
bool le_kernel_supported(const le_kernels *kernels); /* by this CPU; cpu.c */

#endif
