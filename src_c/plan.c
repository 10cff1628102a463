/* One arena for every activation and scratch: an item lives from the node that writes it to the last that reads it. What lies within another tensor
 * has no item of its own: that one lives as long as any of them. */
#include <stdlib.h>
#include <string.h>

#include "stream.h"
#include "system.h"

typedef struct le_lifetime {
    int item; /* tensor, or n_tensors + node for its scratch */
    int first, last;
} lifetime;

size_t le_plan_list_size(size_t items) { return 2 * (items + 1) * sizeof(lifetime); }

uint64_t le_tensor_bytes(const le_tensor *t) { return t->absent ? 0 : (uint64_t)le_count(t) * le_dtype_size(t->dtype); }

bool le_plan_grow(le_stream *s) {
    bool grown = false;
    const le_model *m = s->model;
    for (int i = 0; i < m->n_tensors + m->n_nodes; i++) {
        bool tensor = i < m->n_tensors;
        uint64_t need = tensor ? (s->outside[i] || s->within[i].holder >= 0 ? 0 : le_tensor_bytes(&s->tensors[i]))
                               : s->nodes[i - m->n_tensors].scratch_size;
        need = (need + 63) / 64 * 64;
        if (need > s->capacity[i]) {
            s->capacity[i] = need;
            grown = true;
        }
    }
    for (int t = 0; t < m->n_tensors && !grown; t++)
        grown = s->within[t].holder != s->planned[t].holder;
    return grown;
}

static int collect_lifetimes(const le_stream *s, lifetime *list, int *first, int *last) {
    const le_model *m = s->model;
    for (int t = 0; t < m->n_tensors; t++)
        first[t] = last[t] = -1;
    for (int i = 0; i < m->n_nodes; i++) {
        for (int j = 0; j < m->nodes[i].n_in; j++)
            if (m->nodes[i].in[j] >= 0)
                last[m->nodes[i].in[j]] = i;
        for (int j = 0; j < m->nodes[i].n_out; j++)
            if (m->nodes[i].out[j] >= 0)
                first[m->nodes[i].out[j]] = last[m->nodes[i].out[j]] = i;
    }
    for (int t = 0; t < m->n_tensors; t++) {
        const int holder = s->within[t].holder;
        if (holder < 0 || first[t] < 0)
            continue;
        first[holder] = first[t] < first[holder] ? first[t] : first[holder];
        last[holder] = last[t] > last[holder] ? last[t] : last[holder];
    }
    int n = 0;
    for (int t = 0; t < m->n_tensors; t++)
        if (first[t] >= 0 && s->capacity[t] && s->within[t].holder < 0)
            list[n++] = (lifetime){t, first[t], last[t]};
    for (int i = 0; i < m->n_nodes; i++)
        if (s->capacity[m->n_tensors + i])
            list[n++] = (lifetime){m->n_tensors + i, i, i};
    return n;
}

/* Lowest offset where item k touches none of the items 0..k-1 that live at the same time. placed: those, ordered by offset. */
static uint64_t place(const le_stream *s, const lifetime *k, const lifetime *placed, int n) {
    uint64_t at = 0;
    for (int i = 0; i < n; i++) {
        if (placed[i].last < k->first || placed[i].first > k->last)
            continue;
        uint64_t start = s->offset[placed[i].item];
        if (start >= at + s->capacity[k->item])
            break;
        if (start + s->capacity[placed[i].item] > at)
            at = start + s->capacity[placed[i].item];
    }
    return at;
}

static void insert_by_offset(const le_stream *s, lifetime *placed, int n, lifetime item) {
    int i = n;
    while (i > 0 && s->offset[placed[i - 1].item] > s->offset[item.item]) {
        placed[i] = placed[i - 1];
        i--;
    }
    placed[i] = item;
}

/* Greedy in execution order, each item at the lowest free offset. Gives the arena's size. */
static uint64_t lay_out(le_stream *s, lifetime *list, int n, lifetime *placed) {
    uint64_t end = 0;
    for (int i = 0; i < n; i++) {
        uint64_t at = place(s, &list[i], placed, i);
        s->offset[list[i].item] = at;
        insert_by_offset(s, placed, i, list[i]);
        if (at + s->capacity[list[i].item] > end)
            end = at + s->capacity[list[i].item];
    }
    return end;
}

le_status le_plan_arena(le_stream *s, int64_t frames) {
    const le_model *m = s->model;
    size_t tensors = (size_t)m->n_tensors, items = tensors + (size_t)m->n_nodes;
    int n = collect_lifetimes(s, s->lifetimes, s->range, s->range + tensors);
    uint64_t total = lay_out(s, s->lifetimes, n, s->lifetimes + items);
    if (!s->arena || total > s->arena_size) {
        uint8_t *arena = total <= LE_MAX_ARENA && total <= SIZE_MAX - 128 ? le_alloc_aligned((size_t)total + 64) : NULL;
        if (!arena) {
            memset(s->capacity, 0, items * sizeof *s->capacity);
            return le_fail(&s->error, LE_ERR_MEMORY, "cannot allocate %llu bytes for %lld frames of batch %lld", (unsigned long long)total,
                           (long long)frames, (long long)s->batch);
        }
        le_free_aligned(s->arena);
        s->arena = arena;
        s->arena_size = total;
    }
    memcpy(s->planned, s->within, tensors * sizeof *s->planned);
    for (int i = 0; i < m->n_nodes; i++)
        s->nodes[i].scratch = s->arena + s->offset[tensors + (size_t)i];
    return LE_OK;
}
