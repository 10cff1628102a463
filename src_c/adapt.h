/* What stream.c asks of adapt.c: the correction that a stream learns for its last Dense layer. */
#ifndef LE_ADAPT_H
#define LE_ADAPT_H

#include "stream.h"

/* Called after a run has succeeded: the newest answers and what they were made of are kept. */
void le_adapt_commit(le_stream *s);
/* As it was when it was turned on. */
void le_adapt_reset(le_adapt *a);
void le_adapt_free(le_adapt *a);
size_t le_adapt_bytes(const le_adapt *a);

#endif
