#include "rows.h"
#include "vectors.h"

#ifdef WIDE
enum { DOUBLES = 8 };
typedef __m512d Doubles;
typedef __m256i Indices;
INLINE Doubles all_of(double v) { return _mm512_set1_pd(v); }
INLINE Doubles from_doubles(const double *p) { return _mm512_loadu_pd(p); }
INLINE Doubles from_floats(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
INLINE void to_doubles(double *p, Doubles v) { _mm512_storeu_pd(p, v); }
INLINE Doubles plus_d(Doubles a, Doubles b) { return _mm512_add_pd(a, b); }
INLINE Doubles minus_d(Doubles a, Doubles b) { return _mm512_sub_pd(a, b); }
INLINE Doubles times_d(Doubles a, Doubles b) { return _mm512_mul_pd(a, b); }
INLINE Doubles over_d(Doubles a, Doubles b) { return _mm512_div_pd(a, b); }
INLINE Doubles at_least(Doubles least, Doubles v) { return _mm512_mask_mov_pd(least, _mm512_cmp_pd_mask(v, least, _CMP_GE_OQ), v); }
INLINE Doubles unless_below(Doubles v, Doubles least, Doubles kept) { return _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(v, least, _CMP_NLT_UQ), kept); }
INLINE Indices truncated(Doubles v) { return _mm512_cvttpd_epi32(v); }
INLINE Doubles of_indices(Indices v) { return _mm512_cvtepi32_pd(v); }
INLINE Doubles looked_up(const double *table, Indices i) { return _mm512_i32gather_pd(i, table, 8); }
INLINE Indices masked(Indices v, int mask) { return _mm256_and_si256(v, _mm256_set1_epi32(mask)); }
INLINE Indices shifted(Indices v, int bits, int more) { return _mm256_add_epi32(_mm256_srai_epi32(v, bits), _mm256_set1_epi32(more)); }
#else
enum { DOUBLES = 4 };
typedef __m256d Doubles;
typedef __m128i Indices;
INLINE Doubles all_of(double v) { return _mm256_set1_pd(v); }
INLINE Doubles from_doubles(const double *p) { return _mm256_loadu_pd(p); }
INLINE Doubles from_floats(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
INLINE void to_doubles(double *p, Doubles v) { _mm256_storeu_pd(p, v); }
INLINE Doubles plus_d(Doubles a, Doubles b) { return _mm256_add_pd(a, b); }
INLINE Doubles minus_d(Doubles a, Doubles b) { return _mm256_sub_pd(a, b); }
INLINE Doubles times_d(Doubles a, Doubles b) { return _mm256_mul_pd(a, b); }
INLINE Doubles over_d(Doubles a, Doubles b) { return _mm256_div_pd(a, b); }
INLINE Doubles at_least(Doubles least, Doubles v) { return _mm256_blendv_pd(least, v, _mm256_cmp_pd(v, least, _CMP_GE_OQ)); }
INLINE Doubles unless_below(Doubles v, Doubles least, Doubles kept) { return _mm256_and_pd(_mm256_cmp_pd(v, least, _CMP_NLT_UQ), kept); }
INLINE Indices truncated(Doubles v) { return _mm256_cvttpd_epi32(v); }
INLINE Doubles of_indices(Indices v) { return _mm256_cvtepi32_pd(v); }
INLINE Doubles looked_up(const double *table, Indices i) { return _mm256_i32gather_pd(table, i, 8); }
INLINE Indices masked(Indices v, int mask) { return _mm_and_si128(v, _mm_set1_epi32(mask)); }
INLINE Indices shifted(Indices v, int bits, int more) { return _mm_add_epi32(_mm_srai_epi32(v, bits), _mm_set1_epi32(more)); }
#endif

// The steps of src/engine/exp.ts, one by one.
INLINE Doubles exp_of_negative(const ExpTables *t, Doubles x) {
  const Doubles least = all_of(-745);
  const Doubles within = at_least(least, x); // no number, too, has a place in the tables
  const Indices k = truncated(minus_d(times_d(within, all_of(t->per_step)), all_of(0.5)));
  const Doubles rest = minus_d(minus_d(x, times_d(of_indices(k), all_of(t->step_high))), times_d(of_indices(k), all_of(t->step_low)));
  Doubles series = all_of(1.0 / 120);
  const double terms[] = {1.0 / 24, 1.0 / 6, 1.0 / 2, 1, 1};
  for (int i = 0; i < 5; i++) series = plus_d(all_of(terms[i]), times_d(rest, series));
  return unless_below(x, least, times_d(times_d(series, looked_up(t->fractions, masked(k, 63))), looked_up(t->powers, shifted(k, 6, 1075))));
}

INLINE Doubles exp_of_some(const ExpTables *t, Doubles scores, double top, double divisor) { return exp_of_negative(t, over_d(minus_d(scores, all_of(top)), all_of(divisor))); }

// Additions, which wait for each other, go on while the next exponentials are made. What is left at the end is done in memory that is
// long enough.
#define WEIGHTS(NAME, TYPE, LOAD) \
  static double NAME(const ExpTables *t, const TYPE *scores, size_t count, double top, double divisor, double *weights) { \
    double sum = 0, some[DOUBLES]; \
    size_t i = 0; \
    for (; i + DOUBLES <= count; i += DOUBLES) { \
      double *to = weights ? weights + i : some; \
      to_doubles(to, exp_of_some(t, LOAD(scores + i), top, divisor)); \
      for (int j = 0; j < DOUBLES; j++) sum += to[j]; \
    } \
    TYPE last[DOUBLES] = {0}; \
    memcpy(last, scores + i, (count - i) * sizeof(TYPE)); \
    to_doubles(some, exp_of_some(t, LOAD(last), top, divisor)); \
    for (size_t j = 0; j < count - i; j++) sum += some[j]; \
    if (weights) memcpy(weights + i, some, (count - i) * sizeof(double)); \
    return sum; \
  }
WEIGHTS(weights_float, float, from_floats)
WEIGHTS(weights_double, double, from_doubles)

INLINE Doubles greater_d(Doubles a, Doubles b) {
#ifdef WIDE
  return _mm512_max_pd(a, b);
#else
  return _mm256_max_pd(a, b);
#endif
}

// The first of the greatest. A first score that is no number is never passed, and later ones never chosen: of two operands the
// second is taken where the first is no number.
#define ARGMAX(NAME, TYPE, VECTOR, COUNT, ALL, LOAD, GREATER, STORE) \
  static size_t NAME(const TYPE *scores, size_t count) { \
    if (count == 0 || scores[0] != scores[0]) return 0; \
    VECTOR most = ALL(scores[0]); \
    size_t i = 0; \
    for (; i + COUNT <= count; i += COUNT) most = GREATER(LOAD(scores + i), most); \
    TYPE some[COUNT], top = scores[0]; \
    STORE; \
    for (int l = 0; l < COUNT; l++) top = some[l] > top ? some[l] : top; \
    for (; i < count; i++) top = scores[i] > top ? scores[i] : top; \
    for (i = 0; scores[i] != top;) i++; \
    return i; \
  }
ARGMAX(argmax_float, float, Floats, LANES, every, load_floats, greater, store(some, most, LANES))
ARGMAX(argmax_double, double, Doubles, DOUBLES, all_of, from_doubles, greater_d, to_doubles(some, most))

#ifdef WIDE
const Rows wide_rows = {argmax_float, argmax_double, weights_float, weights_double};
#else
const Rows narrow_rows = {argmax_float, argmax_double, weights_float, weights_double};
#endif
