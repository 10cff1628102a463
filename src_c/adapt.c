/* Online adaptation: exponentially weighted recursive least squares (Haykin, Adaptive Filter Theory, chapter "recursive least squares")
 * on the last Dense layer before an output. The model is shared and never written: a stream keeps what is to be added to the layer.
 *
 * For every value l of a frame's answer, with phi = (the layer's input, 1), the correction w_l minimises
 *
 *     sum over frames i of lambda^age(i) (y_l(i) - answer_l(i) - w_l phi(i))^2  +  delta |w_l|^2
 *
 * Directions that the input does not excite would be forgotten without end (P grows as lambda^-t: wind-up) if the last term faded as
 * the others do. So it is renewed: after each frame, as many weights as it takes, in turn, are observed to be 0 with the weight `renewal`.
 * Each is one more row of the least squares; P stays below about 2/delta, and what is not excited goes back to the trained weights.
 *
 * All values share one P, for they share phi. Of a forecast, the value h frames ahead learns from a frame h frames later than the
 * next one does: the frame's gains, which depend on no observation, are kept until then. Everything is in double, in one order. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "adapt.h"

enum { WEIGHTS, COVARIANCE, FEATURES, ANSWERS, GAINS, MARKS, CLOCK, N_ARRAYS };
/* MARKS, per sequence: of every kept frame what became of it, then the weight that is renewed next. */
enum { EMPTY = -1, FRESH = 0 }; /* no frame that could be learnt from; not yet in P. Else 1 + the first weight renewed after it. */
/* CLOCK: the place of the newest frame, and whether its observation is awaited. */
enum { NEWEST, AWAITED, N_CLOCK };
enum { NO_ANSWER = -1, GIVEN = 0, AWAITING = 1 };

typedef struct {
    const char *name;
    int rank;
    int64_t dims[LE_MAX_RANK];
    double *data;
} array;

struct le_adapt {
    le_node node;    /* first: stands in for the Dense node in this stream; its run finds the rest behind it */
    le_op_type type; /* the node's, but run */
    le_status (*run_dense)(le_ctx *ctx);
    le_adaptation options;
    int output; /* tensor */
    le_adapt_layer layer;
    int64_t batch, n;        /* sequences; features and 1 */
    int64_t values, targets; /* corrected values of a frame's answer; those of one time */
    int64_t renewed;         /* weights renewed after each frame */
    double renewal;          /* the weight of such an observation */
    int64_t rows;            /* frames a sequence that the layer has answered in this run */
    array arrays[N_ARRAYS];  /* what is learnt and kept: the state */
    double *staged_features; /* (batch, horizon, n), (batch, horizon, values): of this run, until it has succeeded */
    double *staged_changes;
    double *memory;
    size_t bytes;
};

static int64_t elements(const array *x) {
    int64_t count = 1;
    for (int d = 0; d < x->rank; d++)
        count *= x->dims[d];
    return count;
}

/* A place of a sequence's part of an array. */
static double *at(const le_adapt *a, int which, int64_t sequence, int64_t place) {
    const array *x = &a->arrays[which];
    const int64_t size = elements(x) / x->dims[0];
    return x->data + sequence * size + place * (size / x->dims[1]);
}

static int64_t triangle(int64_t n) { return n * (n + 1) / 2; }

/* ---- learning ---- */

static void restart_covariance(const le_adapt *a, double *p) {
    memset(p, 0, (size_t)triangle(a->n) * sizeof *p);
    for (int64_t i = 0; i < a->n; i++)
        p[triangle(i) + i] = 1 / a->options.regularisation;
}

/* q = P x for the lower triangle p of the symmetric P; gives x q. */
static double product(int64_t n, const double *p, const double *x, double *q) {
    for (int64_t i = 0; i < n; i++, p++) {
        double sum = 0;
        for (int64_t j = 0; j < i; j++, p++) {
            sum += *p * x[j];
            q[j] += *p * x[i];
        }
        q[i] = sum + *p * x[i];
    }
    double power = 0;
    for (int64_t i = 0; i < n; i++)
        power += x[i] * q[i];
    return power;
}

/* P -= scale q q', then q becomes the gain, scale q. */
static void deflate(int64_t n, double *p, double scale, double *q) {
    for (int64_t i = 0; i < n; i++) {
        const double k = scale * q[i];
        for (int64_t j = 0; j <= i; j++)
            *p++ -= k * q[j];
    }
    for (int64_t i = 0; i < n; i++)
        q[i] *= scale;
}

