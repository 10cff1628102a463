/* What stream.c asks of adapt.c: the correction that a stream learns for its last Dense layer. */
#ifndef LE_ADAPT_H
#define LE_ADAPT_H

#include "stream.h"

/* Of a value that the layer makes. */
typedef struct {
    int64_t value; /* 1 + which corrected value it goes to, counted within a frame without quantiles; 0: none */
    double unit;   /* how much of it makes one unit of the output */
} le_adapt_link;

typedef struct {
    int node;
    int64_t features, values; /* of a row: what the layer reads and makes */
    le_adapt_link *links;     /* of its values; from calloc */
} le_adapt_layer;

/* adapt_layer.c: fills in `layer`, which is zeroed before; its links are the caller's to free, after an error too. In the model's shapes
 * for two frames, as if every window were full; the stream's own are inferred again by its next call. */
le_status le_adapt_find(le_stream *s, const le_adaptation *options, le_adapt_layer *layer);

/* adapt.c */
/* Called after a run has succeeded: the newest answers and what they were made of are kept. */
void le_adapt_commit(le_stream *s);
/* As it was when it was turned on. */
void le_adapt_reset(le_adapt *a);
void le_adapt_free(le_adapt *a);
size_t le_adapt_bytes(const le_adapt *a);

#endif
