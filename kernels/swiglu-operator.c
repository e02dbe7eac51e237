// SwiGLU: gate and up, of one shape -> silu(gate) * up.
// SwiGLUGradient: gate, up and the gradient of silu(gate) * up, of one shape -> the gradients of gate and up.
#include "operator.h"
#include "vectors.h"
#include <stdlib.h>

enum { GATE, UP, GRADIENT, MOST_INPUTS };
enum { GATE_GRADIENT, UP_GRADIENT, MOST_OUTPUTS };

typedef struct {
  Tensor in[MOST_INPUTS];
  float *out[MOST_OUTPUTS];
  size_t count;
} Step;

INLINE Floats sigmoid_of(Floats gate) { return ratio(every(1), sum_of(every(1), exponential(difference(every(0), gate)))); }

static void gate_some(void *data, size_t chunk) {
  const Step *s = data;
  const float *gates = s->in[GATE].data, *ups = s->in[UP].data;
  const size_t end = at_most(s->count, (chunk + 1) * CHUNK);
  for (size_t i = chunk * CHUNK; i < end; i += LANES) {
    const int lanes = (int)at_most(LANES, end - i);
    const Floats gate = load_first(gates + i, lanes);
    store(s->out[0] + i, times(times(gate, sigmoid_of(gate)), load_first(ups + i, lanes)), lanes);
  }
}

static void differentiate_some(void *data, size_t chunk) {
  const Step *s = data;
  const float *gates = s->in[GATE].data, *ups = s->in[UP].data, *gradients = s->in[GRADIENT].data;
  const size_t end = at_most(s->count, (chunk + 1) * CHUNK);
  for (size_t i = chunk * CHUNK; i < end; i += LANES) {
    const int lanes = (int)at_most(LANES, end - i);
    const Floats gate = load_first(gates + i, lanes), up = load_first(ups + i, lanes), gradient = load_first(gradients + i, lanes);
    const Floats sigmoid = sigmoid_of(gate);
    const Floats slope = times(sigmoid, times_plus(gate, difference(every(1), sigmoid), every(1)));
    store(s->out[GATE_GRADIENT] + i, times(times(gradient, up), slope), lanes);
    store(s->out[UP_GRADIENT] + i, times(gradient, times(gate, sigmoid)), lanes);
  }
}

static Status *compute(void *kernel, void *context, void (*work)(void *, size_t), size_t inputs, size_t outputs) {
  const Api api = *(Api *)kernel;
  Step s = {0};
  Status *status = read_inputs(api, context, 0, inputs, s.in);
  if (status) return status;
  s.count = elements(&s.in[GATE]);
  for (size_t i = 1; i < inputs; i++)
    if (elements(&s.in[i]) != s.count) return fail(api, INVALID, "SwiGLU: expected inputs of one shape");
  for (size_t i = 0; i < outputs && !status; i++) status = make_output(api, context, i, s.in[GATE].sizes, s.in[GATE].dimensions, (void **)&s.out[i]);
  return status ? status : parallel_chunks(api, context, work, s.count, &s);
}
static Status *gate_all(void *kernel, void *context) { return compute(kernel, context, gate_some, 2, 1); }
static Status *differentiate_all(void *kernel, void *context) { return compute(kernel, context, differentiate_some, 3, 2); }

static const int floats[MOST_INPUTS] = {FLOAT, FLOAT, FLOAT};

void *longjing_swiglu(void) {
  static Operator o = {.op_name = "SwiGLU", .input_types = floats, .output_types = floats, .inputs = 2, .outputs = 1};
  o.op = operator_of(create_plain, gate_all, free);
  return &o;
}

void *longjing_swiglu_gradient(void) {
  static Operator o = {.op_name = "SwiGLUGradient", .input_types = floats, .output_types = floats, .inputs = 3, .outputs = 2};
  o.op = operator_of(create_plain, differentiate_all, free);
  return &o;
}
