// MatMulTransA: a [depth, m], b [depth, n] -> a transposed times b, [m, n].
#include "operator.h"
#include "transposed-product.h"
#include <stdlib.h>

typedef struct {
  Tensor a, b;
  float *y;
  TransposedProduct *product;
} Step;

static void multiply_some(void *data, size_t task) {
  const Step *s = data;
  const size_t m = (size_t)s->a.sizes[1], first = task * TASK_ROWS;
  s->product(s->a.data, s->b.data, s->y, m, (size_t)s->b.sizes[1], (size_t)s->a.sizes[0], first, at_most(m, first + TASK_ROWS));
}

static Status *compute(void *kernel, void *context) {
  const Api api = *(Api *)kernel;
  Step s = {.product = widest() ? wide_transposed_product : narrow_transposed_product};
  Status *status = read_input(api, context, 0, &s.a);
  if (!status) status = read_input(api, context, 1, &s.b);
  if (status) return status;
  if (s.a.dimensions != 2 || s.b.dimensions != 2 || s.a.sizes[0] != s.b.sizes[0]) return fail(api, INVALID, "MatMulTransA: expected [depth, m] and [depth, n]");
  const int64_t shape[2] = {s.a.sizes[1], s.b.sizes[1]};
  status = make_output(api, context, 0, shape, 2, (void **)&s.y);
  if (status || shape[1] == 0) return status;
  return parallel(api, context, multiply_some, ((size_t)shape[0] + TASK_ROWS - 1) / TASK_ROWS, &s);
}

void *longjing_matmul_trans_a(void) {
  static const int inputs[] = {FLOAT, FLOAT}, outputs[] = {FLOAT};
  static Operator o = {.op_name = "MatMulTransA", .input_types = inputs, .output_types = outputs, .inputs = 2, .outputs = 1};
  o.op = operator_of(create_plain, compute, free);
  return &o;
}
