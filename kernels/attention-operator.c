// CachedAttention: q [batch, new, heads * dim] (or one packed q | k | v), k, v (optional), past keys and values [batch, kv heads,
// capacity, dim], last int32 [batch] = tokens of each row after this step - 1, cos and sin [positions, dim / 2] (optional)
// -> [batch, new, heads * dim] and the caches with the new keys and values, which may be the memory of the past ones.
// Attribute: scale. Meaning and limits are those of src/tensor/ops/cached-attention.ts.
#include "operator.h"
#include <stdlib.h>
#include <string.h>

enum { Q, K, V, PAST_KEYS, PAST_VALUES, LAST, COS, SIN, INPUTS };

typedef struct {
  Api api;
  const Attention *attention;
  float scale;
} Kernel;

typedef struct {
  const Kernel *kernel;
  Tensor in[INPUTS];
  size_t batch, count, heads, kv_heads, dim, capacity;
  float *out, *keys, *values;
  float *rotated; // queries, [batch, new, heads, dim]
  Query *queries; // of each task
  float *states;  // of each query of each task, then room for as many
  size_t steps, parts;   // new tokens of a task, and how many such parts a row has
  size_t group;          // heads of a task
  size_t pieces, slices; // of the longest row's keys; and tasks that share them: 1, or one for each piece
} Step;

// A first chunk may be padded at its end: then it begins at 0.
static size_t start_of(const Step *s, size_t b) {
  const int64_t total = (int64_t)((const int32_t *)s->in[LAST].data)[b] + 1;
  return total > (int64_t)s->count ? (size_t)total - s->count : 0;
}

static size_t fresh_of(const Step *s, size_t b) {
  const int64_t total = (int64_t)((const int32_t *)s->in[LAST].data)[b] + 1;
  return total < 0 ? 0 : at_most(s->count, (size_t)total);
}

// A row of a projection: of q, k or v, apart or packed.
static const float *projected(const Step *s, int which, size_t b, size_t t) {
  const size_t row = b * s->count + t, kv = s->kv_heads * s->dim, q = s->heads * s->dim;
  if (!s->in[K].missing) return (const float *)s->in[which].data + row * (which == Q ? q : kv);
  return (const float *)s->in[Q].data + row * (q + 2 * kv) + (which == Q ? 0 : which == K ? q : q + kv);
}

static void rotate(const Step *s, const float *x, size_t position, float *to) {
  const size_t half = s->dim / 2;
  if (s->in[COS].missing) {
    memcpy(to, x, s->dim * sizeof(float));
    return;
  }
  const float *cos = (const float *)s->in[COS].data + position * half, *sin = (const float *)s->in[SIN].data + position * half;
  for (size_t i = 0; i < half; i++) {
    to[i] = x[i] * cos[i] - x[i + half] * sin[i];
    to[i + half] = x[i + half] * cos[i] + x[i] * sin[i];
  }
}

static void append_row(const Step *s, size_t b, size_t from) {
  const size_t start = start_of(s, b), dim = s->dim;
  for (size_t t = from; t < at_most(fresh_of(s, b), from + s->steps); t++) {
    const float *q = projected(s, Q, b, t), *k = projected(s, K, b, t), *v = projected(s, V, b, t);
    for (size_t h = 0; h < s->heads; h++) rotate(s, q + h * dim, start + t, s->rotated + ((b * s->count + t) * s->heads + h) * dim);
    for (size_t h = 0; h < s->kv_heads; h++) {
      const size_t at = ((b * s->kv_heads + h) * s->capacity + start + t) * dim;
      rotate(s, k + h * dim, start + t, s->keys + at);
      memcpy(s->values + at, v + h * dim, dim * sizeof(float));
    }
  }
}

// New tokens that are worth another thread's while.
enum { APPENDED = 16 };

// Tasks take a part of a row's tokens each, or, where rows have one, some rows.
static void append_some(void *data, size_t task) {
  const Step *s = data;
  if (s->count > 1) return append_row(s, task / s->parts, task % s->parts * s->steps);
  for (size_t b = task * APPENDED; b < at_most(s->batch, (task + 1) * APPENDED); b++) append_row(s, b, 0);
}

