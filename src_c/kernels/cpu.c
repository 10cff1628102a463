/* The kernel tables of this build, and which of them this CPU runs. */
#include "kernels.h"

#include <string.h>

#if LE_X86
#include <cpuid.h>
#elif (LE_ARM64 || LE_ARM32) && defined(__linux__)
#include <sys/auxv.h>
#endif

#define X(name) #name,
const char *const le_act_names[LE_ACT_COUNT + 1] = {LE_ACTIVATIONS(X) NULL};
#undef X

/* ---- CPU features, by the names of /proc/cpuinfo ---- */

#if LE_X86
enum { EAX, EBX, ECX, EDX };
enum { YMM = 0x06, ZMM = 0xe6 }; /* register state that the system must save: xmm and ymm; mask registers and both parts of zmm, too */

/* clang-format off */
static const struct feature {
    const char *name;
    unsigned leaf, subleaf, word, bit, state; /* of cpuid */
} features[] = {
    {"fma", 1, 0, ECX, bit_FMA, YMM},
    {"f16c", 1, 0, ECX, bit_F16C, YMM},
    {"avx2", 7, 0, EBX, bit_AVX2, YMM},
    {"avx_vnni", 7, 1, EAX, 1u << 4, YMM},
    {"avx512f", 7, 0, EBX, bit_AVX512F, ZMM},
    {"avx512bw", 7, 0, EBX, bit_AVX512BW, ZMM},
    {"avx512dq", 7, 0, EBX, bit_AVX512DQ, ZMM},
    {"avx512vl", 7, 0, EBX, bit_AVX512VL, ZMM},
    {"avx512_vnni", 7, 0, ECX, bit_AVX512VNNI, ZMM},
};
/* clang-format on */

/* Which register state the system saves (XCR0); 0 where it cannot be asked. */
static unsigned saved_state(void) {
    unsigned word[4], low, high;
    if (!__get_cpuid(1, &word[EAX], &word[EBX], &word[ECX], &word[EDX]) || !(word[ECX] & bit_OSXSAVE))
        return 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool cpu_has(const struct feature *f) {
    unsigned word[4];
    return (saved_state() & f->state) == f->state &&
           __get_cpuid_count(f->leaf, f->subleaf, &word[EAX], &word[EBX], &word[ECX], &word[EDX]) && (word[f->word] & f->bit);
}
#elif (LE_ARM64 || LE_ARM32) && defined(__linux__)
static const struct feature {
    const char *name;
    unsigned long bit; /* of AT_HWCAP */
} features[] = {
#if LE_ARM64
    {"asimd", 1ul << 1},
    {"asimddp", 1ul << 20},
#else
    {"neon", 1ul << 12},
    {"vfpv4", 1ul << 16},
#endif
};

static bool cpu_has(const struct feature *f) { return (getauxval(AT_HWCAP) & f->bit) != 0; }
#else
static const struct feature {
    const char *name;
} features[] = {{"asimd"}}; /* every AArch64 CPU has it; where there are no kernels, nobody asks */

static bool cpu_has(const struct feature *f) { return f->name != NULL; }
#endif

static bool has_feature(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if (strlen(features[i].name) == length && memcmp(features[i].name, name, length) == 0)
            return cpu_has(&features[i]);
    return false;
}

static bool has_all(const char *needs) {
    while (*needs) {
        const size_t length = strcspn(needs, " ");
        if (!has_feature(needs, length))
            return false;
        needs += length + strspn(needs + length, " ");
    }
    return true;
}

/* ---- tables ---- */

#define ISA(name, needs) extern const le_kernels le_kernels_##name;
#include "../kernels.def"
#undef ISA

#define ISA(name, needs) &le_kernels_##name,
const le_kernels *const le_kernel_tables[] = {
#include "../kernels.def"
};
#undef ISA

#define ISA(name, needs) needs,
const char *const le_kernel_needs[] = {
#include "../kernels.def"
};
#undef ISA

const int le_kernel_table_count = (int)(sizeof le_kernel_tables / sizeof le_kernel_tables[0]);

bool le_kernel_supported(const le_kernels *kernels) {
    for (int i = 0; i < le_kernel_table_count; i++)
        if (le_kernel_tables[i] == kernels)
            return has_all(le_kernel_needs[i]);
    return false;
}
