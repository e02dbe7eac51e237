// Softmax attention over blocks of keys, with a running maximum (Milakov and Gimelshein, arXiv 1805.02867).
#include "attention.h"
#include "vectors.h"
#include <math.h>

enum { BLOCK = 64 };

INLINE Sixteen load_sixteen(const float *p, int count) {
  Sixteen s;
  for (int i = 0; i < VECTORS; i++) s.v[i] = count == 16 ? load_floats(p + i * LANES) : load_first(p + i * LANES, count - i * LANES);
  return s;
}

// Of 16 columns, the last of them perhaps fewer.
INLINE size_t chunks_of(size_t dim) { return (dim + 15) / 16; }
INLINE int lanes_of(size_t dim, size_t chunk) { return dim - 16 * chunk < 16 ? (int)(dim - 16 * chunk) : 16; }

// Scores of a query with four keys: lanes are summed pair by pair, and all four at once.
INLINE __m128 four_scores(const float *query, const float *keys, size_t stride, size_t dim) {
  Sixteen sums[4];
  for (int k = 0; k < 4; k++)
    for (int i = 0; i < VECTORS; i++) sums[k].v[i] = every(0);
  for (size_t c = 0; c < chunks_of(dim); c++) {
    const int lanes = lanes_of(dim, c);
    const Sixteen q = load_sixteen(query + 16 * c, lanes);
    for (int k = 0; k < 4; k++) {
      const Sixteen key = load_sixteen(keys + (size_t)k * stride + 16 * c, lanes);
      for (int i = 0; i < VECTORS; i++) sums[k].v[i] = times_plus(q.v[i], key.v[i], sums[k].v[i]);
    }
  }
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(folded(sums[0]), folded(sums[1])), _mm256_hadd_ps(folded(sums[2]), folded(sums[3])));
  return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}

// Scores with the keys of a block; those that are not seen are as small as can be. A key beyond the last is read again in its place.
INLINE void block_scores(const float *query, const float *keys, size_t count, size_t dim, float scale, float scores[BLOCK]) {
  size_t k = 0;
  for (; k + 4 <= count; k += 4) _mm_storeu_ps(scores + k, _mm_mul_ps(four_scores(query, keys + k * dim, dim, dim), _mm_set1_ps(scale)));
  for (; k < count; k++) {
    const __m128 same = four_scores(query, keys + k * dim, 0, dim);
    scores[k] = _mm_cvtss_f32(same) * scale;
  }
  for (; k < BLOCK; k++) scores[k] = -INFINITY;
}

// Chunks of 16 columns that are summed in registers.
enum { TOGETHER = 4 };

// sums = sums * shrunk + weights * values, of a few chunks.
INLINE void add_values(float *sums, const float *weights, const float *values, size_t count, size_t dim, size_t from, int chunks, float shrunk) {
  Sixteen sum[TOGETHER];
  for (int c = 0; c < chunks; c++) {
    sum[c] = load_sixteen(sums + 16 * (from + c), lanes_of(dim, from + c));
    for (int i = 0; i < VECTORS; i++) sum[c].v[i] = times(sum[c].v[i], every(shrunk));
  }
  for (size_t k = 0; k < count; k++)
    for (int c = 0; c < chunks; c++) {
      const Sixteen value = load_sixteen(values + k * dim + 16 * (from + c), lanes_of(dim, from + c));
      for (int i = 0; i < VECTORS; i++) sum[c].v[i] = times_plus(every(weights[k]), value.v[i], sum[c].v[i]);
    }
  for (int c = 0; c < chunks; c++)
    for (int i = 0; i < VECTORS; i++) store(sums + 16 * (from + c) + i * LANES, sum[c].v[i], lanes_of(dim, from + c) - i * LANES);
}

INLINE float weight_of(float score, float most) {
  float one[LANES];
  store(one, exponential(every(score - most)), LANES);
  return one[0];
}

