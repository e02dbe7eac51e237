// CachedAttention: q [batch, new, heads * dim] (or one packed q | k | v), k, v (optional), past keys and values [rows, kv heads,
// capacity, dim], last int32 [rows] = tokens of each row after this step - 1, cumulative lengths int32 [rows + 1] (optional), cos and sin
// [positions, dim / 2] (optional) -> [batch, new, heads * dim] and the caches with the new keys and values, which may be the memory
// of the past ones. Attribute: scale. Meaning and limits are those of src/tensor/ops/cached-attention.ts.
#include "operator.h"
#include <stdlib.h>
#include <string.h>

enum { Q, K, V, PAST_KEYS, PAST_VALUES, LAST, LENGTHS, COS, SIN, INPUTS };

// Some new tokens of a row, one after the other: what a task takes, for some heads.
typedef struct {
  size_t row;
  size_t first;    // of its tokens, among all new ones
  size_t position; // of that in its row
  size_t count;    // with padding
  size_t fresh;    // without
} Part;

typedef struct {
  const Plain *kernel;
  const Attention *attention;
  Tensor in[INPUTS];
  size_t rows, tokens, heads, kv_heads, dim, capacity;
  float *out, *keys, *values;
  Part *parts;
  size_t part_count, longest_part, together; // and how many parts a task appends
  float *rotated;                            // queries, [tokens, heads, dim]
  Query *queries;                            // of each task
  float *states;                             // of each query of each task, then room for as many
  size_t group;                              // heads of a task
  size_t pieces, slices;                     // of the longest row's keys; and tasks that share them: 1, or one for each piece
} Step;

// New tokens of a row lie from `first` on, `width` of them with padding.
typedef struct {
  size_t first, width, total; // and all that it has after this step
} Row;

static Row row_of(const Step *s, size_t row) {
  const int64_t total = (int64_t)((const int32_t *)s->in[LAST].data)[row] + 1;
  Row r = {.total = total < 0 ? 0 : (size_t)total};
  if (s->in[LENGTHS].missing) {
    r.width = (size_t)s->in[Q].sizes[1];
    r.first = row * r.width;
  } else {
    const int32_t *lengths = (const int32_t *)s->in[LENGTHS].data + row;
    r.first = (size_t)lengths[0];
    r.width = (size_t)(lengths[1] - lengths[0]);
  }
  return r;
}

// A first chunk may be padded at its end: then it begins at 0.
static size_t start_of(Row r) { return r.total > r.width ? r.total - r.width : 0; }
static size_t fresh_of(Row r) { return at_most(r.width, r.total); }

