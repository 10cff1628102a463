/* Which Dense layer an output's values come from: each is followed back to a value of one layer, of the same frame. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapt.h"

typedef struct {
    int steps;       /* taken so far: a file may be made to have no end of them */
    int node;        /* the Dense layer */
    int64_t element; /* of its output */
    double unit;     /* how much of that makes one unit of what was followed */
} origin;

enum { MOST_STEPS = 500 };

static int producer(const le_model *m, int tensor) {
    for (int i = 0; i < m->n_nodes; i++)
        for (int j = 0; j < m->nodes[i].n_out; j++)
            if (m->nodes[i].out[j] == tensor)
                return i;
    return -1;
}

static bool is_word(const le_node *node, const char *key, const char *word) {
    const le_attr *attr = le_attr_find(node, key);
    return attr && attr->kind == LE_ATTR_STR && strcmp(attr->strs[0], word) == 0;
}

static int64_t int_at(const le_node *node, const char *key, int place, int64_t fallback) {
    const le_attr *attr = le_attr_find(node, key);
    return attr && place < attr->count ? attr->ints[place] : fallback;
}

static void split(const le_tensor *t, int64_t element, int64_t *index) {
    for (int d = t->rank - 1; d >= 0; d--) {
        index[d] = element % t->dims[d];
        element /= t->dims[d];
    }
}

static int64_t join(const le_tensor *t, const int64_t *index) {
    int64_t element = 0;
    for (int d = 0; d < t->rank; d++)
        element = element * t->dims[d] + index[d];
    return element;
}

/* Which element of x an element of y is, to which x was broadcast. */
static int64_t broadcast_from(const le_tensor *y, int64_t element, const le_tensor *x) {
    int64_t index[LE_MAX_RANK], own[LE_MAX_RANK];
    split(y, element, index);
    for (int d = 0; d < x->rank; d++)
        own[d] = x->dims[d] == 1 ? 0 : index[y->rank - x->rank + d];
    return join(x, own);
}

static int64_t slice_from(const le_node *node, const le_tensor *y, int64_t element, const le_tensor *x) {
    int64_t index[LE_MAX_RANK];
    split(y, element, index);
    for (int i = 0; i < le_attr_find(node, "axes")->count; i++) {
        const int64_t axis = int_at(node, "axes", i, 0), step = int_at(node, "steps", i, 1);
        const int d = (int)(axis < 0 ? axis + x->rank : axis);
        const int64_t last = x->dims[d] - 1;
        int64_t start = int_at(node, "starts", i, 0);
        start = start < 0 ? start + x->dims[d] : start;
        index[d] = (start < 0 ? 0 : start > last ? last : start) + index[d] * step;
    }
    return join(x, index);
}

static le_status follow(le_stream *s, int tensor, int64_t element, origin *from);

/* A sum whose first operand comes from `from`. An output that moves with the layer's value by both operands moves by their sum. */
static le_status add_second(le_stream *s, const le_node *node, int64_t element, origin *from) {
    origin other = {from->steps, 0, 0, 1};
    const le_status status = follow(s, node->in[1], broadcast_from(&s->tensors[node->out[0]], element, &s->tensors[node->in[1]]), &other);
    from->steps = other.steps;
    if (other.steps > MOST_STEPS)
        return status;
    if (status != LE_OK || other.node != from->node || other.element != from->element)
        return LE_OK; /* what else is added stands where it is */
    const double each = 1 / from->unit + (is_word(node, "kind", "sub") ? -1 : 1) / other.unit;
    if (each == 0 || !isfinite(1 / each))
        return le_fail_op(&s->error, node, LE_ERR_UNSUPPORTED,
                          "adaptation: expected a sum that moves with the Dense layer's value, found one whose operands cancel it");
    from->unit = 1 / each;
    return LE_OK;
}

static le_status follow_sum(le_stream *s, const le_node *node, int64_t element, origin *from) {
    char first[LE_MESSAGE_SIZE / 3];
    const le_tensor *y = &s->tensors[node->out[0]];
    le_status status = follow(s, node->in[0], broadcast_from(y, element, &s->tensors[node->in[0]]), from);
    if (status == LE_OK)
        return add_second(s, node, element, from);
    snprintf(first, sizeof first, "%.150s", s->error.message);
    status = follow(s, node->in[1], broadcast_from(y, element, &s->tensors[node->in[1]]), from);
    from->unit = is_word(node, "kind", "sub") ? -from->unit : from->unit;
    const le_error second = s->error;
    return status == LE_OK ? status : le_fail_op(&s->error, node, status, "neither %s nor %.200s", first, second.message);
}

static le_status follow_product(le_stream *s, const le_node *node, int64_t element, origin *from) {
    const bool divided = is_word(node, "kind", "div"), product = is_word(node, "kind", "mul");
    const int constant = s->tensors[node->in[1]].is_const ? 1 : 0;
    const le_tensor *y = &s->tensors[node->out[0]], *c = &s->tensors[node->in[constant]], *x = &s->tensors[node->in[1 - constant]];
    if (!(product || (divided && constant == 1)) || !c->is_const)
        return le_fail_op(&s->error, node, LE_ERR_UNSUPPORTED,
                          "adaptation: between the last Dense layer and the output, expected sums and products with constants alone");
    const double value = (double)((const float *)c->data)[broadcast_from(y, element, c)];
    if (value == 0 || !isfinite(value))
        return le_fail_op(&s->error, node, LE_ERR_UNSUPPORTED, "adaptation: expected a constant other than 0, found %g", value);
    const le_status status = follow(s, node->in[1 - constant], broadcast_from(y, element, x), from);
    from->unit = divided ? from->unit * value : from->unit / value;
    return status;
}

