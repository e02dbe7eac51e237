// Products with matrices in tiles.
#include "blocks.h"
#include "vectors.h"

enum { MOST_ROWS = LANES == 16 ? 8 : 4 };

INLINE Floats load_numbers(const uint8_t *at, int index, int half) { return half ? load_halves(at + 2 * index) : load_floats(at + 4 * index); }

// `rows`, `bits`, `parts` and `minima` are constants wherever this is called, so that what is summed stays in registers.
INLINE void multiply_rows(Layout l, const uint8_t *matrix, size_t tiles, const Rounded *x, int rows, float *y, size_t stride, int lanes, int first) {
  const size_t numbers = TILE_ROWS * number_bytes(l), bytes = tile_bytes(l);
  const int32_t zero = l.minima ? 0 : -(1 << (l.bits - 1));
  Floats sums[MOST_ROWS];
  for (int m = 0; m < rows; m++) sums[m] = every(0);
  for (size_t t = 0; t < tiles; t++, matrix += bytes) {
    const uint8_t *minima = matrix + l.parts * numbers;
    const uint8_t *elements = minima + l.minima * l.parts * numbers + 4 * first;
    Floats scale[2], minimum[2];
    for (int p = 0; p < l.parts; p++) {
      scale[p] = load_numbers(matrix, p * TILE_ROWS + first, l.half);
      if (l.minima) minimum[p] = load_numbers(minima, p * TILE_ROWS + first, l.half);
    }
    Ints w[8];
    for (int i = 0; i < 8; i++) {
      if (l.bits == 8) w[i] = load(elements + 64 * i);
      else w[i] = i < 4 ? low_bits(load(elements + 64 * i)) : high_bits(load(elements + 64 * (i - 4)));
    }
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++) {
      const Rounded *r = &x[m * tiles + t];
      Ints part[2];
      for (int p = 0; p < 2; p++) {
        part[p] = all(zero * r->sums[p]);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) part[p] = dot(part[p], w[4 * p + i], all(r->fours[4 * p + i]), l.bits);
      }
      if (l.parts == 1) part[0] = plus(part[0], part[1]);
      for (int p = 0; p < l.parts; p++) {
        sums[m] = times_plus(times(scale[p], every(r->scale)), to_float(part[p]), sums[m]);
        const int sum = l.parts == 1 ? r->sums[0] + r->sums[1] : r->sums[p];
        if (l.minima) sums[m] = times_plus(minimum[p], every(r->scale * (float)sum), sums[m]);
      }
    }
  }
  for (int m = 0; m < rows; m++) store(y + m * stride + first, sums[m], lanes - first);
}

INLINE void multiply_as(Layout l, const uint8_t *matrix, size_t tiles, const Rounded *x, size_t rows, float *y, size_t stride, int lanes) {
  for (int first = 0; first < TILE_ROWS; first += LANES) {
    size_t m = 0;
#define ROWS(count) for (; m + count <= rows; m += count) multiply_rows(l, matrix, tiles, x + m * tiles, count, y + m * stride, stride, lanes, first);
    ROWS(MOST_ROWS)
    ROWS(2)
    ROWS(1)
#undef ROWS
  }
}

// The compiler makes each of these a loop of its own.
static void multiply(Layout l, const uint8_t *matrix, size_t tiles, const Rounded *x, size_t rows, float *y, size_t stride, int lanes) {
#define CASE(BITS, PARTS, MINIMA) \
  if (l.bits == BITS && l.parts == PARTS && l.minima == MINIMA) multiply_as((Layout){BITS, PARTS, MINIMA, l.half}, matrix, tiles, x, rows, y, stride, lanes);
  CASE(4, 1, 0) CASE(4, 1, 1) CASE(4, 2, 0) CASE(4, 2, 1) CASE(8, 1, 0) CASE(8, 1, 1) CASE(8, 2, 0) CASE(8, 2, 1)
#undef CASE
}

// The largest magnitude is found among the bits of floats, which are in the same order; what is not finite makes all results NaN.
static void round_tile(const float *x, Rounded *to) {
  int32_t bits[TILE_COLUMNS], most = 0;
  memcpy(bits, x, sizeof bits);
  for (int i = 0; i < TILE_COLUMNS; i++) {
    const int32_t magnitude = bits[i] & 0x7fffffff;
    most = magnitude > most ? magnitude : most;
  }
  float largest;
  memcpy(&largest, &most, sizeof largest);
  const int finite = most < 0x7f800000;
  // Below this 127 / largest is no number any more, and x is nothing beside its neighbours.
  const float inverse = finite && largest > 1e-36f ? 127 / largest : 0;
  *to = (Rounded){.scale = !finite ? __builtin_nanf("") : inverse > 0 ? largest / 127 : 0};
  if (inverse == 0) return;
  for (int half = 0; half < 2; half++) {
    int32_t sum = 0;
    for (int i = 16 * half; i < 16 * (half + 1); i++) {
      const int32_t q = (int32_t)__builtin_rintf(x[i] * inverse);
      to->q[i] = (int8_t)q;
      sum += q;
    }
    to->sums[half] = sum;
  }
}

static void round_row(const float *x, size_t tiles, Rounded *to) {
  for (size_t t = 0; t < tiles; t++) round_tile(x + t * TILE_COLUMNS, to + t);
}

// y = y / (1 + e^-y) * up, of one group of rows of a matrix.
static void gate(float *y, size_t stride, const float *up, size_t rows, int lanes) {
  for (size_t m = 0; m < rows; m++)
    for (int first = 0; first < TILE_ROWS; first += LANES) {
      float *at = y + m * stride + first;
      const Floats v = load_first(at, lanes - first);
      store(at, times(ratio(v, sum_of(every(1), exponential(times(v, every(-1))))), load_floats(up + m * TILE_ROWS + first)), lanes - first);
    }
}

#ifdef WIDE
const Products wide_products = {round_row, multiply, gate};
#else
const Products narrow_products = {round_row, multiply, gate};
#endif
