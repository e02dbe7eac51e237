// GatherBlocks: ids int64 [n], blocks uint8 [rows, blocks, bytes], scales [rows, blocks], offsets [rows, blocks] (optional) -> those rows of the
// matrix, [n, columns], out of its tiles: where products read it too, it lies nowhere else. Attribute: bits of an element, 4 or 8.
#include "packed-input.h"
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  Api api;
  size_t bits;
  Packed *packed; // from the first run on
} Kernel;

typedef struct {
  const Packed *packed;
  const int64_t *ids;
  size_t count;
  float *out;
} Step;

static float number_at(const uint8_t *numbers, size_t index, int half) {
  float wide;
  uint16_t narrow;
  memcpy(&wide, numbers + (half ? 0 : 4 * index), 4);
  memcpy(&narrow, numbers + (half ? 2 * index : 0), 2);
  return half ? _cvtsh_ss(narrow) : wide;
}

// Column `column` of a row's lane: blocks.h says how elements lie in a tile.
static unsigned element_at(const uint8_t *elements, size_t lane, size_t column, int bits) {
  const size_t part = column / 16, within = column % 16, at = within / 4 * 64 + 4 * lane + within % 4;
  return bits == 8 ? elements[256 * part + at] : elements[at] >> 4 * part & 15;
}

static void write_row(const Packed *p, size_t row, float *to) {
  const Layout l = p->layout;
  const size_t lane = row % TILE_ROWS, numbers = TILE_ROWS * (size_t)l.parts * number_bytes(l);
  const uint8_t *tile = p->bytes + row / TILE_ROWS * p->tiles * tile_bytes(l);
  const float middle = (float)(1 << (l.bits - 1));
  for (size_t t = 0; t < p->tiles; t++, tile += tile_bytes(l), to += TILE_COLUMNS)
    for (size_t c = 0; c < TILE_COLUMNS; c++) {
      const size_t index = c * (size_t)l.parts / TILE_COLUMNS * TILE_ROWS + lane;
      const float q = (float)element_at(tile + (size_t)(1 + l.minima) * numbers, lane, c, l.bits), scale = number_at(tile, index, l.half);
      to[c] = l.minima ? q * scale + number_at(tile + numbers, index, l.half) : (q - middle) * scale;
    }
}

// Rows of a task.
enum { ROWS = 8 };

static void gather_some(void *data, size_t task) {
  const Step *s = data;
  for (size_t i = task * ROWS; i < at_most(s->count, (task + 1) * ROWS); i++) write_row(s->packed, (size_t)s->ids[i], s->out + i * s->packed->from.columns);
}

static Status *compute(void *kernel, void *context) {
  Kernel *k = kernel;
  Tensor ids, blocks;
  Status *status = read_input(k->api, context, 0, &ids);
  if (!status) status = read_input(k->api, context, 1, &blocks);
  if (status) return status;
  const int64_t columns = blocks.sizes[1] * blocks.sizes[2] * 8 / (int64_t)k->bits, shape[2] = {(int64_t)elements(&ids), columns};
  status = packed_input(k->api, context, 1, (size_t)columns, &k->packed);
  if (status) return status;
  Step s = {.packed = k->packed, .ids = ids.data, .count = (size_t)shape[0]};
  for (size_t i = 0; i < s.count; i++)
    if (s.ids[i] < 0 || (size_t)s.ids[i] >= s.packed->from.rows) return fail(k->api, INVALID, "GatherBlocks: a row that is not there");
  status = make_output(k->api, context, 0, shape, 2, (void **)&s.out);
  return status ? status : parallel(k->api, context, gather_some, parts_of(ROWS, s.count), &s);
}

static Status *create(const CustomOp *op, Api api, const void *info, void **out) {
  (void)op;
  float bits = 0;
  Status *s = float_attribute(api, info, "bits", &bits);
  if (s) return s;
  if (bits != 4 && bits != 8) return fail(api, INVALID, "GatherBlocks: expected elements of 4 or 8 bits");
  Kernel *k = calloc(1, sizeof *k);
  if (!k) return fail(api, FAIL, "GatherBlocks: no memory");
  *k = (Kernel){.api = api, .bits = (size_t)bits};
  *out = k;
  return NULL;
}

static void destroy(void *kernel) {
  Kernel *k = kernel;
  if (k->packed) release_packed(k->packed);
  free(k);
}

void *longjing_gather_blocks(void) {
  static const int inputs[] = {INT64, UINT8, FLOAT, -FLOAT}, outputs[] = {FLOAT};
  static Operator o = {.op_name = "GatherBlocks", .input_types = inputs, .output_types = outputs, .inputs = 4, .outputs = 1};
  o.op = operator_of(create, compute, destroy);
  return &o;
}
