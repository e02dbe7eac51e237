// What sampling asks of a row of logits (src/engine/row-math.ts), with the same bits as there.
#pragma once
#include <stddef.h>

// What that file's expOfNegative is made of, as it has computed it.
typedef struct {
  double per_step, step_high, step_low;
  const double *fractions, *powers; // [64]; from 2^-1075 to 1
} ExpTables;

typedef struct {
  size_t (*argmax_float)(const float *scores, size_t count);
  size_t (*argmax_double)(const double *scores, size_t count);
  // exp((scores - top) / divisor) into weights, where they are wanted; their sum in order.
  double (*weights_float)(const ExpTables *tables, const float *scores, size_t count, double top, double divisor, double *weights);
  double (*weights_double)(const ExpTables *tables, const double *scores, size_t count, double top, double divisor, double *weights);
  // The index at which the weights' running sum passes `uniform` of their sum; `found` is the greatest score and that sum.
  size_t (*draw_float)(const ExpTables *tables, const float *scores, size_t count, double divisor, double uniform, double *weights, double *found);
  size_t (*draw_double)(const ExpTables *tables, const double *scores, size_t count, double divisor, double uniform, double *weights, double *found);
} Rows;

extern const Rows wide_rows, narrow_rows;
