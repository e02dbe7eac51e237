#include "causal-attention.h"
#include "blocks.h"
#include "vectors.h"
#include <math.h>

// Queries are taken by eights, whose scores end where the last of them sees no more keys, to a multiple of sixteen.
enum { BLOCK = 8, COLUMNS = 16 };
#ifdef WIDE
enum { ROWS = 8 };
#else
enum { ROWS = 4 };
#endif

// Numbers of a matrix: that of row r and column c lies at at[r * row + c * column].
typedef struct {
  const float *at;
  size_t row, column;
} Left;

// A tile of ROWS by `vectors` vectors, which fit the registers.
INLINE void multiply_tile(Left a, const float *b, float *y, size_t stride, size_t y_stride, size_t depth, float alpha, int vectors) {
  Floats sums[ROWS][2];
  for (int r = 0; r < ROWS; r++) sums[r][0] = sums[r][1] = every(0);
  for (size_t k = 0; k < depth; k++, b += stride, a.at += a.column) {
    const Floats right = load_floats(b), beside = vectors > 1 ? load_floats(b + LANES) : right;
    for (int r = 0; r < ROWS; r++) {
      const Floats left = every(a.at[r * a.row]);
      sums[r][0] = times_plus(left, right, sums[r][0]);
      if (vectors > 1) sums[r][1] = times_plus(left, beside, sums[r][1]);
    }
  }
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < vectors; v++) store(y + r * y_stride + v * LANES, times(sums[r][v], every(alpha)), LANES);
}

// BLOCK rows of a times b, times alpha, into y; columns are a multiple of COLUMNS.
static void multiply(Left a, const float *b, size_t stride, float *y, size_t y_stride, size_t depth, size_t columns, float alpha) {
  for (int r = 0; r < BLOCK; r += ROWS, a.at += ROWS * a.row, y += ROWS * y_stride) {
    size_t c = 0;
    for (; c + 2 * LANES <= columns; c += 2 * LANES) multiply_tile(a, b + c, y + c, stride, y_stride, depth, alpha, 2);
    if (c < columns) multiply_tile(a, b + c, y + c, stride, y_stride, depth, alpha, 1);
  }
}

static void transpose(const float *from, size_t rows, size_t columns, float *to) {
  for (size_t r = 0; r < rows; r += COLUMNS)
    for (size_t c = 0; c < columns; c++)
      for (size_t i = r; i < r + COLUMNS; i++) to[c * rows + i] = from[i * columns + c];
}

// The rows of some lanes, one lane after another, with zeros up to `padded` rows.
static void take_lanes(const float *from, size_t rows, size_t padded, size_t stride, size_t lanes, size_t width, float *to) {
  for (size_t t = 0; t < rows; t++)
    for (size_t l = 0; l < lanes; l++) memcpy(to + (l * padded + t) * width, from + t * stride + l * width, width * sizeof(float));
  for (size_t l = 0; l < lanes; l++) memset(to + (l * padded + rows) * width, 0, (padded - rows) * width * sizeof(float));
}

static void give_lane(const float *from, size_t rows, size_t stride, size_t width, float *to) {
  for (size_t t = 0; t < rows; t++) memcpy(to + t * stride, from + t * width, width * sizeof(float));
}

INLINE float total(const Floats *sums) {
  Sixteen s;
  for (int v = 0; v < VECTORS; v++) s.v[v] = sums[v];
  return sum_of_lanes(s);
}

