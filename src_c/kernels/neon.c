/* Advanced SIMD as every AArch64 CPU has it (ARMv8.0): Cortex-A53, A72. */
#include "kernels.h"

#if LE_ARM64

#include "neon.inc"

#define KERNEL(name) LE_JOIN(le_neon_, name)
#include "floats.inc"
#include "int8.inc"

LE_KERNEL_TABLE(neon)

#else
typedef int le_no_neon; /* a translation unit may not be empty */
#endif
