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

/* Conditions of kernels.def: 1 or 0. */
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define LE_X86 1
#else
#define LE_X86 0
#endif

/* Activations: one list; docs/ops.md says what each is. */
#define LE_ACTIVATIONS(X) \
    X(linear) X(relu) X(sigmoid) X(tanh) X(hard_sigmoid) X(leaky_relu) X(elu) X(selu) X(softplus) X(softsign) X(gelu) X(gelu_tanh) \
    X(silu) X(hard_silu) X(mish) X(thresholded_relu) X(scaled_tanh) X(affine) X(celu) X(relu6) X(exp)

typedef enum {
#define X(name) LE_ACT_##name,
    LE_ACTIVATIONS(X)
#undef X
    LE_ACT_COUNT
} le_act;

extern const char *const le_act_names[LE_ACT_COUNT + 1]; /* NULL-ended */

typedef struct {
    le_act kind;
    float alpha, beta;
} le_activation;

/* A weight matrix W (n rows, k columns) packed by a kernel table for its own matmul. */
typedef struct {
    int n, k;
    void *data; /* pack_size bytes, 64-byte aligned */
} le_packed;

typedef struct {
    const char *name; /* ISA name: scalar, avx2, ... */

    /* float32 weights. w: row-major, w_stride floats from row to row. */
    size_t (*pack_f32_size)(int n, int k);
    void (*pack_f32)(int n, int k, const float *w, ptrdiff_t w_stride, void *packed);
    /* y[r][j] = init[r][j] + sum over k of x[r][k] W[j][k], summed in order of k after init.
     * init: NULL is zero; init_stride 0 gives every row the same (a bias). y may be init itself (same stride). Strides in floats. */
    void (*matmul_f32)(int rows, const float *x, ptrdiff_t x_stride, const le_packed *w, const float *init, ptrdiff_t init_stride,
                       float *y, ptrdiff_t y_stride);

    /* y = act(x), elementwise; y may be x. */
    void (*activate)(le_activation act, ptrdiff_t n, const float *x, float *y);

    /* One LSTM step after the matmuls, sigmoid gates and tanh, no peephole: z holds i, f, g, o, each h floats, z_stride apart.
     * c is updated in place; h_out written. */
    void (*lstm_cell)(int h, const float *z, ptrdiff_t z_stride, float *c, float *h_out);
    /* One GRU step, reset_after: x and u hold r, z, n of W x + b and R h + c; h_prev may be h_out. */
    void (*gru_cell)(int h, const float *x, ptrdiff_t x_stride, const float *u, ptrdiff_t u_stride, const float *h_prev, float *h_out);

    /* y[j] += a * x[j] */
    void (*axpy)(ptrdiff_t n, float a, const float *x, float *y);
} le_kernels;

/* Tables this build carries, in order of preference, best last (kernels.def). */
extern const le_kernels *const le_kernel_tables[];
extern const int le_kernel_table_count;
bool le_kernel_supported(const le_kernels *kernels); /* by this CPU; cpu.c */

#endif