static void renew(const le_adapt *a, double *p, int64_t weight, double *gain) {
    for (int64_t i = 0; i < a->n; i++)
        gain[i] = i < weight ? p[triangle(weight) + i] : p[triangle(i) + weight];
    deflate(a->n, p, a->renewal / (1 + a->renewal * gain[weight]), gain);
}

/* Takes a kept frame into P, once, and keeps its gains. */
static void absorb(const le_adapt *a, int64_t sequence, int64_t place) {
    double *mark = at(a, MARKS, sequence, place), *next = at(a, MARKS, sequence, a->options.horizon);
    if (*mark != FRESH)
        return;
    double *p = at(a, COVARIANCE, sequence, 0), *gain = at(a, GAINS, sequence, place);
    const double *phi = at(a, FEATURES, sequence, place);
    for (int64_t i = 0; i < triangle(a->n); i++)
        p[i] /= a->options.forgetting;
    double power = product(a->n, p, phi, gain);
    if (!(power >= 0) || !isfinite(power)) { /* a P that was given and is none, or one that rounding has spoilt */
        restart_covariance(a, p);
        power = product(a->n, p, phi, gain);
    }
    deflate(a->n, p, 1 / (1 + power), gain);
    *mark = 1 + *next;
    for (int64_t i = 1; i <= a->renewed; i++) {
        renew(a, p, (int64_t)*next, gain + i * a->n);
        *next = *next + 1 < (double)a->n ? *next + 1 : 0;
    }
}

/* Corrects the weights of one value by what it should have been at a kept frame. */
static void learn(const le_adapt *a, int64_t sequence, int64_t place, int64_t value, double wanted) {
    double *w = at(a, WEIGHTS, sequence, 0) + value;
    const double *phi = at(a, FEATURES, sequence, place), *gain = at(a, GAINS, sequence, place);
    double error = wanted - at(a, ANSWERS, sequence, place)[value];
    for (int64_t i = 0; i < a->n; i++)
        error -= w[i * a->values] * phi[i];
    for (int64_t i = 0; i < a->n; i++)
        w[i * a->values] += gain[i] * error;
    int64_t weight = (int64_t)*at(a, MARKS, sequence, place) - 1;
    for (int64_t r = 0; r < a->renewed; r++) {
        gain += a->n;
        const double excess = w[weight * a->values];
        for (int64_t i = 0; i < a->n; i++)
            w[i * a->values] -= gain[i] * excess;
        weight = weight + 1 < a->n ? weight + 1 : 0;
    }
}

static void adapt_sequence(const le_adapt *a, int64_t sequence, const double *y) {
    bool any = false;
    for (int64_t j = 0; j < a->targets; j++)
        any |= !isnan(y[j]);
    if (!any)
        return;
    const int64_t horizon = a->options.horizon, newest = (int64_t)a->arrays[CLOCK].data[NEWEST];
    for (int64_t i = 1; i <= horizon; i++) /* oldest first */
        absorb(a, sequence, (newest + i) % horizon);
    for (int64_t ahead = 0; ahead < horizon; ahead++) {
        const int64_t place = (newest + horizon - ahead) % horizon;
        if (*at(a, MARKS, sequence, place) == EMPTY)
            continue;
        for (int64_t j = 0; j < a->targets; j++)
            if (!isnan(y[j]))
                learn(a, sequence, place, ahead * a->targets + j, y[j]);
    }
}

le_status le_stream_adapt(le_stream *s, const double *y, le_error *err) {
    le_adapt *a = s->adapt;
    if (!a)
        return le_fail(err, LE_ERR_VALUE, "adapt: adaptation is off; turn it on before the first frame that it shall learn from");
    double *awaited = &a->arrays[CLOCK].data[AWAITED];
    if (*awaited == NO_ANSWER)
        return le_fail(err, LE_ERR_VALUE, "adapt: no frame was answered yet that an observation could be compared with; run one first");
    if (*awaited == GIVEN)
        return le_fail(err, LE_ERR_VALUE, "adapt: the observation that follows the last frame was given already; run the next frame first");
    for (int64_t i = 0; i < a->batch * a->targets; i++)
        if (fabs(y[i]) > FLT_MAX)
            return le_fail(err, LE_ERR_VALUE, "adapt: y: expected numbers of float32's range, or NaN where unknown; found %g at place %lld",
                           y[i], (long long)i);
    for (int64_t b = 0; b < a->batch; b++)
        adapt_sequence(a, b, y + b * a->targets);
    *awaited = GIVEN;
    return LE_OK;
}

/* ---- while a stream runs ---- */