// Scores become weights: a softmax of the `seen` first, and zeros up to `limit`.
static void weigh(float *scores, size_t seen, size_t limit, const float *mask) {
  static const float hide[2 * LANES] = {[LANES ... 2 * LANES - 1] = -INFINITY};
  Floats most = every(-INFINITY);
  for (size_t j = 0; j < limit; j += LANES) {
    const size_t left = j < seen ? at_most(LANES, seen - j) : 0;
    Floats score = sum_of(load_floats(scores + j), load_floats(hide + LANES - left));
    if (mask) score = sum_of(score, load_first(mask + j, (int)left));
    store(scores + j, score, LANES);
    most = greater(score, most);
  }
  const Floats top = every(greatest(most));
  Floats sums[VECTORS];
  for (int v = 0; v < VECTORS; v++) sums[v] = every(0);
  for (size_t j = 0; j < limit; j += COLUMNS)
    for (int v = 0; v < VECTORS; v++) {
      const Floats weight = exponential(difference(load_floats(scores + j + v * LANES), top));
      store(scores + j + v * LANES, weight, LANES);
      sums[v] = sum_of(sums[v], weight);
    }
  const Floats share = every(1 / total(sums));
  for (size_t j = 0; j < limit; j += LANES) store(scores + j, times(load_floats(scores + j), share), LANES);
}

// Gradients of weights become those of scores: P (dP - sum of P dP).
static void differentiate(float *gradients, const float *weights, size_t limit) {
  Floats sums[VECTORS];
  for (int v = 0; v < VECTORS; v++) sums[v] = every(0);
  for (size_t j = 0; j < limit; j += COLUMNS)
    for (int v = 0; v < VECTORS; v++) sums[v] = times_plus(load_floats(weights + j + v * LANES), load_floats(gradients + j + v * LANES), sums[v]);
  const Floats delta = every(total(sums));
  for (size_t j = 0; j < limit; j += LANES) store(gradients + j, times(load_floats(weights + j), difference(load_floats(gradients + j), delta)), LANES);
}

typedef struct {
  size_t first, lanes, rows, width, before; // rows and width: times and keys with padding; before: keys before the first query
  float *q, *k, *v, *dy;                     // of all its lanes
  float *transposed, *weights, *gradients, *out;
} Task;

static size_t wider(const CausalStep *s) { return s->dim > s->value_dim ? s->dim : s->value_dim; }

static Task begin(const CausalStep *s, size_t task, float *memory) {
  Task t = {.first = task * TASK_LANES, .rows = up_to(BLOCK, s->time), .width = up_to(COLUMNS, s->keys), .before = s->keys - s->time};
  t.lanes = at_most(TASK_LANES, s->lanes - t.first);
  t.q = memory;
  t.k = t.q + TASK_LANES * t.rows * s->dim;
  t.v = t.k + TASK_LANES * t.width * s->dim;
  t.dy = t.v + TASK_LANES * t.width * s->value_dim;
  t.transposed = t.dy + TASK_LANES * t.rows * s->value_dim;
  t.weights = t.transposed + t.width * wider(s);
  t.gradients = t.weights + t.rows * t.width;
  t.out = t.gradients + t.rows * t.width;
  take_lanes(s->q + t.first * s->dim, s->time, t.rows, s->lanes * s->dim, t.lanes, s->dim, t.q);
  take_lanes(s->k + t.first * s->dim, s->keys, t.width, s->lanes * s->dim, t.lanes, s->dim, t.k);
  take_lanes(s->v + t.first * s->value_dim, s->keys, t.width, s->lanes * s->value_dim, t.lanes, s->value_dim, t.v);
  if (s->y_gradient) take_lanes(s->y_gradient + t.first * s->value_dim, s->time, t.rows, s->lanes * s->value_dim, t.lanes, s->value_dim, t.dy);
  return t;
}

INLINE size_t limit_of(const Task *t, size_t i) { return at_most(t->width, up_to(COLUMNS, t->before + i + BLOCK)); }

static void weigh_lane(const CausalStep *s, const Task *t, size_t lane) {
  const float *mask = s->mask ? s->mask + (t->first + lane) / (s->lanes / s->masks) * s->time * s->keys : NULL;
  transpose(t->k + lane * t->width * s->dim, t->width, s->dim, t->transposed);
  for (size_t i = 0; i < t->rows; i += BLOCK) {
    const size_t limit = limit_of(t, i);
    float *weights = t->weights + i * t->width;
    multiply((Left){t->q + (lane * t->rows + i) * s->dim, s->dim, 1}, t->transposed, t->width, weights, t->width, s->dim, limit, s->scale);
    for (size_t r = i; r < i + BLOCK; r++, weights += t->width)
      if (r < s->time) weigh(weights, t->before + r + 1, limit, mask ? mask + r * s->keys : NULL);
      else memset(weights, 0, limit * sizeof(float));
  }
}

