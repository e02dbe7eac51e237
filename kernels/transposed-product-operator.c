// MatMulTransA: a [depth, m], b [depth, n] -> a transposed times b, [m, n]; or lanes of them, a [lanes, depth, m] and b [depth, lanes, n]
// -> [lanes, m, n]. Attribute: alpha, a factor.
#include "operator.h"
#include "transposed-product.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
  const Plain *kernel;
  TransposedProduct *product;
  const float *a, *b;
  float *y;
  size_t lanes, depth, m, n;
  size_t rows, parts, part_depth; // of a task
  float *sums;                    // [parts, m, n]
} Step;

// Some rows' sums over a part of the depth.
static void multiply_part(void *data, size_t task) {
  const Step *s = data;
  const size_t part = task % s->parts, first = task / s->parts * s->rows, from = part * s->part_depth;
  const float alpha = s->parts > 1 ? 1 : s->kernel->attribute;
  s->product((Matrix){s->a + from * s->m, s->m}, (Matrix){s->b + from * s->n, s->n}, s->sums + part * s->m * s->n, s->n, at_most(s->part_depth, s->depth - from), alpha, first, at_most(s->m, first + s->rows));
}

static void add_parts(void *data, size_t chunk) {
  const Step *s = data;
  const size_t count = s->m * s->n, end = at_most(count, (chunk + 1) * CHUNK);
  for (size_t i = chunk * CHUNK; i < end; i++) {
    float sum = s->sums[i];
    for (size_t part = 1; part < s->parts; part++) sum += s->sums[part * count + i];
    s->y[i] = sum * s->kernel->attribute;
  }
}

enum { TASKS = 4, LEAST_DEPTH = 256, MULTIPLE = 8, TASK_LANES = 8 };

// All rows that fit go into one task, since each reads the other operand once more. Where that leaves few tasks, the depth is divided, in the same
// way whatever threads there are.
static Status *multiply_matrix(Api api, void *context, Step *s) {
  const size_t bands = parts_of(TASK_ROWS, s->m);
  if (bands == 0) return NULL;
  s->rows = up_to(MULTIPLE, parts_of(bands, s->m));
  s->parts = at_most(parts_of(bands, TASKS), s->depth / LEAST_DEPTH);
  if (s->parts == 0) s->parts = 1;
  s->part_depth = parts_of(s->parts, s->depth);
  s->sums = s->parts == 1 ? s->y : scratch(s->parts * s->m * s->n * sizeof(float));
  if (!s->sums) return fail(api, FAIL, "MatMulTransA: no memory");
  Status *status = parallel(api, context, multiply_part, parts_of(s->rows, s->m) * s->parts, s);
  return status || s->parts == 1 ? status : parallel_chunks(api, context, add_parts, s->m * s->n, s);
}

// The rows of b lie as far apart as the caches like least: those of some lanes are put side by side, where there is memory.
static void multiply_lanes(void *data, size_t task) {
  const Step *s = data;
  const size_t stride = s->lanes * s->n, lane = task * TASK_LANES, count = at_most(TASK_LANES, s->lanes - lane), width = count * s->n;
  const float *from = s->b + lane * s->n;
  float *b = scratch(s->depth * width * sizeof(float));
  for (size_t k = 0; b && k < s->depth; k++) memcpy(b + k * width, from + k * stride, width * sizeof(float));
  for (size_t l = 0; l < count; l++) {
    const Matrix right = b ? (Matrix){b + l * s->n, width} : (Matrix){from + l * s->n, stride};
    for (size_t first = 0; first < s->m; first += TASK_ROWS) s->product((Matrix){s->a + (lane + l) * s->depth * s->m, s->m}, right, s->y + (lane + l) * s->m * s->n, s->n, s->depth, s->kernel->attribute, first, at_most(s->m, first + TASK_ROWS));
  }
}

static Status *compute(void *kernel, void *context) {
  const Api api = ((const Plain *)kernel)->api;
  Tensor in[2];
  Status *status = read_inputs(api, context, 0, 2, in);
  if (status) return status;
  const Tensor a = in[0], b = in[1];
  const size_t rank = a.dimensions;
  const int64_t lanes = rank == 3 ? a.sizes[0] : 1, depth = a.sizes[rank == 3], m = a.sizes[rank == 3 ? 2 : 1], n = b.sizes[rank == 3 ? 2 : 1];
  if (b.dimensions != rank || (rank != 2 && rank != 3) || b.sizes[0] != depth || (rank == 3 && b.sizes[1] != lanes)) return fail(api, INVALID, "MatMulTransA: expected [depth, m] and [depth, n], or [lanes, depth, m] and [depth, lanes, n]");
  Step s = {.kernel = kernel, .product = widest() ? wide_transposed_product : narrow_transposed_product, .a = a.data, .b = b.data, .lanes = (size_t)lanes, .depth = (size_t)depth, .m = (size_t)m, .n = (size_t)n};
  const int64_t shape[3] = {lanes, m, n};
  status = make_output(api, context, 0, shape + 3 - rank, rank, (void **)&s.y);
  if (status || n == 0) return status;
  return lanes == 1 ? multiply_matrix(api, context, &s) : parallel(api, context, multiply_lanes, parts_of(TASK_LANES, s.lanes), &s);
}

void *longjing_matmul_trans_a(void) {
  static const int inputs[] = {FLOAT, FLOAT}, outputs[] = {FLOAT};
  static Operator o = {.op_name = "MatMulTransA", .input_types = inputs, .output_types = outputs, .inputs = 2, .outputs = 1, .attribute = "alpha"};
  o.op = operator_of(create_plain, compute, free);
  return &o;
}