/* Adds the correction to a row of the layer's answers; notes what they were made of and how they were changed. */
static void correct(const le_adapt *a, int64_t sequence, const float *x, float *z, double *phi, double *change) {
    const int64_t features = a->n - 1;
    const double *w = at(a, WEIGHTS, sequence, 0);
    memset(change, 0, (size_t)a->values * sizeof *change);
    phi[features] = 1;
    for (int64_t i = 0; i < a->n; i++, w += a->values) {
        if (i < features)
            phi[i] = (double)x[i];
        for (int64_t l = 0; l < a->values; l++)
            change[l] += phi[i] * w[l];
    }
    const le_adapt_link *link = a->layer.links;
    for (int64_t e = 0; e < a->layer.values; e++, link++) {
        const double by = link->value ? change[link->value - 1] * link->unit : 0;
        if (by != 0 && isfinite(by))
            z[e] = (float)((double)z[e] + by);
    }
}

static le_status run_adapted(le_ctx *ctx) {
    le_adapt *a = (le_adapt *)(uintptr_t)ctx->node;
    le_status status = a->run_dense(ctx);
    if (status != LE_OK)
        return status;
    const int64_t features = a->n - 1, horizon = a->options.horizon;
    const float *x = ctx->in[0]->data;
    float *z = ctx->out[0]->data;
    a->rows = le_count(ctx->out[0]) / a->layer.values / a->batch;
    for (int64_t row = 0; row < a->rows * a->batch; row++, x += features, z += a->layer.values) {
        const int64_t b = a->options.time_major ? row % a->batch : row / a->rows;
        const int64_t t = a->options.time_major ? row / a->batch : row % a->rows;
        const int64_t place = b * horizon + t % horizon; /* the last `horizon` rows stay */
        correct(a, b, x, z, a->staged_features + place * a->n, a->staged_changes + place * a->values);
    }
    return LE_OK;
}

static bool all_finite(int64_t n, const double *x) {
    bool finite = true;
    for (int64_t i = 0; i < n; i++)
        finite &= isfinite(x[i]) != 0;
    return finite;
}

/* Keeps a frame, with the answers that the layer would have given without its correction. */
static void keep(const le_adapt *a, int64_t b, int64_t t, const float *answer, int64_t place) {
    const int64_t horizon = a->options.horizon, each = a->options.each, staged = b * horizon + t % horizon;
    double *phi = at(a, FEATURES, b, place), *base = at(a, ANSWERS, b, place);
    memcpy(phi, a->staged_features + staged * a->n, (size_t)a->n * sizeof *phi);
    for (int64_t l = 0; l < a->values; l++)
        base[l] = (double)answer[l * each + a->options.middle] - a->staged_changes[staged * a->values + l];
    *at(a, MARKS, b, place) = FRESH;
    if (all_finite(a->n, phi) && all_finite(a->values, base))
        return;
    *at(a, MARKS, b, place) = EMPTY;
    memset(phi, 0, (size_t)a->n * sizeof *phi); /* the state stays finite */
    memset(base, 0, (size_t)a->values * sizeof *base);
}

void le_adapt_commit(le_stream *s) {
    le_adapt *a = s->adapt;
    const le_tensor *y = &s->tensors[a->output];
    const int64_t values = a->options.values;
    if (y->absent || s->nodes[a->layer.node].out[0]->absent || !a->rows)
        return;
    if (le_count(y) != a->rows * a->batch * values) /* a file may be made so that this holds for two frames and not for these */
        return;
    double *clock = a->arrays[CLOCK].data;
    const int64_t horizon = a->options.horizon, first = a->rows > horizon ? a->rows - horizon : 0;
    const int64_t newest = (int64_t)clock[NEWEST];
    for (int64_t t = first; t < a->rows; t++)
        for (int64_t b = 0; b < a->batch; b++) {
            const int64_t row = a->options.time_major ? t * a->batch + b : b * a->rows + t;
            keep(a, b, t, (const float *)y->data + row * values, (newest + 1 + t) % horizon);
        }
    clock[NEWEST] = (double)((newest + a->rows) % horizon);
    clock[AWAITED] = AWAITING;
    a->rows = 0;
}

void le_adapt_reset(le_adapt *a) {
    for (int i = 0; i < N_ARRAYS; i++)
        memset(a->arrays[i].data, 0, (size_t)elements(&a->arrays[i]) * sizeof(double));
    for (int64_t b = 0; b < a->batch; b++) {
        restart_covariance(a, at(a, COVARIANCE, b, 0));
        for (int64_t h = 0; h < a->options.horizon; h++)
            *at(a, MARKS, b, h) = EMPTY;
    }
    a->arrays[CLOCK].data[AWAITED] = NO_ANSWER;
}

