// Causal attention of a train step, ordered by time.
#pragma once
#include <stddef.h>

// q [time, lanes, dim], k [keys, lanes, dim], v [keys, lanes, value_dim]; the queries are those of the last keys. dim and value_dim are
// multiples of DIM_MULTIPLE.
enum { DIM_MULTIPLE = 16, TASK_LANES = 4 };
typedef struct {
  size_t time, keys, lanes, dim, value_dim, masks;
  float scale;
  const float *q, *k, *v;
  const float *mask;                   // [masks, time, keys], each part added to the scores of lanes / masks; or NULL
  const float *y_gradient;             // as y; NULL in the forward pass
  float *y;                            // [time, lanes, value_dim]
  float *q_gradient, *k_gradient, *v_gradient;
} CausalStep;

// Floats of working memory that a task takes.
size_t causal_scratch(const CausalStep *s);
// A task is TASK_LANES lanes, in which each number is summed in the same order whatever lies beside it.
typedef void CausalTask(const CausalStep *s, size_t task, float *memory);
extern CausalTask wide_causal_forward, narrow_causal_forward, wide_causal_backward, narrow_causal_backward;
