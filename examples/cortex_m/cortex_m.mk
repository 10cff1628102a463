# An exported folder for Arm's MPS2 boards: copy this folder's files into it, then make -f cortex_m.mk test, or with CPU=cortex-m7.
CPU ?= cortex-m4
FPU_cortex-m4 := fpv4-sp-d16
FPU_cortex-m7 := fpv5-d16
BOARD_cortex-m4 := mps2-an386
BOARD_cortex-m7 := mps2-an500
CFLAGS ?= -O2
FLAGS := -std=c99 -pedantic -Wall -Wextra -Werror -ffp-contract=off -ffunction-sections -fdata-sections \
	-mcpu=$(CPU) -mthumb -mfloat-abi=hard -mfpu=$(FPU_$(CPU))

program.$(CPU).elf: $(wildcard *.c) $(wildcard *.h) mps2.ld
	arm-none-eabi-gcc $(FLAGS) $(CFLAGS) $(filter %.c,$^) -T mps2.ld --specs=rdimon.specs -nostartfiles -Wl,--gc-sections -lm -o $@

.PHONY: test
test: program.$(CPU).elf
	arm-none-eabi-size $<
	qemu-system-arm -M $(BOARD_$(CPU)) -display none -monitor none -serial none -semihosting-config enable=on,target=native -kernel $<