// A token's row of a projection: of q, k or v, apart or packed.
static const float *projected(const Step *s, int which, size_t token) {
  const size_t kv = s->kv_heads * s->dim, q = s->heads * s->dim;
  if (!s->in[K].missing) return (const float *)s->in[which].data + token * (which == Q ? q : kv);
  return (const float *)s->in[Q].data + token * (q + 2 * kv) + (which == Q ? 0 : which == K ? q : q + kv);
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

static void append_part(const Step *s, const Part *part) {
  const size_t dim = s->dim;
  for (size_t t = 0; t < part->fresh; t++) {
    const size_t token = part->first + t, position = part->position + t;
    const float *q = projected(s, Q, token), *k = projected(s, K, token), *v = projected(s, V, token);
    for (size_t h = 0; h < s->heads; h++) rotate(s, q + h * dim, position, s->rotated + (token * s->heads + h) * dim);
    for (size_t h = 0; h < s->kv_heads; h++) {
      const size_t at = ((part->row * s->kv_heads + h) * s->capacity + position) * dim;
      rotate(s, k + h * dim, position, s->keys + at);
      memcpy(s->values + at, v + h * dim, dim * sizeof(float));
    }
  }
}

static void append_some(void *data, size_t task) {
  const Step *s = data;
  for (size_t part = task * s->together; part < at_most(s->part_count, (task + 1) * s->together); part++) append_part(s, s->parts + part);
}

static HeadSizes sizes_of(const Step *s) { return (HeadSizes){s->dim, s->kernel->attribute}; }
static size_t task_queries(const Step *s) { return s->longest_part * s->group; }
static size_t task_count(const Step *s) { return s->part_count * s->heads / s->group; }
static const Part *part_of(const Step *s, size_t task) { return s->parts + task / (s->heads / s->group); }

// Those of a task's queries; behind them lies room for as many.
static float *states_of(const Step *s, size_t index) { return s->states + 2 * index * task_queries(s) * state_floats(sizes_of(s)); }

// Puts the slices of a task together and writes its results.
static void finish(const Step *s, size_t task) {
  const size_t most = task_queries(s), count = part_of(s, task)->count * s->group;
  for (size_t i = 0; i < count; i++) {
    const Query *q = s->queries + task * s->slices * most + i;
    float *state = states_of(s, task * s->slices) + i * state_floats(sizes_of(s)), *out = s->out + (q->query - s->rotated);
    for (size_t slice = 1; slice < s->slices; slice++) s->attention->join(sizes_of(s), state, states_of(s, task * s->slices + slice) + i * state_floats(sizes_of(s)));
    for (size_t d = 0; d < s->dim; d++) out[d] = q->seen ? state[2 + d] / state[1] : 0;
  }
}

// Task = (part, heads), of each slice of the keys.
static void attend_some(void *data, size_t index) {
  const Step *s = data;
  const size_t slice = index % s->slices, task = index / s->slices, first = task % (s->heads / s->group) * s->group;
  const Part *part = part_of(s, task);
  const size_t lane = (part->row * s->kv_heads + first * s->kv_heads / s->heads) * s->capacity * s->dim, most = task_queries(s);
  Query *queries = s->queries + index * most;
  float *states = states_of(s, index);
  size_t count = 0;
  for (size_t t = 0; t < part->count; t++)
    for (size_t h = first; h < first + s->group; h++, count++)
      queries[count] = (Query){.query = s->rotated + ((part->first + t) * s->heads + h) * s->dim, .seen = t < part->fresh ? part->position + t + 1 : 0};
  const size_t from = s->slices == 1 ? 0 : slice, to = s->slices == 1 ? s->pieces : slice + 1;
  s->attention->attend(sizes_of(s), queries, count, from, to, s->keys + lane, s->values + lane, states, states + most * state_floats(sizes_of(s)));
  if (s->slices == 1) finish(s, task);
}

// New tokens of one row that a task takes at most, and those that are worth another thread's while.
enum { PART = 16 };

// The parts of all rows, in order, into `to`, where that is not NULL; how many they are.
static size_t divide_rows(const Step *s, Part *to) {
  size_t count = 0;
  for (size_t row = 0; row < s->rows; row++) {
    const Row r = row_of(s, row);
    for (size_t from = 0; from < r.width; from += PART, count++) {
      if (!to) continue;
      const size_t left = fresh_of(r) > from ? fresh_of(r) - from : 0;
      to[count] = (Part){.row = row, .first = r.first + from, .position = start_of(r) + from, .count = at_most(PART, r.width - from), .fresh = at_most(PART, left)};
    }
  }
  return count;
}

// Heads of one head of keys read them together where there are tasks enough, or where the keys are more than a core keeps at hand:
// then each piece of them may be a task of its own.
static void divide(Step *s) {
  enum { ENOUGH = 8, AT_HAND = 1 << 17 };
  size_t longest = 0, widest_row = 0;
  for (size_t row = 0; row < s->rows; row++) {
    const Row r = row_of(s, row);
    longest = r.width > 0 && r.total > longest ? r.total : longest;
    widest_row = r.width > widest_row ? r.width : widest_row;
  }
  s->part_count = divide_rows(s, NULL);
  s->longest_part = at_most(PART, widest_row);
  s->together = 1 + (PART - 1) * s->part_count / s->tokens;
  const int enough = s->part_count * s->kv_heads >= ENOUGH, large = 2 * longest * s->dim * sizeof(float) > AT_HAND;
  s->group = enough || large ? s->heads / s->kv_heads : 1;
  s->pieces = parts_of(PIECE, longest);
  s->slices = enough || s->pieces < 2 ? 1 : s->pieces;
}

static const char *misfit(const Step *s) {
  const size_t width = (size_t)s->in[Q].sizes[2], q = s->heads * s->dim;
  if (s->kv_heads == 0 || s->dim % 8 != 0 || s->heads == 0 || s->heads % s->kv_heads != 0) return "CachedAttention: expected heads of a multiple of 8 columns, and the same number of them for each head of keys";
  if (width != (s->in[K].missing ? q + 2 * s->kv_heads * s->dim : q)) return "CachedAttention: queries do not fit the cache";
  if ((size_t)s->in[LAST].sizes[0] != s->rows) return "CachedAttention: expected the length of each row of the cache";
  if (s->in[LENGTHS].missing && (size_t)s->in[Q].sizes[0] != s->rows) return "CachedAttention: expected as many rows of the cache as of new tokens";
  if (!s->in[LENGTHS].missing) {
    const int32_t *lengths = s->in[LENGTHS].data;
    if ((size_t)s->in[LENGTHS].sizes[0] != s->rows + 1 || lengths[0] != 0 || (size_t)lengths[s->rows] != s->tokens) return "CachedAttention: expected cumulative lengths of each row's new tokens, from 0 to all of them";
    for (size_t row = 0; row < s->rows; row++)
      if (lengths[row] > lengths[row + 1]) return "CachedAttention: cumulative lengths fall";
  }
  for (size_t row = 0; row < s->rows; row++) {
    const Row r = row_of(s, row);
    if (r.total > s->capacity) return "CachedAttention: a row is longer than the cache";
    if (!s->in[COS].missing && r.total > (size_t)s->in[COS].sizes[0]) return "CachedAttention: a row is longer than the tables of its rotation";
  }
  return NULL;
}

static Status *make_outputs(Step *s, void *context) {
  const Api api = s->kernel->api;
  const int64_t shape[3] = {s->in[Q].sizes[0], s->in[Q].sizes[1], (int64_t)(s->heads * s->dim)};
  float **caches[2] = {&s->keys, &s->values};
  Status *status = make_output(api, context, 0, shape, 3, (void **)&s->out);
  for (size_t i = 0; i < 2 && !status; i++) {
    const Tensor *past = &s->in[PAST_KEYS + i];
    status = make_output(api, context, 1 + i, past->sizes, 4, (void **)caches[i]);
    if (!status && (const float *)past->data != *caches[i]) memcpy(*caches[i], past->data, s->rows * s->kv_heads * s->capacity * s->dim * sizeof(float));
  }
  return status;
}

static Status *reserve(Step *s) {
  const size_t queries = task_count(s) * s->slices * task_queries(s);
  const size_t rotated = s->tokens * s->heads * s->dim, states = 2 * queries * state_floats(sizes_of(s));
  char *memory = scratch(s->part_count * sizeof(Part) + queries * sizeof(Query) + (rotated + states) * sizeof(float));
  if (!memory) return fail(s->kernel->api, FAIL, "CachedAttention: no memory");
  s->parts = (Part *)memory;
  s->queries = (Query *)(s->parts + s->part_count);
  s->rotated = (float *)(s->queries + queries);
  s->states = s->rotated + rotated;
  divide_rows(s, s->parts);
  return NULL;
}

static Status *compute(void *kernel, void *context) {
  Step s = {.kernel = kernel, .attention = attention()};
  const Api api = s.kernel->api;
  Status *status = read_inputs(api, context, 0, INPUTS, s.in);
  if (status) return status;
  const int64_t *past = s.in[PAST_KEYS].sizes;
  s.tokens = (size_t)(s.in[Q].sizes[0] * s.in[Q].sizes[1]);
  s.rows = (size_t)past[0], s.kv_heads = (size_t)past[1], s.capacity = (size_t)past[2], s.dim = (size_t)past[3];
  const size_t lanes = s.dim ? (size_t)s.in[Q].sizes[2] / s.dim : 0;
  s.heads = s.in[K].missing && lanes >= 2 * s.kv_heads ? lanes - 2 * s.kv_heads : lanes;
  const char *wrong = misfit(&s);
  if (wrong) return fail(api, INVALID, wrong);
  status = make_outputs(&s, context);
  if (status || s.tokens == 0) return status;
  divide(&s);
  status = reserve(&s);
  if (!status) status = parallel(api, context, append_some, parts_of(s.together, s.part_count), &s);
  if (!status) status = parallel(api, context, attend_some, task_count(&s) * s.slices, &s);
  for (size_t task = 0; !status && s.slices > 1 && task < task_count(&s); task++) finish(&s, task);
  return status;
}

void *longjing_cached_attention(void) {
  static const int inputs[INPUTS] = {FLOAT, -FLOAT, -FLOAT, FLOAT, FLOAT, INT32, -INT32, -FLOAT, -FLOAT}, outputs[] = {FLOAT, FLOAT, FLOAT};
  static Operator o = {.op_name = "CachedAttention", .input_types = inputs, .output_types = outputs, .inputs = INPUTS, .outputs = 3, .attribute = "scale"};
  o.op = operator_of(create_plain, compute, free);
  return &o;
}
