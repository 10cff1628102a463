# How the core is compiled: read by the Makefile and by setup.py. Contraction stays off: results must not depend on the compiler's taste.
C_FLAGS = -std=c11 -O2 -ffp-contract=off -fno-math-errno -fvisibility=hidden
SANITIZE_FLAGS = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g
# kernels/NAME.c gets KERNEL_FLAGS_NAME, or KERNEL_FLAGS_NAME_x86 on x86-64 only.
KERNEL_FLAGS_scalar = -O3
KERNEL_FLAGS_avx2_x86 = -O3 -mavx2 -mfma -mf16c