// The state of a query over the keys so far: greatest score, sum of weights, and the weighted sum of values, in memory.
INLINE void add_block(const float *query, const float *keys, const float *values, size_t count, size_t dim, float scale, float *state) {
  float scores[BLOCK];
  block_scores(query, keys, count, dim, scale, scores);
  float most = state[0];
  for (size_t k = 0; k < count; k++) most = scores[k] > most || scores[k] != scores[k] ? scores[k] : most;
  Sixteen total;
  for (int i = 0; i < VECTORS; i++) total.v[i] = every(0);
  for (int k = 0; k < BLOCK; k += 16)
    for (int i = 0; i < VECTORS; i++) {
      float *at = scores + k + i * LANES;
      const Floats weight = exponential(sum_of(load_floats(at), every(-most)));
      store(at, weight, LANES);
      total.v[i] = sum_of(total.v[i], weight);
    }
  const float shrunk = weight_of(state[0], most);
  state[0] = most;
  state[1] = state[1] * shrunk + sum_of_lanes(total);
  for (size_t from = 0; from < chunks_of(dim); from += TOGETHER) {
    const size_t left = chunks_of(dim) - from;
    add_values(state + 2, scores, values, count, dim, from, left < TOGETHER ? (int)left : TOGETHER, shrunk);
  }
}

static void join(HeadSizes sizes, float *state, const float *later) {
  if (later[1] == 0) return; // it has seen none of those keys
  const float most = later[0] > state[0] || later[0] != later[0] ? later[0] : state[0];
  const float a = weight_of(state[0], most), b = weight_of(later[0], most);
  state[0] = most;
  for (size_t i = 1; i < state_floats(sizes); i++) state[i] = state[i] * a + later[i] * b;
}

INLINE void attend_keys(HeadSizes sizes, const Query *queries, size_t count, size_t from, size_t to, const float *keys, const float *values, float *states) {
  const size_t dim = sizes.dim, each = state_floats(sizes);
  memset(states, 0, count * each * sizeof(float));
  for (size_t i = 0; i < count; i++) states[i * each] = -INFINITY;
  for (; from < to; from += BLOCK)
    for (size_t i = 0; i < count; i++) {
      if (queries[i].seen <= from) continue;
      const size_t left = queries[i].seen - from;
      add_block(queries[i].query, keys + from * dim, values + from * dim, left < BLOCK ? left : BLOCK, dim, sizes.scale, states + i * each);
    }
}

// Common widths have loops of their own.
static void attend_piece(HeadSizes sizes, const Query *queries, size_t count, size_t from, size_t to, const float *keys, const float *values, float *states) {
  if (sizes.dim == 64) attend_keys((HeadSizes){64, sizes.scale}, queries, count, from, to, keys, values, states);
  else if (sizes.dim == 128) attend_keys((HeadSizes){128, sizes.scale}, queries, count, from, to, keys, values, states);
  else if (sizes.dim == 32) attend_keys((HeadSizes){32, sizes.scale}, queries, count, from, to, keys, values, states);
  else attend_keys(sizes, queries, count, from, to, keys, values, states);
}

static void attend(HeadSizes sizes, const Query *queries, size_t count, size_t first, size_t last, const float *keys, const float *values, float *states, float *work) {
  const size_t each = state_floats(sizes);
  size_t longest = 0;
  for (size_t i = 0; i < count; i++) longest = queries[i].seen > longest ? queries[i].seen : longest;
  for (size_t piece = first; piece < last; piece++) {
    const size_t from = piece * PIECE, to = longest < from + PIECE ? longest : from + PIECE;
    attend_piece(sizes, queries, count, from, to, keys, values, piece == first ? states : work);
    for (size_t i = 0; piece > first && i < count; i++) join(sizes, states + i * each, work + i * each);
  }
}

#ifdef WIDE
const Attention wide_attention = {attend, join};
#else
const Attention narrow_attention = {attend, join};
#endif