static HeadSizes sizes_of(const Step *s) { return (HeadSizes){s->dim, s->kernel->scale}; }
static size_t task_queries(const Step *s) { return s->steps * s->group; }
static size_t task_count(const Step *s) { return s->batch * s->heads / s->group * s->parts; }

// Those of a task's queries; behind them lies room for as many.
static float *states_of(const Step *s, size_t index) { return s->states + 2 * index * task_queries(s) * state_floats(sizes_of(s)); }

// Puts the slices of a task together and writes its results.
static void finish(const Step *s, size_t task) {
  const size_t most = task_queries(s), left = s->count - task % s->parts * s->steps, count = at_most(s->steps, left) * s->group;
  for (size_t i = 0; i < count; i++) {
    const Query *q = s->queries + task * s->slices * most + i;
    float *state = states_of(s, task * s->slices) + i * state_floats(sizes_of(s)), *out = s->out + (q->query - s->rotated);
    for (size_t slice = 1; slice < s->slices; slice++) s->kernel->attention->join(sizes_of(s), state, states_of(s, task * s->slices + slice) + i * state_floats(sizes_of(s)));
    for (size_t d = 0; d < s->dim; d++) out[d] = q->seen ? state[2 + d] / state[1] : 0;
  }
}

// Task = (row, heads, part of the new tokens), of each slice of the keys.
static void attend_some(void *data, size_t index) {
  const Step *s = data;
  const size_t slice = index % s->slices, task = index / s->slices, part = task % s->parts, groups = s->heads / s->group;
  const size_t first = task / s->parts % groups * s->group, b = task / s->parts / groups, start = start_of(s, b), fresh = fresh_of(s, b);
  const size_t lane = (b * s->kv_heads + first * s->kv_heads / s->heads) * s->capacity * s->dim, most = task_queries(s);
  Query *queries = s->queries + index * most;
  float *states = states_of(s, index);
  size_t count = 0;
  for (size_t t = part * s->steps; t < at_most(s->count, (part + 1) * s->steps); t++)
    for (size_t h = first; h < first + s->group; h++, count++)
      queries[count] = (Query){.query = s->rotated + ((b * s->count + t) * s->heads + h) * s->dim, .seen = t < fresh ? start + t + 1 : 0};
  const size_t from = s->slices == 1 ? 0 : slice, to = s->slices == 1 ? s->pieces : slice + 1;
  s->kernel->attention->attend(sizes_of(s), queries, count, from, to, s->keys + lane, s->values + lane, states, states + most * state_floats(sizes_of(s)));
  if (s->slices == 1) finish(s, task);
}

// Heads of one head of keys read them together where there are tasks enough, or where the keys are more than a core keeps at hand:
// then each piece of them may be a task of its own.
static void divide(Step *s) {
  enum { STEPS = 16, ENOUGH = 8, AT_HAND = 1 << 17 };
  s->steps = at_most(STEPS, s->count);
  s->parts = (s->count + s->steps - 1) / s->steps;
  size_t longest = 0;
  for (size_t b = 0; b < s->batch; b++) {
    const size_t total = start_of(s, b) + fresh_of(s, b);
    longest = total > longest ? total : longest;
  }
  const int enough = s->batch * s->kv_heads * s->parts >= ENOUGH, large = 2 * longest * s->dim * sizeof(float) > AT_HAND;
  s->group = enough || large ? s->heads / s->kv_heads : 1;
  s->pieces = (longest + PIECE - 1) / PIECE;
  s->slices = enough || s->pieces < 2 ? 1 : s->pieces;
}

static const char *misfit(const Step *s) {
  const size_t width = (size_t)s->in[Q].sizes[2], q = s->heads * s->dim;
  if (s->kv_heads == 0 || s->dim % 8 != 0 || s->heads == 0 || s->heads % s->kv_heads != 0) return "CachedAttention: expected heads of a multiple of 8 columns, and the same number of them for each head of keys";
  if (width != (s->in[K].missing ? q + 2 * s->kv_heads * s->dim : q)) return "CachedAttention: queries do not fit the cache";
  if ((size_t)s->in[LAST].sizes[0] != s->batch || (size_t)s->in[PAST_KEYS].sizes[0] != s->batch) return "CachedAttention: expected as many rows of the cache as of new tokens";
  for (size_t b = 0; b < s->batch; b++) {
    const size_t total = start_of(s, b) + fresh_of(s, b);
    if (total > s->capacity) return "CachedAttention: a row is longer than the cache";
    if (!s->in[COS].missing && total > (size_t)s->in[COS].sizes[0]) return "CachedAttention: a row is longer than the tables of its rotation";
  }
  return NULL;
}

