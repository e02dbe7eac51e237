// MatMulTransA: a [depth, m], b [depth, n] -> a transposed times b, [m, n]; or lanes of them, a [lanes, depth, m] and b [depth, lanes, n]
// -> [lanes, m, n]. Attribute: alpha, a factor.
#include "operator.h"
#include "transposed-product.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
  Api api;
  float alpha;
} Kernel;

typedef struct {
  const Kernel *kernel;
  TransposedProduct *product;
  const float *a, *b;
  float *y;
  size_t lanes, depth, m, n;
} Step;

static void multiply_part(void *data, size_t part) {
  const Step *s = data;
  const size_t first = part * TASK_ROWS;
  s->product((Matrix){s->a, s->m}, (Matrix){s->b, s->n}, s->y, s->n, s->depth, s->kernel->alpha, first, at_most(s->m, first + TASK_ROWS));
}

enum { TASK_LANES = 8 };

// The rows of b lie as far apart as the caches like least: those of some lanes are put side by side, where there is memory.
static void multiply_lanes(void *data, size_t task) {
  const Step *s = data;
  const size_t stride = s->lanes * s->n, lane = task * TASK_LANES, count = at_most(TASK_LANES, s->lanes - lane), width = count * s->n;
  const float *from = s->b + lane * s->n;
  float *b = scratch(s->depth * width * sizeof(float));
  for (size_t k = 0; b && k < s->depth; k++) memcpy(b + k * width, from + k * stride, width * sizeof(float));
  for (size_t l = 0; l < count; l++) {
    const Matrix right = b ? (Matrix){b + l * s->n, width} : (Matrix){from + l * s->n, stride};
    for (size_t first = 0; first < s->m; first += TASK_ROWS) s->product((Matrix){s->a + (lane + l) * s->depth * s->m, s->m}, right, s->y + (lane + l) * s->m * s->n, s->n, s->depth, s->kernel->alpha, first, at_most(s->m, first + TASK_ROWS));
  }
}

static Status *compute(void *kernel, void *context) {
  const Api api = ((const Kernel *)kernel)->api;
  Tensor in[2];
  Status *status = read_inputs(api, context, 0, 2, in);
  if (status) return status;
  const Tensor a = in[0], b = in[1];
  const size_t rank = a.dimensions;
  const int64_t lanes = rank == 3 ? a.sizes[0] : 1, depth = a.sizes[rank == 3], m = a.sizes[rank == 3 ? 2 : 1], n = b.sizes[rank == 3 ? 2 : 1];
  if (b.dimensions != rank || (rank != 2 && rank != 3) || b.sizes[0] != depth || (rank == 3 && b.sizes[1] != lanes)) return fail(api, INVALID, "MatMulTransA: expected [depth, m] and [depth, n], or [lanes, depth, m] and [depth, lanes, n]");
  Step s = {kernel, widest() ? wide_transposed_product : narrow_transposed_product, a.data, b.data, NULL, (size_t)lanes, (size_t)depth, (size_t)m, (size_t)n};
  const int64_t shape[3] = {lanes, m, n};
  status = make_output(api, context, 0, shape + 3 - rank, rank, (void **)&s.y);
  if (status || n == 0) return status;
  return lanes == 1 ? parallel(api, context, multiply_part, (s.m + TASK_ROWS - 1) / TASK_ROWS, &s) : parallel(api, context, multiply_lanes, (s.lanes + TASK_LANES - 1) / TASK_LANES, &s);
}

static Status *create(const CustomOp *op, Api api, const void *info, void **out) {
  (void)op;
  float alpha;
  Status *s = float_attribute(api, info, "alpha", &alpha);
  if (s) return s;
  Kernel *k = malloc(sizeof *k);
  if (!k) return fail(api, FAIL, "MatMulTransA: no memory");
  *k = (Kernel){api, alpha};
  *out = k;
  return NULL;
}

void *longjing_matmul_trans_a(void) {
  static const int inputs[] = {FLOAT, FLOAT}, outputs[] = {FLOAT};
  static Operator o = {.op_name = "MatMulTransA", .input_types = inputs, .output_types = outputs, .inputs = 2, .outputs = 1};
  o.op = operator_of(create, compute, free);
  return &o;
}