/* ---- turning it on ---- */

static le_status check_options(le_stream *s, const le_adaptation *o) {
    if (!(o->forgetting > 0 && o->forgetting <= 1))
        return le_fail(&s->error, LE_ERR_VALUE, "adaptation: forgetting: expected more than 0 and at most 1, found %g", o->forgetting);
    if (!(o->regularisation >= 1e-9 && o->regularisation <= 1e9))
        return le_fail(&s->error, LE_ERR_VALUE, "adaptation: regularisation: expected 1e-9 to 1e9, found %g", o->regularisation);
    if (o->output < 0 || o->output >= s->model->n_outputs || s->model->tensors[s->model->outputs[o->output].tensor].dtype != LE_F32)
        return le_fail(&s->error, LE_ERR_VALUE, "adaptation: output: expected one of float32");
    const int64_t most = INT32_MAX; /* so that no product of two overflows */
    const bool few = o->horizon > 0 && o->horizon < most && o->each > 0 && o->each < most && o->values > 0 && o->values < most;
    if (!few || o->middle < 0 || o->middle >= o->each || o->values % (o->horizon * o->each))
        return le_fail(&s->error, LE_ERR_VALUE,
                       "adaptation: expected %lld values a frame to be %lld times, some targets and %lld quantiles", (long long)o->values,
                       (long long)o->horizon, (long long)o->each);
    return LE_OK;
}

/* log2 and exp2 in double precision for what is done once when adaptation is turned on: libm's ask for glibc 2.29. */

/* x > 0: the exponent, and 2 atanh((m - 1) / (m + 1)) / ln 2 of m in [1/2, 2); 24 terms leave 3^-49. */
static double log2_of(double x) {
    int exponent;
    double m = frexp(x, &exponent);
    if (m < 0.7071067811865476) {
        m *= 2;
        exponent--;
    }
    const double t = (m - 1) / (m + 1);
    double sum = 0;
    for (int k = 47; k > 0; k -= 2)
        sum = sum * t * t + 1.0 / k;
    return exponent + 2 * t * sum / 0.6931471805599453;
}

/* -1 <= x <= 0: the series of e^(x ln 2), whose 20th term is below 1e-21. */
static double exp2_of(double x) {
    double sum = 1;
    for (int k = 20; k > 0; k--)
        sum = 1 + sum * x * 0.6931471805599453 / k;
    return sum;
}

/* Lays out the arrays, the state first, and then what a run needs. */
static le_status allocate(le_stream *s, le_adapt *a) {
    const int64_t b = a->batch, h = a->options.horizon, n = a->layer.features + 1, v = a->values;
    a->n = n;
    const double halvings = a->options.forgetting < 1 ? -log2_of(a->options.forgetting) * (double)n : 0;
    a->renewed = halvings < (double)n ? (int64_t)ceil(halvings) : n;
    if (a->renewed) /* the forgetting of n / renewed frames, of one where all weights are renewed in each */
        a->renewal =
            a->options.regularisation * (1 - (halvings < (double)n ? exp2_of(-halvings / (double)a->renewed) : a->options.forgetting));
    const array arrays[N_ARRAYS] = {
        [WEIGHTS] = {"adapt.weights", 3, {b, n, v}, NULL},
        [COVARIANCE] = {"adapt.covariance", 2, {b, n > 1 << 20 ? INT64_MAX : triangle(n)}, NULL},
        [FEATURES] = {"adapt.features", 3, {b, h, n}, NULL},
        [ANSWERS] = {"adapt.answers", 3, {b, h, v}, NULL},
        [GAINS] = {"adapt.gains", 4, {b, h, 1 + a->renewed, n}, NULL},
        [MARKS] = {"adapt.marks", 2, {b, h + 1}, NULL},
        [CLOCK] = {"adapt.clock", 2, {1, N_CLOCK}, NULL},
    };
    memcpy(a->arrays, arrays, sizeof arrays);
    int64_t total = 0;
    for (int i = 0; i < N_ARRAYS; i++) {
        if (!le_dims_fit(a->arrays[i].rank, a->arrays[i].dims))
            return le_fail(&s->error, LE_ERR_MEMORY, "adaptation: cannot allocate %s for %lld features", a->arrays[i].name, (long long)n);
        total += elements(&a->arrays[i]);
    }
    total += b * h * (n + v);
    a->bytes = (size_t)total * sizeof *a->memory;
    if ((uint64_t)total * sizeof *a->memory > LE_MAX_ARENA || a->bytes / sizeof *a->memory != (uint64_t)total ||
        !(a->memory = calloc((size_t)total, sizeof *a->memory)))
        return le_fail(&s->error, LE_ERR_MEMORY, "adaptation: cannot allocate %lld numbers", (long long)total);
    double *next = a->memory;
    for (int i = 0; i < N_ARRAYS; i++) {
        a->arrays[i].data = next;
        next += elements(&a->arrays[i]);
    }
    a->staged_features = next;
    a->staged_changes = next + b * h * n;
    return LE_OK;
}

