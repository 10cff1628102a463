/* Counts what the core allocates. A program that includes this is linked with --wrap (Makefile). */
#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H

#include <stddef.h>
#include <stdint.h>

/* Counts every allocation of the core: the linker sends its calls here (Makefile, --wrap). A damaged file's request for gigabytes is
 * refused, as a small computer would: an emulator would touch all of it. */
static long allocations;
static long refused_allocation; /* the number of the one that fails, or 0 */
static const size_t most_bytes = (size_t)64 << 20;
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_le_alloc_aligned(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_le_alloc_aligned(size_t size);
static int allowed(size_t size) { return ++allocations != refused_allocation && size <= most_bytes; }
void *__wrap_malloc(size_t size) { return allowed(size) ? __real_malloc(size) : NULL; }
void *__wrap_calloc(size_t count, size_t size) {
    return allowed(size && count > most_bytes / size ? SIZE_MAX : size * count) ? __real_calloc(count, size) : NULL;
}
void *__wrap_le_alloc_aligned(size_t size) { return allowed(size) ? __real_le_alloc_aligned(size) : NULL; }

#ifdef __linux__
#include <sys/mman.h>
void *__real_mmap(void *at, size_t size, int access, int flags, int file, off_t offset);
void *__wrap_mmap(void *at, size_t size, int access, int flags, int file, off_t offset);
void *__wrap_mmap(void *at, size_t size, int access, int flags, int file, off_t offset) {
    return allowed(size) ? __real_mmap(at, size, access, flags, file, offset) : MAP_FAILED;
}
#endif

#endif
