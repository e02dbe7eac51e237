// ScatterAddRows: base [rows, width], ids int64 [n], added [n, width] -> base with added[i] on its row ids[i], which may be the memory of
// base. A row gets what is added in the order of ids, whatever threads there are: each has some of the columns.
#include "operator.h"
#include <stdlib.h>
#include <string.h>

enum { BASE, IDS, ADDED, INPUTS };

typedef struct {
  Tensor in[INPUTS];
  float *out;
  size_t rows, width, count;
} Step;

// Columns of a task: some cache lines.
enum { COLUMNS = 64 };

static void scatter_some(void *data, size_t task) {
  const Step *s = data;
  const float *base = s->in[BASE].data, *added = s->in[ADDED].data;
  const int64_t *ids = s->in[IDS].data;
  const size_t from = task * COLUMNS, columns = at_most(COLUMNS, s->width - from);
  if (s->out != base)
    for (size_t row = 0; row < s->rows; row++) memcpy(s->out + row * s->width + from, base + row * s->width + from, columns * sizeof(float));
  for (size_t i = 0; i < s->count; i++) {
    float *to = s->out + (size_t)ids[i] * s->width + from;
    const float *more = added + i * s->width + from;
    for (size_t c = 0; c < columns; c++) to[c] += more[c];
  }
}

static Status *compute(void *kernel, void *context) {
  const Api api = *(Api *)kernel;
  Step s = {0};
  Status *status = read_inputs(api, context, 0, INPUTS, s.in);
  if (status) return status;
  s.rows = (size_t)s.in[BASE].sizes[0], s.width = (size_t)s.in[BASE].sizes[1], s.count = elements(&s.in[IDS]);
  if (s.in[BASE].dimensions != 2 || (size_t)s.in[ADDED].sizes[0] != s.count || elements(&s.in[ADDED]) != s.count * s.width) return fail(api, INVALID, "ScatterAddRows: expected [rows, width], [n] and [n, width]");
  for (size_t i = 0; i < s.count; i++) {
    const int64_t id = ((const int64_t *)s.in[IDS].data)[i];
    if (id < 0 || (size_t)id >= s.rows) return fail(api, INVALID, "ScatterAddRows: a row that is not there");
  }
  status = make_output(api, context, 0, s.in[BASE].sizes, 2, (void **)&s.out);
  return status ? status : parallel(api, context, scatter_some, parts_of(COLUMNS, s.width), &s);
}

void *longjing_scatter_add_rows(void) {
  static const int inputs[INPUTS] = {FLOAT, INT64, FLOAT}, outputs[] = {FLOAT};
  static Operator o = {.op_name = "ScatterAddRows", .input_types = inputs, .output_types = outputs, .inputs = INPUTS, .outputs = 1};
  o.op = operator_of(create_plain, compute, free);
  return &o;
}
