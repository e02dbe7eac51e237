// What JavaScript calls by itself.
#include "operator.h"
#include "rows.h"

static const Rows *rows(void) { return widest() ? &wide_rows : &narrow_rows; }

const char *longjing_instructions(void) { return instructions(); }
size_t longjing_argmax_float(const float *scores, size_t count) { return rows()->argmax_float(scores, count); }
size_t longjing_argmax_double(const double *scores, size_t count) { return rows()->argmax_double(scores, count); }

// constants: those of ExpTables, then its two tables.
static ExpTables tables_of(const double *constants) { return (ExpTables){constants[0], constants[1], constants[2], constants + 3, constants + 3 + 64}; }

double longjing_weights_float(const double *constants, const float *scores, size_t count, double top, double divisor, double *weights) {
  const ExpTables t = tables_of(constants);
  return rows()->weights_float(&t, scores, count, top, divisor, weights);
}

double longjing_weights_double(const double *constants, const double *scores, size_t count, double top, double divisor, double *weights) {
  const ExpTables t = tables_of(constants);
  return rows()->weights_double(&t, scores, count, top, divisor, weights);
}

size_t longjing_draw_float(const double *constants, const float *scores, size_t count, double divisor, double uniform, double *weights, double *found) {
  const ExpTables t = tables_of(constants);
  return rows()->draw_float(&t, scores, count, divisor, uniform, weights, found);
}

size_t longjing_draw_double(const double *constants, const double *scores, size_t count, double divisor, double uniform, double *weights, double *found) {
  const ExpTables t = tables_of(constants);
  return rows()->draw_double(&t, scores, count, divisor, uniform, weights, found);
}