static void turn_off(le_stream *s) {
    if (s->adapt)
        s->nodes[s->adapt->layer.node].node = &s->model->nodes[s->adapt->layer.node];
    le_adapt_free(s->adapt);
    s->adapt = NULL;
}

static void turn_on(le_stream *s, le_adapt *a) {
    turn_off(s);
    a->node = s->model->nodes[a->layer.node];
    a->type = *a->node.type;
    a->run_dense = a->type.run;
    a->type.run = run_adapted;
    a->node.type = &a->type;
    s->nodes[a->layer.node].node = &a->node;
    s->adapt = a;
    le_adapt_reset(a);
}

le_status le_stream_adaptation(le_stream *s, const le_adaptation *given, le_error *err) {
    if (!given) {
        turn_off(s);
        return LE_OK;
    }
    le_adaptation options;
    le_status status = le_take_struct("adaptation", given, sizeof options, sizeof options, &options, &s->error);
    if (status == LE_OK)
        status = check_options(s, &options);
    le_adapt *a = NULL;
    if (status == LE_OK) {
        a = calloc(1, sizeof *a);
        status = a ? LE_OK : le_fail(&s->error, LE_ERR_MEMORY, "adaptation: cannot allocate it");
    }
    if (status == LE_OK) {
        a->options = options;
        a->batch = s->batch;
        a->output = s->model->outputs[options.output].tensor;
        a->values = options.values / options.each;
        a->targets = a->values / options.horizon;
        status = le_adapt_find(s, &options, &a->layer);
    }
    if (status == LE_OK)
        status = allocate(s, a);
    if (status == LE_OK) {
        turn_on(s, a);
    } else {
        le_adapt_free(a);
        if (err)
            *err = s->error;
    }
    return status;
}

void le_adapt_free(le_adapt *a) {
    if (a) {
        free(a->memory);
        free(a->layer.links);
    }
    free(a);
}

size_t le_adapt_bytes(const le_adapt *a) { return sizeof *a + a->bytes + (size_t)a->layer.values * sizeof *a->layer.links; }

/* ---- its state ---- */

const double *le_stream_adaptation_state(const le_stream *s, int index, const char **name, int *rank, int64_t dims[LE_MAX_RANK]) {
    if (!s->adapt || index < 0 || index >= N_ARRAYS)
        return NULL;
    const array *x = &s->adapt->arrays[index];
    *name = x->name;
    *rank = x->rank;
    memcpy(dims, x->dims, sizeof x->dims);
    return x->data;
}

static bool whole(double x, double low, double high) { return x >= low && x <= high && x == floor(x); }

/* Whether numbers can be what this array holds: places must lie in it, and a P is positive on its diagonal. */
static bool can_be(const le_adapt *a, int index, const double *data) {
    bool fits = all_finite(elements(&a->arrays[index]), data);
    for (int64_t b = 0; fits && index == COVARIANCE && b < a->batch; b++, data += triangle(a->n))
        for (int64_t i = 0; i < a->n; i++)
            fits &= data[triangle(i) + i] > 0;
    for (int64_t b = 0; fits && index == MARKS && b < a->batch; b++, data++) {
        for (int64_t h = 0; h < a->options.horizon; h++, data++)
            fits &= whole(*data, EMPTY, (double)a->n);
        fits &= whole(*data, 0, (double)a->n - 1);
    }
    if (fits && index == CLOCK)
        fits = whole(data[NEWEST], 0, (double)a->options.horizon - 1) && whole(data[AWAITED], NO_ANSWER, AWAITING);
    return fits;
}

le_status le_stream_set_adaptation_state(le_stream *s, int index, const double *data, le_error *err) {
    array *x = &s->adapt->arrays[index];
    if (!can_be(s->adapt, index, data))
        return le_fail(err, LE_ERR_VALUE, "state %s: expected what a stream's adaptation has given, found numbers that cannot be that",
                       x->name);
    memcpy(x->data, data, (size_t)elements(x) * sizeof *data);
    return LE_OK;
}
