/* The kernel tables of this build, and which of them this CPU runs. */
#include "kernels.h"

#if LE_X86
#include <cpuid.h>
#elif (LE_ARM64 || LE_ARM32) && defined(__linux__)
#include <sys/auxv.h>
#endif

#define X(name) #name,
const char *const le_act_names[LE_ACT_COUNT + 1] = {LE_ACTIVATIONS(X) NULL};
#undef X

static bool cpu_has_scalar(void) { return true; }

#if LE_X86
/* Which register state the OS saves (XCR0); 0 without AVX, FMA and F16C. */
static unsigned saved_state(void) {
    unsigned a, b, c, d, low, high;
    const unsigned wanted = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & wanted) != wanted)
        return 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool cpu_has(unsigned state, unsigned wanted_b, unsigned wanted_c) {
    unsigned a, b, c, d;
    return (saved_state() & state) == state && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & wanted_b) == wanted_b &&
           (c & wanted_c) == wanted_c;
}

static bool cpu_has_avx2(void) {
    const unsigned xmm_and_ymm = 0x06;
    return cpu_has(xmm_and_ymm, bit_AVX2, 0);
}

#if LE_AVXVNNI
static bool cpu_has_avxvnni(void) {
    unsigned a, b, c, d;
    return cpu_has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & bit_AVXVNNI);
}
#endif

static bool cpu_has_avx512(void) {
    const unsigned up_to_zmm = 0xe6; /* xmm, ymm, mask registers, both parts of zmm */
    return cpu_has(up_to_zmm, bit_AVX2 | bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL, bit_AVX512VNNI);
}
#endif

#if LE_ARM64
static bool cpu_has_neon(void) { return true; } /* every AArch64 CPU that runs Linux or macOS */

static bool cpu_has_neon_dotprod(void) {
#if defined(__linux__)
    const unsigned long asimddp = 1ul << 20;
    return (getauxval(AT_HWCAP) & asimddp) != 0;
#else
    return false;
#endif
}
#endif

#if LE_ARM32
static bool cpu_has_neon32(void) {
    const unsigned long wanted = 1ul << 12 /* NEON */ | 1ul << 16 /* VFPv4 */;
    return (getauxval(AT_HWCAP) & wanted) == wanted;
}
#endif

/* ISA(name, compiled in): a row whose condition is 0 leaves nothing behind. */
#define ROW_0(name, what)
#define ROW_1(name, what) what(name)
#define ROW_IF(on, name, what) ROW_##on(name, what)
#define ROW(on, name, what) ROW_IF(on, name, what)

#define DECLARE(name) extern const le_kernels le_kernels_##name;
#define ISA(name, on) ROW(on, name, DECLARE)
#include "../kernels.def"
#undef ISA

#define TABLE(name) &le_kernels_##name,
#define ISA(name, on) ROW(on, name, TABLE)
const le_kernels *const le_kernel_tables[] = {
#include "../kernels.def"
};
#undef ISA

#define DETECT(name) cpu_has_##name,
#define ISA(name, on) ROW(on, name, DETECT)
static bool (*const detect[])(void) = {
#include "../kernels.def"
};
#undef ISA

const int le_kernel_table_count = (int)(sizeof le_kernel_tables / sizeof le_kernel_tables[0]);

bool le_kernel_supported(const le_kernels *kernels) {
    for (int i = 0; i < le_kernel_table_count; i++)
        if (le_kernel_tables[i] == kernels)
            return detect[i]();
    return false;
}
