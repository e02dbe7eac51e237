// AdamW: gradient, parameter, m, v of one shape, scale, rate, epsilon, decay (optional), all scalars -> the next parameter, m and v, which may be
// the memory of those before. Attributes: beta1, beta2. The formula is that of src/tensor/ops/adamw.ts, in its order.
#include "operator.h"
#include "vectors.h"
#include <stdlib.h>

enum { GRADIENT, PARAMETER, M, V, SCALE, RATE, EPSILON, DECAY, INPUTS };
enum { NEXT_PARAMETER, NEXT_M, NEXT_V, OUTPUTS };

typedef struct {
  Api api;
  float beta1, beta2;
} Kernel;

typedef struct {
  const Kernel *kernel;
  Tensor in[INPUTS];
  float *out[OUTPUTS];
  size_t count;
} Step;

static void update_some(void *data, size_t chunk) {
  const Step *s = data;
  const float *g = s->in[GRADIENT].data, *w = s->in[PARAMETER].data, *m = s->in[M].data, *v = s->in[V].data;
  const Floats scale = every(*(const float *)s->in[SCALE].data), rate = every(*(const float *)s->in[RATE].data), epsilon = every(*(const float *)s->in[EPSILON].data);
  const Floats decay = every(s->in[DECAY].missing ? 1 : *(const float *)s->in[DECAY].data), beta1 = every(s->kernel->beta1), beta2 = every(s->kernel->beta2);
  const size_t end = at_most(s->count, (chunk + 1) * CHUNK);
  for (size_t i = chunk * CHUNK; i < end; i += LANES) {
    const int lanes = (int)at_most(LANES, end - i);
    const Floats gradient = times(load_first(g + i, lanes), scale);
    const Floats next_m = sum_of(times(load_first(m + i, lanes), beta1), gradient);
    const Floats next_v = sum_of(times(load_first(v + i, lanes), beta2), times(gradient, gradient));
    const Floats change = ratio(times(next_m, rate), sum_of(root(next_v), epsilon));
    store(s->out[NEXT_PARAMETER] + i, difference(times(load_first(w + i, lanes), decay), change), lanes);
    store(s->out[NEXT_M] + i, next_m, lanes);
    store(s->out[NEXT_V] + i, next_v, lanes);
  }
}

static Status *compute(void *kernel, void *context) {
  Step s = {.kernel = kernel};
  const Api api = s.kernel->api;
  Status *status = read_inputs(api, context, 0, INPUTS, s.in);
  if (status) return status;
  s.count = elements(&s.in[GRADIENT]);
  for (size_t i = 0; i < INPUTS; i++)
    if (!s.in[i].missing && elements(&s.in[i]) != (i < SCALE ? s.count : 1)) return fail(api, INVALID, "AdamW: expected a gradient, a parameter and moments of one shape, and scalars");
  for (size_t i = 0; i < OUTPUTS && !status; i++) status = make_output(api, context, i, s.in[PARAMETER].sizes, s.in[PARAMETER].dimensions, (void **)&s.out[i]);
  return status ? status : parallel_chunks(api, context, update_some, s.count, &s);
}

static Status *create(const CustomOp *op, Api api, const void *info, void **out) {
  (void)op;
  Kernel *k = calloc(1, sizeof *k);
  if (!k) return fail(api, FAIL, "AdamW: no memory");
  k->api = api;
  Status *s = float_attribute(api, info, "beta1", &k->beta1);
  if (!s) s = float_attribute(api, info, "beta2", &k->beta2);
  if (s) free(k);
  else *out = k;
  return s;
}

void *longjing_adamw(void) {
  static const int inputs[INPUTS] = {FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, -FLOAT}, outputs[OUTPUTS] = {FLOAT, FLOAT, FLOAT};
  static Operator o = {.op_name = "AdamW", .input_types = inputs, .output_types = outputs, .inputs = INPUTS, .outputs = OUTPUTS};
  o.op = operator_of(create, compute, free);
  return &o;
}