static void forward(const CausalStep *s, size_t task, float *memory) {
  const Task t = begin(s, task, memory);
  for (size_t lane = 0; lane < t.lanes; lane++) {
    weigh_lane(s, &t, lane);
    for (size_t i = 0; i < t.rows; i += BLOCK) multiply((Left){t.weights + i * t.width, t.width, 1}, t.v + lane * t.width * s->value_dim, s->value_dim, t.out + i * s->value_dim, s->value_dim, limit_of(&t, i), s->value_dim, 1);
    give_lane(t.out, s->time, s->lanes * s->value_dim, s->value_dim, s->y + (t.first + lane) * s->value_dim);
  }
}

// The gradient of keys or values: for each, the queries' parts weighed by what they gave it. No query before `first` sees a key.
static void gather_keys(const CausalStep *s, const Task *t, size_t lane, const float *weights, const float *queries, size_t dim, float alpha, float *to) {
  for (size_t j = 0; j < t->width; j += BLOCK) {
    const size_t first = j > t->before ? (j - t->before) / BLOCK * BLOCK : 0;
    multiply((Left){weights + first * t->width + j, 1, t->width}, queries + first * dim, dim, t->out + j * dim, dim, t->rows - first, dim, alpha);
  }
  give_lane(t->out, s->keys, s->lanes * dim, dim, to + (t->first + lane) * dim);
}

static void backward(const CausalStep *s, size_t task, float *memory) {
  const Task t = begin(s, task, memory);
  for (size_t lane = 0; lane < t.lanes; lane++) {
    const float *q = t.q + lane * t.rows * s->dim, *k = t.k + lane * t.width * s->dim, *dy = t.dy + lane * t.rows * s->value_dim;
    weigh_lane(s, &t, lane);
    transpose(t.v + lane * t.width * s->value_dim, t.width, s->value_dim, t.transposed);
    for (size_t i = 0; i < t.rows; i += BLOCK) {
      const size_t limit = limit_of(&t, i);
      float *gradients = t.gradients + i * t.width;
      multiply((Left){dy + i * s->value_dim, s->value_dim, 1}, t.transposed, t.width, gradients, t.width, s->value_dim, limit, 1);
      for (size_t r = 0; r < BLOCK; r++) differentiate(gradients + r * t.width, t.weights + (i + r) * t.width, limit);
      multiply((Left){gradients, t.width, 1}, k, s->dim, t.out + i * s->dim, s->dim, limit, s->dim, s->scale);
    }
    give_lane(t.out, s->time, s->lanes * s->dim, s->dim, s->q_gradient + (t.first + lane) * s->dim);
    gather_keys(s, &t, lane, t.gradients, q, s->dim, s->scale, s->k_gradient);
    gather_keys(s, &t, lane, t.weights, dy, s->value_dim, 1, s->v_gradient);
  }
}

#ifdef WIDE
void wide_causal_forward(const CausalStep *s, size_t task, float *memory) { forward(s, task, memory); }
void wide_causal_backward(const CausalStep *s, size_t task, float *memory) { backward(s, task, memory); }
size_t causal_scratch(const CausalStep *s) {
  const size_t rows = up_to(BLOCK, s->time), width = up_to(COLUMNS, s->keys);
  return TASK_LANES * (rows + width) * (s->dim + s->value_dim) + 2 * rows * width + (width + (rows > width ? rows : width)) * wider(s);
}
#else
void narrow_causal_forward(const CausalStep *s, size_t task, float *memory) { forward(s, task, memory); }
void narrow_causal_backward(const CausalStep *s, size_t task, float *memory) { backward(s, task, memory); }
#endif
