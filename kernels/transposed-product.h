// Products of a transposed matrix and another: the gradients of weights.
#pragma once
#include <stddef.h>

enum { TASK_ROWS = 24 }; // of the result: whole tiles of either set of instructions

// Rows first, ..., last - 1, at most TASK_ROWS, of y [m, n] = a [depth, m] transposed times b [depth, n]. Each number is summed in the order
// of depth, so that both have the same bits.
typedef void TransposedProduct(const float *a, const float *b, float *y, size_t m, size_t n, size_t depth, size_t first, size_t last);
extern TransposedProduct wide_transposed_product, narrow_transposed_product;
