// Vectors of 512 bits, with VNNI (built with WIDE), or of 256 bits. Both give the same results to the bit.
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#ifdef WIDE
enum { LANES = 16, DOUBLES = 8 };
typedef __m512i Ints;
typedef __m512 Floats;
typedef __m512d Doubles;
typedef __m256i Indices;
#define OP(name) _mm512_##name
#define HALF_OP(name) _mm256_##name
#define BITS(name) _mm512_##name##_si512
#define HALF_BITS(name) _mm256_##name##_si256
#else
enum { LANES = 8, DOUBLES = 4 };
typedef __m256i Ints;
typedef __m256 Floats;
typedef __m256d Doubles;
typedef __m128i Indices;
#define OP(name) _mm256_##name
#define HALF_OP(name) _mm_##name
#define BITS(name) _mm256_##name##_si256
#define HALF_BITS(name) _mm_##name##_si128
#endif

// What differs by the width alone.
INLINE Ints load(const void *p) { return BITS(loadu)(p); }
INLINE Ints all(int32_t v) { return OP(set1_epi32)(v); }
INLINE Floats every(float v) { return OP(set1_ps)(v); }
INLINE Ints low_bits(Ints v) { return BITS(and)(v, OP(set1_epi8)(15)); }
INLINE Ints high_bits(Ints v) { return low_bits(OP(srli_epi16)(v, 4)); }
INLINE Ints plus(Ints a, Ints b) { return OP(add_epi32)(a, b); }
INLINE Floats to_float(Ints v) { return OP(cvtepi32_ps)(v); }
INLINE Floats sum_of(Floats a, Floats b) { return OP(add_ps)(a, b); }
INLINE Floats difference(Floats a, Floats b) { return OP(sub_ps)(a, b); }
INLINE Floats root(Floats v) { return OP(sqrt_ps)(v); }
INLINE Floats times(Floats a, Floats b) { return OP(mul_ps)(a, b); }
INLINE Floats ratio(Floats a, Floats b) { return OP(div_ps)(a, b); }
INLINE Floats greater(Floats a, Floats b) { return OP(max_ps)(a, b); }
INLINE Floats lesser(Floats a, Floats b) { return OP(min_ps)(a, b); }
INLINE Floats times_plus(Floats a, Floats b, Floats c) { return OP(fmadd_ps)(a, b, c); }
INLINE Floats load_halves(const void *p) { return OP(cvtph_ps)(HALF_BITS(loadu)(p)); }
INLINE Floats load_floats(const void *p) { return OP(loadu_ps)(p); }
INLINE Doubles all_of(double v) { return OP(set1_pd)(v); }
INLINE Doubles from_doubles(const double *p) { return OP(loadu_pd)(p); }
INLINE Doubles from_floats(const float *p) { return OP(cvtps_pd)(HALF_OP(loadu_ps)(p)); }
INLINE void to_doubles(double *p, Doubles v) { OP(storeu_pd)(p, v); }
INLINE Doubles plus_d(Doubles a, Doubles b) { return OP(add_pd)(a, b); }
INLINE Doubles minus_d(Doubles a, Doubles b) { return OP(sub_pd)(a, b); }
INLINE Doubles times_d(Doubles a, Doubles b) { return OP(mul_pd)(a, b); }
INLINE Doubles over_d(Doubles a, Doubles b) { return OP(div_pd)(a, b); }
INLINE Doubles greater_d(Doubles a, Doubles b) { return OP(max_pd)(a, b); }
INLINE Indices truncated(Doubles v) { return OP(cvttpd_epi32)(v); }
INLINE Doubles of_indices(Indices v) { return OP(cvtepi32_pd)(v); }
INLINE Indices masked(Indices v, int mask) { return HALF_BITS(and)(v, HALF_OP(set1_epi32)(mask)); }
INLINE Indices shifted(Indices v, int bits, int more) { return HALF_OP(add_epi32)(HALF_OP(srai_epi32)(v, bits), HALF_OP(set1_epi32)(more)); }

