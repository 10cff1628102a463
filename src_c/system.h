/* What C11 leaves to the system, or a system leaves out of C11: memory at an alignment, the time. */
#ifndef LE_SYSTEM_H
#define LE_SYSTEM_H

#include <stddef.h>

/* Memory that starts on a cache line of 64 bytes; size: a multiple of 64. NULL where there is none. Given back by le_free_aligned alone. */
void *le_alloc_aligned(size_t size);
void le_free_aligned(void *data);

double le_seconds(void); /* of a clock that only goes forward, from a start of its own */

#endif
