/* NumPy broadcasting: the shape walked in rows where every input is either one value or contiguous. */
#include "ops.h"

void le_bcast_make(le_bcast *b, int rank, const int64_t *dims, int n, const int *ranks, const int64_t *const *in_dims) {
    int64_t dense[3] = {1, 1, 1};
    int64_t size[LE_MAX_RANK], stride[3][LE_MAX_RANK];
    for (int d = rank - 1; d >= 0; d--) {
        size[d] = dims[d];
        for (int i = 0; i < n; i++) {
            int at = d - (rank - ranks[i]);
            int64_t extent = at < 0 ? 1 : in_dims[i][at];
            stride[i][d] = extent == 1 ? 0 : dense[i];
            dense[i] *= extent;
        }
    }
    int out = 0;
    for (int d = 0; d < rank; d++) {
        if (size[d] == 1)
            continue;
        bool joins = out > 0;
        for (int i = 0; joins && i < n; i++)
            joins = b->stride[i][out - 1] == stride[i][d] * size[d];
        if (!joins)
            out++;
        b->dims[out - 1] = joins ? b->dims[out - 1] * size[d] : size[d];
        for (int i = 0; i < n; i++)
            b->stride[i][out - 1] = stride[i][d];
    }
    if (out == 0) {
        b->dims[0] = 1;
        for (int i = 0; i < n; i++)
            b->stride[i][0] = 0;
        out = 1;
    }
    b->rank = out;
}

bool le_bcast_next(const le_bcast *b, int axes, int n, int64_t *index, int64_t *offset) {
    for (int d = axes - 1; d >= 0; d--) {
        for (int i = 0; i < n; i++)
            offset[i] += b->stride[i][d];
        if (++index[d] < b->dims[d])
            return true;
        for (int i = 0; i < n; i++)
            offset[i] -= b->stride[i][d] * b->dims[d];
        index[d] = 0;
    }
    return false;
}

void le_binary_apply(le_binary_row row, const le_tensor *a, const le_tensor *b, const le_tensor *y) {
    int64_t n = le_count(y), na = le_count(a), nb = le_count(b);
    if (n == 0)
        return;
    if ((na == n || na == 1) && (nb == n || nb == 1)) {
        row(n, a->data, na == n, b->data, nb == n, y->data);
        return;
    }
    le_bcast bc;
    le_bcast_make(&bc, y->rank, y->dims, 2, (int[]){a->rank, b->rank}, (const int64_t *const[]){a->dims, b->dims});
    int last = bc.rank - 1;
    int64_t index[LE_MAX_RANK] = {0}, offset[2] = {0}, width = (int64_t)le_dtype_size(a->dtype);
    size_t step = (size_t)bc.dims[last] * le_dtype_size(y->dtype);
    const uint8_t *pa = a->data, *pb = b->data;
    uint8_t *out = y->data;
    do {
        row(bc.dims[last], pa + offset[0] * width, (int)bc.stride[0][last], pb + offset[1] * width, (int)bc.stride[1][last], out);
        out += step;
    } while (le_bcast_next(&bc, last, 2, index, offset));
}