static Status *make_outputs(Step *s, void *context) {
  const Api api = s->kernel->api;
  const int64_t shape[3] = {(int64_t)s->batch, (int64_t)s->count, (int64_t)(s->heads * s->dim)};
  float **caches[2] = {&s->keys, &s->values};
  Status *status = make_output(api, context, 0, shape, 3, (void **)&s->out);
  for (size_t i = 0; i < 2 && !status; i++) {
    const Tensor *past = &s->in[PAST_KEYS + i];
    status = make_output(api, context, 1 + i, past->sizes, 4, (void **)caches[i]);
    if (!status && (const float *)past->data != *caches[i]) memcpy(*caches[i], past->data, s->batch * s->kv_heads * s->capacity * s->dim * sizeof(float));
  }
  return status;
}

static Status *reserve(Step *s) {
  const size_t queries = task_count(s) * s->slices * task_queries(s);
  const size_t rotated = s->batch * s->count * s->heads * s->dim, states = 2 * queries * state_floats(sizes_of(s));
  char *memory = scratch(queries * sizeof(Query) + (rotated + states) * sizeof(float));
  if (!memory) return fail(s->kernel->api, FAIL, "CachedAttention: no memory");
  s->queries = (Query *)memory;
  s->rotated = (float *)(memory + queries * sizeof(Query));
  s->states = s->rotated + rotated;
  return NULL;
}

static Status *compute(void *kernel, void *context) {
  Step s = {.kernel = kernel};
  const Api api = s.kernel->api;
  Status *status = read_inputs(api, context, 0, INPUTS, s.in);
  if (status) return status;
  const int64_t *past = s.in[PAST_KEYS].sizes;
  s.batch = (size_t)s.in[Q].sizes[0], s.count = (size_t)s.in[Q].sizes[1];
  s.kv_heads = (size_t)past[1], s.capacity = (size_t)past[2], s.dim = (size_t)past[3];
  const size_t lanes = s.dim ? (size_t)s.in[Q].sizes[2] / s.dim : 0;
  s.heads = s.in[K].missing && lanes >= 2 * s.kv_heads ? lanes - 2 * s.kv_heads : lanes;
  const char *wrong = misfit(&s);
  if (wrong) return fail(api, INVALID, wrong);
  status = make_outputs(&s, context);
  if (status || s.batch * s.count == 0) return status;
  divide(&s);
  status = reserve(&s);
  if (!status) status = parallel(api, context, append_some, s.count > 1 ? s.batch * s.parts : (s.batch + APPENDED - 1) / APPENDED, &s);
  if (!status) status = parallel(api, context, attend_some, task_count(&s) * s.slices, &s);
  for (size_t task = 0; !status && s.slices > 1 && task < task_count(&s); task++) finish(&s, task);
  return status;
}

static Status *create(const CustomOp *op, Api api, const void *info, void **out) {
  (void)op;
  float scale = 0;
  Status *s = float_attribute(api, info, "scale", &scale);
  if (s) return s;
  Kernel *k = calloc(1, sizeof *k);
  if (!k) return fail(api, FAIL, "CachedAttention: no memory");
  *k = (Kernel){.api = api, .attention = attention(), .scale = scale};
  *out = k;
  return NULL;
}

void *longjing_cached_attention(void) {
  static const int inputs[INPUTS] = {FLOAT, -FLOAT, -FLOAT, FLOAT, FLOAT, INT32, -FLOAT, -FLOAT}, outputs[] = {FLOAT, FLOAT, FLOAT};
  static Operator o = {.op_name = "CachedAttention", .input_types = inputs, .output_types = outputs, .inputs = INPUTS, .outputs = 3};
  o.op = operator_of(create, compute, free);
  return &o;
}
