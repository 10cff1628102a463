/* One arena for every activation and scratch: a tensor lives from the node that writes it to the last that reads it, a scratch at its node. What lies
 * within another tensor has no place of its own: that one lives as long as any of them. */
#include <stdlib.h>
#include <string.h>

#include "stream.h"
#include "system.h"

/* Of a long graph's tensors at most so many are looked at for a free place; then the next goes behind all. */
enum { MOST_LOOKED_AT = 2048 };

/* Of every tensor: the nodes that it lives from and to, the next of those that live from the same node on, and the next higher in the arena. */
typedef struct {
    int *first, *last, *sibling, *above;
    int *made; /* of every node: the first tensor that lives from it on */
    int lowest, highest;
    uint64_t end; /* of all that have a place */
} plan;

size_t le_plan_list_size(size_t tensors, size_t nodes) { return (4 * tensors + nodes + 1) * sizeof(int); }

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

static void collect_lifetimes(const le_stream *s, plan *p) {
    const le_model *m = s->model;
    for (int t = 0; t < m->n_tensors; t++)
        p->first[t] = p->last[t] = -1;
    for (int i = 0; i < m->n_nodes; i++) {
        p->made[i] = -1;
        for (int j = 0; j < m->nodes[i].n_in; j++)
            if (m->nodes[i].in[j] >= 0)
                p->last[m->nodes[i].in[j]] = i;
        for (int j = 0; j < m->nodes[i].n_out; j++)
            if (m->nodes[i].out[j] >= 0)
                p->first[m->nodes[i].out[j]] = p->last[m->nodes[i].out[j]] = i;
    }
    for (int t = 0; t < m->n_tensors; t++) {
        const int holder = s->within[t].holder;
        if (holder < 0 || p->first[t] < 0)
            continue;
        p->first[holder] = p->first[t] < p->first[holder] ? p->first[t] : p->first[holder];
        p->last[holder] = p->last[t] > p->last[holder] ? p->last[t] : p->last[holder];
    }
    for (int t = m->n_tensors - 1; t >= 0; t--)
        if (p->first[t] >= 0 && s->capacity[t] && s->within[t].holder < 0) {
            p->sibling[t] = p->made[p->first[t]];
            p->made[p->first[t]] = t;
        }
}

/* Takes out what is above `below` (-1: the lowest). */
static void drop(plan *p, int below, int t) {
    *(below < 0 ? &p->lowest : &p->above[below]) = p->above[t];
    if (p->highest == t)
        p->highest = below;
}

/* The lowest place of so many bytes that is free at node `now`, above tensor `below` (-1: above none). What lives no longer is dropped on the way. */
static uint64_t find_place(const le_stream *s, plan *p, int now, uint64_t bytes, int *below) {
    uint64_t at = 0;
    *below = -1;
    for (int t = p->lowest, next, looked = 0; t >= 0; t = next) {
        next = p->above[t];
        if (p->last[t] < now) {
            drop(p, *below, t);
            continue;
        }
        if (s->offset[t] >= at + bytes)
            return at;
        if (++looked > MOST_LOOKED_AT) {
            *below = p->highest;
            return p->end;
        }
        at = s->offset[t] + s->capacity[t];
        *below = t;
    }
    return at;
}

static uint64_t put(le_stream *s, plan *p, int item, int now, int *below) {
    s->offset[item] = find_place(s, p, now, s->capacity[item], below);
    return s->offset[item] + s->capacity[item];
}

/* In execution order, each at the lowest free place; a node's scratch among what lives beside it. Gives the arena's size. */
static uint64_t lay_out(le_stream *s, plan *p) {
    uint64_t end = 0;
    int below;
    p->lowest = p->highest = -1;
    p->end = 0;
    for (int i = 0; i < s->model->n_nodes; i++) {
        for (int t = p->made[i]; t >= 0; t = p->sibling[t]) {
            const uint64_t behind = put(s, p, t, i, &below);
            p->end = behind > p->end ? behind : p->end;
            p->above[t] = below < 0 ? p->lowest : p->above[below];
            *(below < 0 ? &p->lowest : &p->above[below]) = t;
            p->highest = p->highest == below ? t : p->highest;
        }
        const int scratch = s->model->n_tensors + i;
        const uint64_t behind = s->capacity[scratch] ? put(s, p, scratch, i, &below) : 0;
        end = behind > end ? behind : end;
    }
    return end > p->end ? end : p->end;
}

le_status le_plan_arena(le_stream *s, int64_t frames) {
    const le_model *m = s->model;
    size_t tensors = (size_t)m->n_tensors, items = tensors + (size_t)m->n_nodes;
    int *lists = s->lists;
    plan p = {lists, lists + tensors, lists + 2 * tensors, lists + 3 * tensors, lists + 4 * tensors, -1, -1, 0};
    collect_lifetimes(s, &p);
    uint64_t total = lay_out(s, &p);
    if (!s->arena || total > s->arena_size) {
        const uint64_t held = s->held + s->arena_size; /* the old one stays until there is a new one */
        if (!le_stream_may_hold(s, held, total)) {
            memset(s->capacity, 0, items * sizeof *s->capacity);
            return le_fail_within(s, "what is computed for them", held, total, frames);
        }
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
