/* What the C tests count with, and their random numbers: the same on every machine. */
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdio.h>

static int passed, failed;

/* CHECK(condition) or CHECK(condition, "format", ...): says where a check failed, for the first 20. */
#define CHECK(condition, ...)                                     \
    do {                                                          \
        if (condition) {                                          \
            passed++;                                             \
        } else if (failed++ < 20) {                               \
            printf("%s:%d: %s:", __FILE__, __LINE__, #condition); \
            printf(" " __VA_ARGS__);                              \
            printf("\n");                                         \
        }                                                         \
    } while (0)

/* What main returns. */
static inline int report(void) {
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

static inline uint32_t random_bits(void) { /* 24 of them */
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static inline float random_float(void) { return (float)random_bits() / 8388608.0f - 1.0f; } /* -1..1 */

#endif
