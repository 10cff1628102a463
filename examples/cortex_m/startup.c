/* What runs before main on a Cortex-M4 or M7 of Arm's MPS2 boards, which qemu emulates: the vector table, the FPU, the memory. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Of mps2.ld. */
extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];

int main(void);
void initialise_monitor_handles(void); /* newlib's semihosting: stdout is the debugger's */
void reset(void);
void _fini(void);

void _fini(void) {} /* newlib's exit calls it */

static void fault(void) { _Exit(99); }

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))(uintptr_t)stack_top, reset, fault, fault, fault, fault, fault,
};

void reset(void) {
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: full access to the FPU */
    __asm volatile("dsb\n isb");
    memcpy(data_start, data_load, (size_t)((char *)data_end - (char *)data_start));
    memset(bss_start, 0, (size_t)((char *)bss_end - (char *)bss_start));
    initialise_monitor_handles();
    exit(main());
}
