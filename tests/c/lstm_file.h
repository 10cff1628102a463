/* Builds small .lstm files in memory, so that the core is tested without Python. docs/format.md. */
#ifndef LSTM_FILE_H
#define LSTM_FILE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"

typedef struct {
    uint8_t bytes[1 << 16];
    size_t size;
} buffer;

typedef struct {
    buffer strs, tens, cnst, data, node, idxs, attr, vals, inpt, outp, stat;
    uint32_t n_tens, n_cnst, n_node, n_idxs, n_attr, n_inpt, n_outp, n_stat;
} builder;

static inline void put(buffer *b, const void *data, size_t size) {
    if (b->size + size > sizeof b->bytes)
        abort();
    memcpy(b->bytes + b->size, data, size);
    b->size += size;
}

static inline void put_u8(buffer *b, uint8_t v) { put(b, &v, 1); }
static inline void put_u32(buffer *b, uint32_t v) { put(b, &v, 4); }
static inline void put_u64(buffer *b, uint64_t v) { put(b, &v, 8); }

static inline void align(buffer *b, size_t to) {
    while (b->size % to)
        put_u8(b, 0);
}

static inline uint32_t string(builder *f, const char *text) {
    if (f->strs.size == 0)
        put_u8(&f->strs, 0);
    uint32_t at = (uint32_t)f->strs.size;
    put(&f->strs, text, strlen(text) + 1);
    return at;
}

/* A tensor; data NULL for one made at run time. Constants' offsets are within DATA until finish moves them. */
static inline int tensor(builder *f, const char *name, le_dtype dtype, int rank, const int64_t *dims, const void *data) {
    uint64_t size = le_dtype_size(dtype), offset = 0;
    for (int d = 0; d < rank; d++)
        size *= (uint64_t)dims[d];
    if (data) {
        align(&f->data, 64);
        offset = f->data.size;
        put(&f->data, data, size);
    }
    put_u32(&f->tens, string(f, name));
    put_u8(&f->tens, (uint8_t)dtype);
    put_u8(&f->tens, data != NULL);
    put_u8(&f->tens, 0);
    put_u8(&f->tens, 0);
    if (data) {
        put_u32(&f->cnst, f->n_tens);
        put_u32(&f->cnst, (uint32_t)rank);
        put_u64(&f->cnst, offset);
        put_u64(&f->cnst, size);
        put_u64(&f->cnst, 0);
        put_u64(&f->cnst, 0);
        for (int d = 0; d < 8; d++)
            put_u64(&f->cnst, d < rank ? (uint64_t)dims[d] : 0);
        f->n_cnst++;
    }
    return (int)f->n_tens++;
}

static inline void node(builder *f, const char *op, const char *name, int n_in, const int *in, int n_out, const int *out, uint32_t n_attr) {
    put_u32(&f->node, string(f, op));
    put_u32(&f->node, string(f, name));
    put_u32(&f->node, f->n_idxs);
    put(&f->node, &(uint16_t){(uint16_t)n_in}, 2);
    put(&f->node, &(uint16_t){(uint16_t)n_out}, 2);
    put_u32(&f->node, f->n_attr - n_attr); /* attributes are added before their node */
    put_u32(&f->node, n_attr);
    put_u64(&f->node, 0);
    put(&f->idxs, in, (size_t)n_in * 4);
    put(&f->idxs, out, (size_t)n_out * 4);
    f->n_idxs += (uint32_t)(n_in + n_out);
    f->n_node++;
}

static inline void int_attr(builder *f, const char *key, int64_t value) {
    align(&f->vals, 8);
    put_u32(&f->attr, string(f, key));
    put_u32(&f->attr, 0);
    put_u32(&f->attr, 1);
    put_u32(&f->attr, 0);
    put_u64(&f->attr, f->vals.size);
    put(&f->vals, &value, 8);
    f->n_attr++;
}

