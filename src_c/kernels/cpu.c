/* The kernel tables of this build, and which of them this CPU runs. */
#include "kernels.h"

#if LE_X86
#include <cpuid.h>
#endif

#define X(name) #name,
const char *const le_act_names[LE_ACT_COUNT + 1] = {LE_ACTIVATIONS(X) NULL};
#undef X

static bool cpu_has_scalar(void) { return true; }

#if LE_X86
/* AVX2, FMA and F16C in the CPU, and an OS that saves the upper halves of the registers. */
static bool cpu_has_avx2(void) {
    unsigned a, b, c, d;
    const unsigned wanted = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & wanted) != wanted)
        return false;
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    const unsigned xmm_and_ymm = 6;
    if ((low & xmm_and_ymm) != xmm_and_ymm)
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
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
