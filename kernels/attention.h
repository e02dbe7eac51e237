// Attention of new tokens to a cache of keys and values.
#pragma once
#include <stddef.h>

// Keys are taken in pieces from the first on, and what they give is put together in their order: a query's result is the same to the
// bit whatever queries are beside it, and whoever takes which piece.
enum { PIECE = 512 };

typedef struct {
  size_t dim;  // of a head: a multiple of 8
  float scale; // of scores
} HeadSizes;

// What a query has of some keys: the greatest score, the sum of weights, and the sum of weighted values [dim].
static inline size_t state_floats(HeadSizes sizes) { return sizes.dim + 2; }

typedef struct {
  const float *query;
  size_t seen; // keys that it sees: the first ones
} Query;

typedef struct {
  // Writes the states of queries, [count, state], over pieces first, ..., last - 1 of the keys; `work` has room for as many.
  void (*attend)(HeadSizes sizes, const Query *queries, size_t count, size_t first, size_t last, const float *keys, const float *values, float *states, float *work);
  // Puts the state of later keys into that of earlier ones.
  void (*join)(HeadSizes sizes, float *state, const float *later);
} Attention;

extern const Attention wide_attention, narrow_attention;
