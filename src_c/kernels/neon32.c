/* ARMv7 with NEON and VFPv4: 32-bit systems on Cortex-A7 and later; compiled with -march=armv7-a -mfpu=neon-vfpv4. */
#include "kernels.h"

#if LE_ARM32

#if !defined(__ARM_NEON) || !defined(__ARM_FEATURE_FMA)
#error "compile kernels/neon32.c with -march=armv7-a -mfpu=neon-vfpv4"
#endif

#include "neon.inc"

#define KERNEL(name) LE_JOIN(le_neon32_, name)
#include "floats.inc"
#include "int8.inc"

LE_KERNEL_TABLE(neon32)

#else
typedef int le_no_neon32; /* a translation unit may not be empty */
#endif
