/* Advanced SIMD with the dot product instructions (ARMv8.2): Cortex-A76; compiled with -march=armv8.2-a+dotprod. */
#include "kernels.h"

#if LE_ARM64

#if !defined(__ARM_FEATURE_DOTPROD)
#error "compile kernels/neon_dotprod.c with -march=armv8.2-a+dotprod"
#endif

#include "neon.inc"

#define KERNEL(name) LE_JOIN(le_neon_, name) /* all but the int8 product is that of every AArch64 CPU */
#include "int8.inc"

LE_KERNEL_TABLE(neon_dotprod)

#else
typedef int le_no_neon_dotprod; /* a translation unit may not be empty */
#endif
