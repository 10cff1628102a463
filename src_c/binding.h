/* What the Python binding and the tests use beside the public header. Not installed: no promise holds for it. */
#ifndef LE_BINDING_H
#define LE_BINDING_H

#include "lstm_edge.h"

/* What this machine does with an ISA's instructions, for benchmarks: reads `size` bytes (a multiple of 512) `times` times and returns how
 * many bytes that was; or makes `times` rounds of float32 or int8 products out of the nearest cache and returns how many operations (a product and
 * its sum are two). 0 for an ISA that this CPU has not, or a wrong size. The caller takes the time. */
typedef enum { LE_PROBE_READ = 0, LE_PROBE_F32, LE_PROBE_I8 } le_probe_kind;
double le_probe(const char *isa, le_probe_kind kind, const void *data, size_t size, int64_t times);

/* zlib's checksum of the bytes, behind those that gave `crc` (0 for none). */
uint32_t le_crc32(uint32_t crc, const void *data, size_t size);

#endif
