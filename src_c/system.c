/* POSIX systems, and Windows (mingw-w64). Memory in pages, which Linux alone gives, is core.c's. */
#ifndef __APPLE__               /* which hides its own behind that word */
#define _POSIX_C_SOURCE 200112L /* clock_gettime */
#endif
#include "system.h"

#include <stdlib.h>

#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#include <malloc.h>
#include <windows.h>

/* Windows has no aligned_alloc: what starts at an alignment has an allocator and a `free` of its own. */
void *le_alloc_aligned(size_t size) { return _aligned_malloc(size, 64); }
void le_free_aligned(void *data) { _aligned_free(data); }

double le_seconds(void) {
    LARGE_INTEGER count, frequency;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&frequency);
    return (double)count.QuadPart / (double)frequency.QuadPart;
}

#else

#include <time.h>

void *le_alloc_aligned(size_t size) { return aligned_alloc(64, size); }
void le_free_aligned(void *data) { free(data); }

double le_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
