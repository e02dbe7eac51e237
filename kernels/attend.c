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

INLINE int lanes_of(size_t dim, size_t chunk) { return dim - 16 * chunk < 16 ? (int)(dim - 16 * chunk) : 16; }

// Scores of a query with four keys: lanes are summed pair by pair, and all four at once.
INLINE __m128 four_scores(const float *query, const float *keys, size_t stride, size_t dim, size_t chunks) {
  Sixteen sums[4];
  for (int k = 0; k < 4; k++)
    for (int i = 0; i < VECTORS; i++) sums[k].v[i] = every(0);
  for (size_t c = 0; c < chunks; c++) {
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
INLINE void block_scores(const float *query, const float *keys, size_t count, size_t dim, size_t chunks, float scale, float scores[BLOCK]) {
  size_t k = 0;
  for (; k + 4 <= count; k += 4) _mm_storeu_ps(scores + k, _mm_mul_ps(four_scores(query, keys + k * dim, dim, dim, chunks), _mm_set1_ps(scale)));
  for (; k < count; k++) {
    const __m128 same = four_scores(query, keys + k * dim, 0, dim, chunks);
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

// The state of a query over the keys so far: greatest score, sum of weights, and the weighted sum of values, in memory.
INLINE void add_block(const float *query, const float *keys, const float *values, size_t count, size_t dim, size_t chunks, float scale, float *state) {
  float scores[BLOCK];
  block_scores(query, keys, count, dim, chunks, scale, scores);
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
  float shrunk[LANES];
  store(shrunk, exponential(every(state[0] - most)), LANES);
  state[0] = most;
  state[1] = state[1] * shrunk[0] + sum_of_lanes(total);
  float *sums = state + 2;
  for (size_t from = 0; from < chunks; from += TOGETHER) add_values(sums, scores, values, count, dim, from, chunks - from < TOGETHER ? (int)(chunks - from) : TOGETHER, shrunk[0]);
}

static void clear(HeadSizes sizes, float *state) {
  memset(state, 0, state_floats(sizes) * sizeof(float));
  state[0] = -INFINITY;
}

static float weight_of(float score, float most) {
  float one[LANES];
  store(one, exponential(every(score - most)), LANES);
  return one[0];
}

static void join(HeadSizes sizes, float *state, const float *later) {
  if (later[1] == 0) return; // it has seen none of those keys
  const float most = later[0] > state[0] || later[0] != later[0] ? later[0] : state[0];
  const float a = weight_of(state[0], most), b = weight_of(later[0], most);
  state[0] = most;
  for (size_t i = 1; i < state_floats(sizes); i++) state[i] = state[i] * a + later[i] * b;
}

INLINE void attend_piece(HeadSizes sizes, size_t chunks, const Query *queries, size_t count, size_t from, size_t to, const float *keys, const float *values, float *states) {
  const size_t dim = sizes.dim;
  for (; from < to; from += BLOCK)
    for (size_t i = 0; i < count; i++) {
      if (queries[i].seen <= from) continue;
      const size_t left = queries[i].seen - from;
      add_block(queries[i].query, keys + from * dim, values + from * dim, left < BLOCK ? left : BLOCK, dim, chunks, sizes.scale, states + i * state_floats(sizes));
    }
}

static void attend(HeadSizes sizes, const Query *queries, size_t count, size_t first, size_t last, const float *keys, const float *values, float *work) {
  size_t longest = 0;
  for (size_t i = 0; i < count; i++) {
    clear(sizes, queries[i].state);
    longest = queries[i].seen > longest ? queries[i].seen : longest;
  }
  for (size_t piece = first; piece < last; piece++) {
    const size_t from = piece * PIECE, to = longest < from + PIECE ? longest : from + PIECE;
    for (size_t i = 0; i < count; i++) clear(sizes, work + i * state_floats(sizes));
    // Common widths have loops of their own.
    if (sizes.dim == 64) attend_piece((HeadSizes){64, sizes.scale}, 4, queries, count, from, to, keys, values, work);
    else if (sizes.dim == 128) attend_piece((HeadSizes){128, sizes.scale}, 8, queries, count, from, to, keys, values, work);
    else if (sizes.dim == 32) attend_piece((HeadSizes){32, sizes.scale}, 2, queries, count, from, to, keys, values, work);
    else attend_piece(sizes, (sizes.dim + 15) / 16, queries, count, from, to, keys, values, work);
    for (size_t i = 0; i < count; i++) {
      if (piece == first) memcpy(queries[i].state, work + i * state_floats(sizes), state_floats(sizes) * sizeof(float));
      else join(sizes, queries[i].state, work + i * state_floats(sizes));
    }
  }
}

#ifdef WIDE
const Attention wide_attention = {attend, join};
#else
const Attention narrow_attention = {attend, join};
#endif