static inline void put_dims(buffer *b, int rank, const le_dim *dims) {
    for (int d = 0; d < 8; d++) {
        put_u64(b, d < rank ? (uint64_t)dims[d].coef : 0);
        put_u32(b, d < rank ? dims[d].symbol : 0);
        put_u32(b, 0);
    }
}

static inline void input(builder *f, const char *name, int t, int rank, const le_dim *dims) {
    put_u32(&f->inpt, string(f, name));
    put_u32(&f->inpt, (uint32_t)t);
    put_u32(&f->inpt, (uint32_t)rank);
    put_u32(&f->inpt, 0);
    put_dims(&f->inpt, rank, dims);
    f->n_inpt++;
}

static inline void output(builder *f, const char *name, int t) {
    put_u32(&f->outp, string(f, name));
    put_u32(&f->outp, (uint32_t)t);
    put_u32(&f->outp, (uint32_t)-1);
    put_u32(&f->outp, 0);
    put_dims(&f->outp, 0, NULL);
    f->n_outp++;
}

static inline void state(builder *f, const char *name, int read, int write, int rank, const le_dim *dims) {
    put_u32(&f->stat, string(f, name));
    put_u32(&f->stat, (uint32_t)read);
    put_u32(&f->stat, (uint32_t)write);
    put_u32(&f->stat, (uint32_t)rank);
    put_u32(&f->stat, (uint32_t)-1);
    put_u32(&f->stat, (uint32_t)-1);
    put_u64(&f->stat, 0);
    put_dims(&f->stat, rank, dims);
    f->n_stat++;
}

static inline void repair_crc(uint8_t *file, size_t size) {
    uint32_t crc = le_crc32(0, file + 16, size - 16);
    memcpy(file + 12, &crc, 4);
}

/* The whole file, from malloc. */
static inline uint8_t *finish(builder *f, size_t *size) {
    enum { SECTIONS = 11, DATA_AT = 3 };
    const char *kinds[SECTIONS] = {"STRS", "TENS", "CNST", "DATA", "NODE", "IDXS", "ATTR", "VALS", "INPT", "OUTP", "STAT"};
    buffer *parts[SECTIONS] = {&f->strs, &f->tens, &f->cnst, &f->data, &f->node, &f->idxs,
                               &f->attr, &f->vals, &f->inpt, &f->outp, &f->stat};
    uint32_t counts[SECTIONS] = {0, f->n_tens, f->n_cnst, 0, f->n_node, f->n_idxs, f->n_attr, 0, f->n_inpt, f->n_outp, f->n_stat};
    size_t total = 64 + SECTIONS * 32, offsets[SECTIONS];
    for (int i = 0; i < SECTIONS; i++) {
        total = (total + 63) / 64 * 64;
        offsets[i] = total;
        total += parts[i]->size;
    }
    for (uint32_t c = 0; c < f->n_cnst; c++) { /* constants' offsets become the file's */
        uint64_t at;
        memcpy(&at, f->cnst.bytes + c * 104 + 8, 8);
        at += offsets[DATA_AT];
        memcpy(f->cnst.bytes + c * 104 + 8, &at, 8);
    }
    uint8_t *file = calloc(1, total);
    memcpy(file, "LSTMEDGE", 8);
    memcpy(file + 8, &(uint16_t){1}, 2);
    memcpy(file + 16, &(uint64_t){total}, 8);
    memcpy(file + 24, &(uint32_t){SECTIONS}, 4);
    for (int i = 0; i < SECTIONS; i++) {
        uint8_t *row = file + 64 + i * 32;
        memcpy(row, kinds[i], 4);
        memcpy(row + 4, &counts[i], 4);
        memcpy(row + 8, &(uint64_t){offsets[i]}, 8);
        memcpy(row + 16, &(uint64_t){parts[i]->size}, 8);
        memcpy(file + offsets[i], parts[i]->bytes, parts[i]->size);
    }
    repair_crc(file, total);
    *size = total;
    return file;
}

#endif
