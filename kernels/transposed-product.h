// Products of a transposed matrix and another: the gradients of weights.
#pragma once
#include <stddef.h>

enum { TASK_ROWS = 128 }; // of the result: for each so many the other operand is read once

// A matrix's numbers, and how far one row lies from the next.
typedef struct {
  const float *at;
  size_t stride;
} Matrix;

// Rows first, ..., last - 1, at most TASK_ROWS, of y [m, n] = a [depth, m] transposed times b [depth, n] times alpha. Each number is summed
// in the order of depth, so that both have the same bits.
typedef void TransposedProduct(Matrix a, Matrix b, float *y, size_t n, size_t depth, float alpha, size_t first, size_t last);
extern TransposedProduct wide_transposed_product, narrow_transposed_product;
