// RMSNorm: x [..., width] and gain [width] -> x / sqrt(mean of x squared + epsilon) * gain, over the last dimension. Attribute: epsilon.
#include "operator.h"
#include "vectors.h"
#include <math.h>
#include <stdlib.h>

typedef struct {
  const float *x, *gain;
  float *y, epsilon;
  size_t rows, width, together; // rows of a task
} Step;

static void normalize_row(const Step *s, const float *x, float *y) {
  Sixteen squares;
  for (int v = 0; v < VECTORS; v++) squares.v[v] = every(0);
  for (size_t i = 0; i < s->width; i += 16)
    for (int v = 0; v < VECTORS; v++) {
      const Floats some = load_first(x + i + v * LANES, (int)s->width - (int)i - v * LANES);
      squares.v[v] = times_plus(some, some, squares.v[v]);
    }
  const Floats scale = every(1 / sqrtf(sum_of_lanes(squares) / (float)s->width + s->epsilon));
  for (size_t i = 0; i < s->width; i += LANES) {
    const int lanes = (int)at_most(LANES, s->width - i);
    store(y + i, times(times(load_first(x + i, lanes), scale), load_first(s->gain + i, lanes)), lanes);
  }
}

static void normalize_some(void *data, size_t task) {
  const Step *s = data;
  const size_t end = at_most(s->rows, (task + 1) * s->together);
  for (size_t r = task * s->together; r < end; r++) normalize_row(s, s->x + r * s->width, s->y + r * s->width);
}

static Status *compute(void *kernel, void *context) {
  const Plain *k = kernel;
  Tensor in[2];
  Status *status = read_inputs(k->api, context, 0, 2, in);
  if (status) return status;
  const size_t width = elements(&in[1]);
  if (in[0].dimensions == 0 || (size_t)in[0].sizes[in[0].dimensions - 1] != width) return fail(k->api, INVALID, "RMSNorm: expected a gain for each column");
  Step s = {.x = in[0].data, .gain = in[1].data, .epsilon = k->attribute, .width = width};
  status = make_output(k->api, context, 0, in[0].sizes, in[0].dimensions, (void **)&s.y);
  if (status || width == 0) return status;
  s.rows = elements(&in[0]) / width;
  s.together = width < CHUNK ? CHUNK / width : 1;
  return parallel(k->api, context, normalize_some, parts_of(s.together, s.rows), &s);
}

void *longjing_rms_norm(void) {
  static const int inputs[] = {FLOAT, FLOAT}, outputs[] = {FLOAT};
  static Operator o = {.op_name = "RMSNorm", .input_types = inputs, .output_types = outputs, .inputs = 2, .outputs = 1, .attribute = "epsilon"};
  o.op = operator_of(create_plain, compute, free);
  return &o;
}
