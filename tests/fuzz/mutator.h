/* libFuzzer's changes to a .lstm file: bytes anywhere as it makes them, or one field of one record; then its size and checksum are made right, so that the
 * reader looks behind them. Kernels are named, as asking the CPU for the best takes longer than a file in a virtual machine. Requests for more memory than a small computer has are refused (allocations.h). */
#ifndef MUTATOR_H
#define MUTATOR_H

#include <stdint.h>
#include <string.h>

#include "allocations.h"
#include "call_any.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
uint32_t __wrap_le_crc32(uint32_t crc, const void *data, size_t size);

enum { HEADER = 64, SECTION = 32, SECTIONS_AT = 24, SIZE_AT = 16, CRC_AT = 12 };

static le_model *open_with(const uint8_t *data, size_t size, const char *isa) {
    le_error err;
    const le_options options = {.size = sizeof options, .isa = isa};
    return le_model_open(data, size, &options, &err);
}

/* The core's checksum, with a table that is made once and no coverage taken: every file that is made has the right one, which took four fifths of the
 * time. The linker sends the core's calls here. */
__attribute__((no_sanitize("coverage"))) uint32_t __wrap_le_crc32(uint32_t crc, const void *data, size_t size) {
    static uint32_t table[256];
    for (uint32_t b = 0; b < 256 && !table[255]; b++) {
        table[b] = b;
        for (int bit = 0; bit < 8; bit++)
            table[b] = table[b] >> 1 ^ (table[b] & 1 ? 0xedb88320 : 0);
    }
    crc = ~crc;
    for (const uint8_t *at = data, *end = at + size; at < end; at++)
        crc = table[(crc ^ *at) & 255] ^ crc >> 8;
    return ~crc;
}

/* A field of 1 to 8 bytes, of a section's row or within the section, becomes a number near what it was, near a limit, or any. */
static void change_field(uint8_t *data, size_t size, uint32_t *seed) {
    static const uint64_t limits[] = {
        0, 1, 2, 7, 8, 9, 63, 64, 65, 255, 0x7fffffff, 0x80000000, 0xffffffff, (uint64_t)1 << 40, INT64_MAX, UINT64_MAX};
    uint32_t sections;
    memcpy(&sections, data + SECTIONS_AT, sizeof sections);
    const uint32_t fits = (uint32_t)((size - HEADER) / SECTION), count = sections < fits ? sections : fits;
    if (!count)
        return;
    const size_t row = HEADER + (size_t)(next_random(seed) % count) * SECTION;
    uint64_t at, bytes;
    memcpy(&at, data + row + 8, sizeof at);
    memcpy(&bytes, data + row + 16, sizeof bytes);
    if (next_random(seed) % 8 == 0 || at >= size || bytes == 0 || bytes > size - at) {
        at = row;
        bytes = SECTION;
    }
    const size_t width = (size_t)1 << next_random(seed) % 4, place = (size_t)at + next_random(seed) % (size_t)bytes / width * width;
    if (place > size - width)
        return;
    uint64_t value = 0;
    memcpy(&value, data + place, width);
    const uint32_t kind = next_random(seed) % 4;
    value = kind == 0   ? value + next_random(seed) % 9 - 4
            : kind == 1 ? limits[next_random(seed) % (sizeof limits / sizeof *limits)]
            : kind == 2 ? next_random(seed) % 32
                        : (uint64_t)next_random(seed) << next_random(seed) % 40;
    memcpy(data + place, &value, width);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed) {
    uint32_t random = seed;
    if (size < HEADER || next_random(&random) % 4 == 0)
        size = LLVMFuzzerMutate(data, size, most);
    else
        for (uint32_t n = next_random(&random) % 3 + 1; n > 0; n--)
            change_field(data, size, &random);
    if (size < HEADER)
        return size;
    memcpy(data, "LSTMEDGE", 8);
    memcpy(data + SIZE_AT, &(uint64_t){size}, 8);
    const uint32_t crc = __wrap_le_crc32(0, data + 16, size - 16);
    memcpy(data + CRC_AT, &crc, sizeof crc);
    return size;
}

#endif