static le_status follow_concat(le_stream *s, const le_node *node, int64_t element, origin *from) {
    int64_t index[LE_MAX_RANK];
    const le_tensor *y = &s->tensors[node->out[0]];
    split(y, element, index);
    const int64_t axis = int_at(node, "axis", 0, 0);
    int64_t *along = &index[axis < 0 ? axis + y->rank : axis];
    int i = 0;
    for (; i < node->n_in - 1 && *along >= s->tensors[node->in[i]].dims[along - index]; i++)
        *along -= s->tensors[node->in[i]].dims[along - index];
    return follow(s, node->in[i], join(&s->tensors[node->in[i]], index), from);
}

/* Where an element of a tensor comes from; of a sum, the first operand that comes from anywhere, and the second where it comes from the same. */
static le_status follow(le_stream *s, int tensor, int64_t element, origin *from) {
    const le_model *m = s->model;
    const int index = producer(m, tensor);
    if (index < 0 || ++from->steps > MOST_STEPS)
        return le_fail(&s->error, LE_ERR_UNSUPPORTED, "adaptation: expected an output that a Dense layer makes, found none before %.60s",
                       m->tensors[tensor].name);
    const le_node *node = &m->nodes[index];
    const char *op = node->type->name;
    const le_tensor *y = &s->tensors[tensor], *x = node->n_in && node->in[0] >= 0 ? &s->tensors[node->in[0]] : NULL;
    if (strcmp(op, "Reshape") == 0)
        return follow(s, node->in[0], element, from);
    if (strcmp(op, "Expand") == 0)
        return follow(s, node->in[0], broadcast_from(y, element, x), from);
    if (strcmp(op, "Slice") == 0)
        return follow(s, node->in[0], slice_from(node, y, element, x), from);
    if (strcmp(op, "Concat") == 0)
        return follow_concat(s, node, element, from);
    if (strcmp(op, "Binary") == 0)
        return is_word(node, "kind", "add") || is_word(node, "kind", "sub") ? follow_sum(s, node, element, from)
                                                                            : follow_product(s, node, element, from);
    if (strcmp(op, "Dense") != 0)
        return le_fail_op(&s->error, node, LE_ERR_UNSUPPORTED,
                          "adaptation: expected a Dense layer before the output, and between them sums, products with constants and views");
    if (le_attr_find(node, "activation") && !is_word(node, "activation", "linear"))
        return le_fail_op(&s->error, node, LE_ERR_UNSUPPORTED, "adaptation: expected a layer without an activation");
    *from = (origin){.steps = from->steps, .node = index, .element = element, .unit = 1};
    return LE_OK;
}

/* Notes that a value of a frame comes from there; what an earlier frame has noted must be the same. */
static le_status note(le_stream *s, le_adapt_layer *layer, int64_t row, int64_t value, const origin *from) {
    const le_node *node = &s->model->nodes[from->node];
    if (!layer->links) { /* the first */
        const int64_t *dims = s->tensors[node->in[1]].dims;
        *layer = (le_adapt_layer){.node = from->node, .features = dims[1], .values = dims[0]};
        layer->links = calloc((size_t)layer->values, sizeof *layer->links);
        if (!layer->links)
            return le_fail(&s->error, LE_ERR_MEMORY, "adaptation: cannot allocate for %lld values", (long long)layer->values);
    }
    if (from->node != layer->node || from->element / layer->values != row)
        return le_fail_op(&s->error, node, LE_ERR_UNSUPPORTED,
                          "adaptation: expected one layer that makes all values of a frame from one row, frame after frame");
    le_adapt_link *link = &layer->links[from->element % layer->values];
    if (!link->value)
        *link = (le_adapt_link){1 + value, from->unit};
    if (link->value != 1 + value || link->unit != from->unit)
        return le_fail_op(&s->error, node, LE_ERR_UNSUPPORTED, "adaptation: expected a value of the layer for each of the output's own");
    return LE_OK;
}

le_status le_adapt_find(le_stream *s, const le_adaptation *options, le_adapt_layer *layer) {
    le_status status = le_infer(s, 2 * options->frames, true);
    s->frames = -1;
    s->generation++;
    const int tensor = s->model->outputs[options->output].tensor;
    const int64_t values = options->values, count = le_count(&s->tensors[tensor]);
    if (status == LE_OK && (count == 0 || count % (s->batch * values) != 0))
        status = le_fail(&s->error, LE_ERR_SHAPE, "adaptation: expected %lld values a frame", (long long)values);
    for (int64_t e = 0; e < count && status == LE_OK; e++) {
        origin from = {0, 0, 0, 1};
        status = follow(s, tensor, e, &from);
        if (status == LE_OK)
            status = note(s, layer, e / values, e % values / options->each, &from);
    }
    if (status == LE_OK && le_count(&s->tensors[s->model->nodes[layer->node].out[0]]) / layer->values != count / values)
        status = le_fail_op(&s->error, &s->model->nodes[layer->node], LE_ERR_UNSUPPORTED,
                            "adaptation: expected a layer whose rows are the output's frames, found other rows too");
    return status;
}