// What each has in its own way.
#ifdef WIDE
INLINE void store(float *y, Floats v, int lanes) { _mm512_mask_storeu_ps(y, lanes >= LANES ? 0xffff : (__mmask16)((1u << lanes) - 1), v); }
// sum + four products of bytes in each lane: u of 4 or 8 bits without a sign, s with one.
INLINE Ints dot(Ints sum, Ints u, Ints s, int bits) { (void)bits; return _mm512_dpbusd_epi32(sum, u, s); }
INLINE Floats whole(Floats v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE Floats scaled_by_power(Floats v, Floats n) { return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23))); }
INLINE Floats where_above(Floats v, Floats limit, Floats kept) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, limit, _CMP_NLE_UQ), kept); }
INLINE Floats load_first(const float *p, int count) { return _mm512_maskz_loadu_ps(count >= LANES ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1), p); }
INLINE Doubles at_least(Doubles least, Doubles v) { return _mm512_mask_mov_pd(least, _mm512_cmp_pd_mask(v, least, _CMP_GE_OQ), v); }
INLINE Doubles unless_below(Doubles v, Doubles least, Doubles kept) { return _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(v, least, _CMP_NLT_UQ), kept); }
INLINE Doubles looked_up(const double *table, Indices i) { return _mm512_i32gather_pd(i, table, 8); }
INLINE float greatest(Floats v) { return _mm512_reduce_max_ps(v); }
// The sixteen lanes of one vector, or of two, as eight: lane i + lane i + 8.
typedef struct { Floats v[1]; } Sixteen;
INLINE __m256 folded(Sixteen s) { return _mm256_add_ps(_mm512_castps512_ps256(s.v[0]), _mm512_extractf32x8_ps(s.v[0], 1)); }
#else
INLINE void store(float *y, Floats v, int lanes) {
  if (lanes >= LANES) _mm256_storeu_ps(y, v);
  else if (lanes > 0) memcpy(y, &v, (size_t)lanes * sizeof(float));
}
// Pairs of products are added in 16 bits. Of 4 bits they fit; of 8, u is split into its seven low bits and its highest.
INLINE Ints dot(Ints sum, Ints u, Ints s, int bits) {
  const Ints ones = _mm256_set1_epi16(1);
  if (bits == 4) return plus(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), ones));
  const Ints top = _mm256_set1_epi8((char)0x80);
  const Ints low = _mm256_maddubs_epi16(_mm256_andnot_si256(top, u), s);
  const Ints high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(u, 7), _mm256_set1_epi8(1)), s);
  return plus(sum, plus(_mm256_madd_epi16(low, ones), _mm256_slli_epi32(_mm256_madd_epi16(high, ones), 7)));
}
INLINE Floats whole(Floats v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE Floats scaled_by_power(Floats v, Floats n) { return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23))); }
INLINE Floats where_above(Floats v, Floats limit, Floats kept) { return _mm256_and_ps(_mm256_cmp_ps(v, limit, _CMP_NLE_UQ), kept); }
INLINE Floats load_first(const float *p, int count) {
  if (count >= LANES) return _mm256_loadu_ps(p);
  float some[LANES] = {0};
  if (count > 0) memcpy(some, p, (size_t)count * sizeof(float));
  return _mm256_loadu_ps(some);
}
INLINE Doubles at_least(Doubles least, Doubles v) { return _mm256_blendv_pd(least, v, _mm256_cmp_pd(v, least, _CMP_GE_OQ)); }
INLINE Doubles unless_below(Doubles v, Doubles least, Doubles kept) { return _mm256_and_pd(_mm256_cmp_pd(v, least, _CMP_NLT_UQ), kept); }
INLINE Doubles looked_up(const double *table, Indices i) { return _mm256_i32gather_pd(table, i, 8); }
INLINE float greatest(Floats v) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)), two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
typedef struct { Floats v[2]; } Sixteen;
INLINE __m256 folded(Sixteen s) { return _mm256_add_ps(s.v[0], s.v[1]); }
#endif

enum { VECTORS = 16 / LANES };

// e^v, 0 below -87 and e^88 above 88: 2^n times a polynomial (coefficients of Cephes' expf) of what is left of v.
INLINE Floats exponential(Floats v) {
  const Floats least = every(-87);
  const Floats x = lesser(every(88), greater(least, v)); // in this order what is no number stays none
  const Floats n = whole(times(x, every(1.44269504f)));
  const Floats r = times_plus(n, every(2.12194440e-4f), times_plus(n, every(-0.693359375f), x));
  Floats p = every(1.9875691500e-4f);
  p = times_plus(p, r, every(1.3981999507e-3f));
  p = times_plus(p, r, every(8.3334519073e-3f));
  p = times_plus(p, r, every(4.1665795894e-2f));
  p = times_plus(p, r, every(1.6666665459e-1f));
  p = times_plus(p, r, every(5.0000001201e-1f));
  p = times_plus(times(p, r), r, sum_of(r, every(1)));
  return where_above(v, least, scaled_by_power(p, n));
}

INLINE float sum_of_lanes(Sixteen s) {
  const __m256 eight = folded(s);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
