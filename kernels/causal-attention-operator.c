// CausalAttention: q [time, lanes, dim], k [keys, lanes, dim], v [keys, lanes, value dim], mask [masks, time, keys] or none -> y [time, lanes,
// value dim]. The queries are those of the last keys, and see the keys up to their own; the mask is added to scores.
// CausalAttentionGradient: q, k, v, the gradient of y, mask or none -> the gradients of q, k and v.
// Attribute: scale, a factor on q k.
#include "causal-attention.h"
#include "operator.h"
#include <stdlib.h>

enum { Q, K, V, MORE, MOST_INPUTS = 5, MOST_OUTPUTS = 3 };

typedef struct {
  CausalStep step;
  CausalTask *task;
  size_t memory; // bytes that a task takes
  int failed;
} Run;

static void run_task(void *data, size_t task) {
  Run *r = data;
  float *memory = scratch(r->memory);
  if (memory) r->task(&r->step, task, memory);
  else r->failed = 1;
}

static int fits(const CausalStep *s, const Tensor *in, const Tensor *mask) {
  for (int i = 0; i < MORE; i++)
    if (in[i].dimensions != 3 || (size_t)in[i].sizes[1] != s->lanes || (size_t)in[i].sizes[2] != (i == V ? s->value_dim : s->dim)) return 0;
  if ((size_t)in[V].sizes[0] != s->keys || s->time > s->keys || s->dim % DIM_MULTIPLE != 0 || s->value_dim % DIM_MULTIPLE != 0) return 0;
  return mask->missing || (mask->dimensions == 3 && s->masks > 0 && s->lanes % s->masks == 0 && (size_t)mask->sizes[1] == s->time && (size_t)mask->sizes[2] == s->keys);
}

static Status *run(const Plain *kernel, void *context, int backward) {
  const Api api = kernel->api;
  Tensor in[MOST_INPUTS];
  const int inputs = MORE + backward + 1;
  Status *status = read_inputs(api, context, 0, (size_t)inputs, in);
  if (status) return status;
  const Tensor *mask = &in[inputs - 1];
  Run r = {.step = {.time = (size_t)in[Q].sizes[0], .keys = (size_t)in[K].sizes[0], .lanes = (size_t)in[Q].sizes[1], .dim = (size_t)in[Q].sizes[2], .value_dim = (size_t)in[V].sizes[2], .masks = mask->missing ? 1 : (size_t)mask->sizes[0], .scale = kernel->attribute, .q = in[Q].data, .k = in[K].data, .v = in[V].data, .mask = mask->data}};
  CausalStep *s = &r.step;
  const int64_t y[3] = {in[Q].sizes[0], in[Q].sizes[1], in[V].sizes[2]};
  if (!fits(s, in, mask) || (backward && elements(&in[MORE]) != (size_t)(y[0] * y[1] * y[2]))) return fail(api, INVALID, "CausalAttention: expected q, k and v ordered by time, and a mask for whole numbers of lanes");
  if (!backward) status = make_output(api, context, 0, y, 3, (void **)&s->y);
  float **const gradients[MOST_OUTPUTS] = {&s->q_gradient, &s->k_gradient, &s->v_gradient};
  for (size_t i = 0; i < MOST_OUTPUTS && backward && !status; i++) status = make_output(api, context, i, in[i].sizes, 3, (void **)gradients[i]);
  if (status) return status;
  if (backward) s->y_gradient = in[MORE].data;
  r.task = backward ? (widest() ? wide_causal_backward : narrow_causal_backward) : widest() ? wide_causal_forward : narrow_causal_forward;
  r.memory = causal_scratch(s) * sizeof(float);
  status = parallel(api, context, run_task, parts_of(TASK_LANES, s->lanes), &r);
  return status || !r.failed ? status : fail(api, FAIL, "CausalAttention: no memory");
}

static Status *forward(void *kernel, void *context) { return run(kernel, context, 0); }
static Status *backward(void *kernel, void *context) { return run(kernel, context, 1); }

static const int forward_inputs[] = {FLOAT, FLOAT, FLOAT, -FLOAT}, backward_inputs[] = {FLOAT, FLOAT, FLOAT, FLOAT, -FLOAT}, outputs[] = {FLOAT, FLOAT, FLOAT};

void *longjing_causal_attention(void) {
  static Operator o = {.op_name = "CausalAttention", .input_types = forward_inputs, .output_types = outputs, .inputs = 4, .outputs = 1, .attribute = "scale"};
  o.op = operator_of(create_plain, forward, free);
  return &o;
}

void *longjing_causal_attention_gradient(void) {
  static Operator o = {.op_name = "CausalAttentionGradient", .input_types = backward_inputs, .output_types = outputs, .inputs = 5, .outputs = 3, .attribute = "scale"};
  o.op = operator_of(create_plain, backward, free);
  return &o;
}
