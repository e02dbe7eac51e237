// SwiGLUGradient: gate, up and the gradient of silu(gate) * up, of one shape -> the gradients of gate and up.
#include "operator.h"
#include "vectors.h"
#include <stdlib.h>

enum { GATE, UP, GRADIENT, INPUTS };
enum { GATE_GRADIENT, UP_GRADIENT, OUTPUTS };

typedef struct {
  Tensor in[INPUTS];
  float *out[OUTPUTS];
  size_t count;
} Step;

static void differentiate_some(void *data, size_t chunk) {
  const Step *s = data;
  const float *gates = s->in[GATE].data, *ups = s->in[UP].data, *gradients = s->in[GRADIENT].data;
  const size_t end = at_most(s->count, (chunk + 1) * CHUNK);
  for (size_t i = chunk * CHUNK; i < end; i += LANES) {
    const int lanes = (int)at_most(LANES, end - i);
    const Floats gate = load_first(gates + i, lanes), up = load_first(ups + i, lanes), gradient = load_first(gradients + i, lanes);
    const Floats sigmoid = ratio(every(1), sum_of(every(1), exponential(difference(every(0), gate))));
    const Floats slope = times(sigmoid, times_plus(gate, difference(every(1), sigmoid), every(1)));
    store(s->out[GATE_GRADIENT] + i, times(times(gradient, up), slope), lanes);
    store(s->out[UP_GRADIENT] + i, times(gradient, times(gate, sigmoid)), lanes);
  }
}

static Status *compute(void *kernel, void *context) {
  const Api api = *(Api *)kernel;
  Step s = {0};
  Status *status = read_inputs(api, context, 0, INPUTS, s.in);
  if (status) return status;
  s.count = elements(&s.in[GATE]);
  if (elements(&s.in[UP]) != s.count || elements(&s.in[GRADIENT]) != s.count) return fail(api, INVALID, "SwiGLUGradient: expected inputs of one shape");
  for (size_t i = 0; i < OUTPUTS && !status; i++) status = make_output(api, context, i, s.in[GATE].sizes, s.in[GATE].dimensions, (void **)&s.out[i]);
  return status ? status : parallel_chunks(api, context, differentiate_some, s.count, &s);
}

void *longjing_swiglu_gradient(void) {
  static const int inputs[INPUTS] = {FLOAT, FLOAT, FLOAT}, outputs[OUTPUTS] = {FLOAT, FLOAT};
  static Operator o = {.op_name = "SwiGLUGradient", .input_types = inputs, .output_types = outputs, .inputs = INPUTS, .outputs = OUTPUTS};
  o.op = operator_of(create_plain, compute, free);
  return &o;
}
