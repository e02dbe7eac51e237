#include "rows.h"
#include "vectors.h"

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

#define DRAW(NAME, TYPE, ARGMAX_OF, WEIGHTS_OF) \
  static size_t NAME(const ExpTables *t, const TYPE *scores, size_t count, double divisor, double uniform, double *weights, double *found) { \
    found[0] = (double)scores[ARGMAX_OF(scores, count)]; \
    found[1] = WEIGHTS_OF(t, scores, count, found[0], divisor, weights); \
    const double target = uniform * found[1]; \
    double sum = 0; \
    size_t last = 0; \
    for (size_t i = 0; i < count; i++) { \
      if (weights[i] == 0) continue; \
      sum += weights[i]; \
      last = i; \
      if (sum > target) break; \
    } \
    return last; \
  }
DRAW(draw_float, float, argmax_float, weights_float)
DRAW(draw_double, double, argmax_double, weights_double)

#ifdef WIDE
const Rows wide_rows = {argmax_float, argmax_double, weights_float, weights_double, draw_float, draw_double};
#else
const Rows narrow_rows = {argmax_float, argmax_double, weights_float, weights_double, draw_float, draw_double};
#endif
