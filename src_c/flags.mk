# How the core is compiled: read by the Makefile and by setup.py. Contraction stays off: results must not depend on the compiler's taste.
# Names end in the architecture that the compiler makes code for: x86 (64 bits), x86_32, arm64 or arm32. On x86_32 floats are SSE2's: x87 rounds otherwise.
# -O2 with loops in vectors: -O3 on every file would take 30 kB more of a wheel and run real models (Silero, DTLN, nnsplit) no faster.
C_FLAGS = -std=c11 -O2 -ftree-vectorize -ffp-contract=off -fno-math-errno -fvisibility=hidden
# The binding, which Cython writes, is a third of the code and calls the rest. For size it takes 70 kB less of a wheel, and
# the smallest step from Python (1x32, 1.55 us) 0.06 us more.
BINDING_FLAGS = -Os
C_FLAGS_x86_32 = -msse2 -mfpmath=sse
# gcc for Windows takes vectors of 32 and 64 bytes on the stack for aligned, and the stack there is so to 16 (gcc bug 54412): the assembler writes the
# moves that do not ask. clang aligns them itself.
C_FLAGS_mingw = -Wa,-muse-unaligned-vector-move
SANITIZE_FLAGS = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g
# Should a check of the reader be wrong: a broken stack ends the process. In the files that read a model and plan its calls, which no step goes through, outside of
# sanitizers. On x86 alone: ARM's guard would make a wheel need the loader, and under Windows it is a library of its own (nowhere there).
GUARDED_FILES = model plan stream core infer choice many forecast
GUARD_FLAGS_x86 = -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
# NAME.c gets FLAGS_NAME and that of its architecture, too.
# These move data a word at a time: GTCRN takes 4 % more instructions without -O3.
FLAGS_view = -O3
FLAGS_gather = -O3
FLAGS_conv_transpose = -O3
# Its loops take a third of the time with the cost model of -O3.
FLAGS_fft = -O3
# Kernels. On x86 and AArch64 the scalar ones are for CPUs without AVX2, and to compare with; ARMv6 runs them.
# -fno-tree-ter: the chains of a cell stay side by side as cells.inc writes them; gcc would put one behind the other.
FLAGS_scalar_arm32 = -O3
FLAGS_avx2_x86 = -O3 -fno-tree-ter -mavx2 -mfma -mf16c
FLAGS_avxvnni_x86 = -O3 -fno-tree-ter -mavx2 -mfma -mf16c
FLAGS_avx512_x86 = -O3 -fno-tree-ter -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma
FLAGS_neon_arm64 = -O3
FLAGS_neon_dotprod_arm64 = -O3 -march=armv8.2-a+dotprod
FLAGS_neon32_arm32 = -O3 -march=armv7-a -mfpu=neon-vfpv4 -mfp16-format=ieee
