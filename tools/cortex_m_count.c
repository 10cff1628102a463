/* Counts a step's instructions and its stack, and prints them with the bytes of a stream: `struct stack instructions`. tools/cortex_m.py writes model.h. */
#include <stdint.h>

#ifdef BLANK
#define STATE_BYTES 0
static void prepare(void) {}
static void step(void) {}
#else
#include "model.h"
#endif

enum { STEPS = 8, PAINTED = 64 * 1024, PAINT = 0x5a };

/* The board's timer 0: counts down at 25 MHz. */
static volatile uint32_t *const timer = (uint32_t *)0x40000000u;
enum { CONTROL, VALUE, RELOAD };

/* Semihosting's SYS_WRITE0, without newlib's printf. */
static void write_text(const char *text) {
    register int operation __asm("r0") = 4;
    register const char *argument __asm("r1") = text;
    __asm volatile("bkpt 0xab" : "+r"(operation) : "r"(argument) : "memory");
}

static void write_number(uint32_t n) {
    char text[12];
    int at = 11;
    text[at] = 0;
    text[--at] = ' ';
    do {
        text[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    write_text(text + at);
}

static uint32_t ticks_of(void (*run)(void)) {
    const uint32_t before = timer[VALUE];
    run();
    return before - timer[VALUE];
}

static void nothing(void) {}

/* Bytes of stack below this frame that `run` wrote to. */
static __attribute__((noinline)) uint32_t stack_of(void (*run)(void)) {
    volatile unsigned char *const top = (volatile unsigned char *)__builtin_frame_address(0) - 64, *const end = top - PAINTED;
    for (volatile unsigned char *at = end; at < top; at++)
        *at = PAINT;
    run();
    const volatile unsigned char *at = end;
    while (at < top && *at == PAINT)
        at++;
    return (uint32_t)(top - at) + 64;
}

int main(void) {
    timer[RELOAD] = timer[VALUE] = 0xffffffffu;
    timer[CONTROL] = 1;
    prepare();
    for (int i = 1; i < STEPS; i++)
        step();
    const uint32_t ticks = ticks_of(step) - ticks_of(nothing);
    write_number((uint32_t)STATE_BYTES);
    write_number(stack_of(step));
    write_number(ticks / 4 * 5 + ticks % 4 * 5 / 4);
    return 0;
}
