// The products themselves, over vectors of 512 bits with VNNI (built with TILE_AVX512) or of 256 bits.
#include "blocks.h"
#include <immintrin.h>
#include <string.h>

#ifdef TILE_AVX512
enum { LANES = 16 };
typedef __m512i Ints;
typedef __m512 Floats;
static inline Ints load(const void *p) { return _mm512_loadu_si512(p); }
static inline Ints all(int32_t v) { return _mm512_set1_epi32(v); }
static inline Floats every(float v) { return _mm512_set1_ps(v); }
static inline Ints low_bits(Ints v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
static inline Ints high_bits(Ints v) { return low_bits(_mm512_srli_epi16(v, 4)); }
static inline Ints plus(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
static inline Floats to_float(Ints v) { return _mm512_cvtepi32_ps(v); }
static inline Floats times(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
static inline Floats times_plus(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
static inline Floats load_halves(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
static inline Floats load_floats(const void *p) { return _mm512_loadu_ps(p); }
static inline void store(float *y, Floats v, int lanes) { _mm512_mask_storeu_ps(y, lanes >= LANES ? 0xffff : (__mmask16)((1u << lanes) - 1), v); }
// sum + four products of bytes in each lane: u of 4 or 8 bits without a sign, s with one.
static inline Ints dot(Ints sum, Ints u, Ints s, int bits) { (void)bits; return _mm512_dpbusd_epi32(sum, u, s); }
#define INSTRUCTIONS avx512_instructions
#define NAME "avx512_vnni"
#else
enum { LANES = 8 };
typedef __m256i Ints;
typedef __m256 Floats;
static inline Ints load(const void *p) { return _mm256_loadu_si256(p); }
static inline Ints all(int32_t v) { return _mm256_set1_epi32(v); }
static inline Floats every(float v) { return _mm256_set1_ps(v); }
static inline Ints low_bits(Ints v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
static inline Ints high_bits(Ints v) { return low_bits(_mm256_srli_epi16(v, 4)); }
static inline Ints plus(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
static inline Floats to_float(Ints v) { return _mm256_cvtepi32_ps(v); }
static inline Floats times(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
static inline Floats times_plus(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
static inline Floats load_halves(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
static inline Floats load_floats(const void *p) { return _mm256_loadu_ps(p); }
static inline void store(float *y, Floats v, int lanes) {
  if (lanes >= LANES) _mm256_storeu_ps(y, v);
  else if (lanes > 0) memcpy(y, &v, (size_t)lanes * sizeof(float));
}
// Pairs of products are added in 16 bits. Of 4 bits they fit; of 8, u is split into its seven low bits and its highest.
static inline Ints dot(Ints sum, Ints u, Ints s, int bits) {
  const Ints ones = _mm256_set1_epi16(1);
  if (bits == 4) return plus(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), ones));
  const Ints top = _mm256_set1_epi8((char)0x80);
  const Ints low = _mm256_maddubs_epi16(_mm256_andnot_si256(top, u), s);
  const Ints high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(u, 7), _mm256_set1_epi8(1)), s);
  return plus(sum, plus(_mm256_madd_epi16(low, ones), _mm256_slli_epi32(_mm256_madd_epi16(high, ones), 7)));
}
#define INSTRUCTIONS avx2_instructions
#define NAME "avx2"
#endif

#define INLINE static inline __attribute__((always_inline))
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

const Instructions INSTRUCTIONS = {NAME, round_row, multiply};
