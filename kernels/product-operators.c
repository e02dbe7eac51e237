// MatMulBlocks: x [rows, columns], blocks uint8 [n, blocks, bytes], scales [n, blocks], offsets [n, blocks] (optional) -> x times the matrix
// transposed, [rows, n]. GatedMatMulBlocks: x and the parts of two such matrices -> silu(x gate^T) * (x up^T).
#include "packed-input.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
  Api api;
  const Products *products;
  size_t count;       // of matrices: 1 or 2
  Packed *packed[2];  // from the first run on
} Kernel;

static void pack_some(void *packed, size_t group) { pack_group(packed, &((const Packed *)packed)->from, group); }

static Status *pack(Api api, void *context, Packed *packed) {
  Status *s = NULL;
  pthread_mutex_lock(&packed->filling);
  if (!packed->filled) {
    s = parallel(api, context, pack_some, packed->groups, packed);
    packed->filled = s == NULL;
  }
  pthread_mutex_unlock(&packed->filling);
  return s;
}

Status *packed_input(Api api, void *context, size_t first, size_t columns, Packed **to) {
  Tensor parts[3];
  Status *s = __atomic_load_n(to, __ATOMIC_ACQUIRE) ? NULL : read_inputs(api, context, first, 3, parts);
  if (s || __atomic_load_n(to, __ATOMIC_ACQUIRE)) return s;
  const Tensor blocks = parts[0], scales = parts[1], offsets = parts[2];
  const size_t count = (size_t)blocks.sizes[1], bytes = (size_t)blocks.sizes[2];
  if (columns == 0 || count == 0) return fail(api, INVALID, "a matrix in blocks without columns");
  const Blocks b = {.blocks = blocks.data, .scales = scales.data, .offsets = offsets.data, .rows = (size_t)blocks.sizes[0], .columns = columns, .block_size = columns / count, .bits = count * bytes * 8 / columns};
  if (b.block_size * count != columns || !fits_tiles(&b)) return fail(api, INVALID, "a matrix in blocks: expected columns in whole tiles of 32, in blocks of 16 or of whole tiles, of 4 or 8 bits");
  Packed *packed = packed_of(&b), *none = NULL;
  if (!packed) return fail(api, FAIL, "no memory for a matrix in tiles");
  s = pack(api, context, packed);
  // Another run of this session may have been first; what it sees there has been filled.
  if (s || !__atomic_compare_exchange_n(to, &none, packed, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) release_packed(packed);
  return s;
}

typedef struct {
  const Kernel *kernel;
  const float *x;
  Rounded *rounded;
  float *y, *up; // up: room for rows * TILE_ROWS numbers a chunk
  size_t rows, chunks, row_chunks;
} Product;

static void round_some(void *data, size_t chunk) {
  const Product *p = data;
  const size_t tiles = p->kernel->packed[0]->tiles, from = p->rows * chunk / p->row_chunks, to = p->rows * (chunk + 1) / p->row_chunks;
  p->kernel->products->round(p->x + from * tiles * TILE_COLUMNS, (to - from) * tiles, p->rounded + from * tiles);
}

static void multiply_group(const Product *p, const Packed *m, size_t group, float *y, size_t stride, int lanes) {
  p->kernel->products->multiply(m->layout, m->bytes + group * m->tiles * tile_bytes(m->layout), m->tiles, p->rounded, p->rows, y, stride, lanes);
}

static void multiply_some(void *data, size_t chunk) {
  const Product *p = data;
  const Kernel *k = p->kernel;
  const Packed *m = k->packed[0];
  const size_t n = m->from.rows;
  float *up = p->up + chunk * p->rows * TILE_ROWS;
  for (size_t g = m->groups * chunk / p->chunks; g < m->groups * (chunk + 1) / p->chunks; g++) {
    const int lanes = (int)at_most(TILE_ROWS, n - g * TILE_ROWS);
    float *y = p->y + g * TILE_ROWS;
    multiply_group(p, m, g, y, n, lanes);
    if (k->count == 1) continue;
    multiply_group(p, k->packed[1], g, up, TILE_ROWS, TILE_ROWS);
    k->products->gate(y, n, up, p->rows, lanes);
  }
}

// Work that is worth another thread's while, in tiles times rows: a microsecond or two of it.
enum { CHUNK_TILES = 192, MOST_CHUNKS = 64, CHUNK_ROWS = 8 };

static Status *compute(void *kernel, void *context) {
  Kernel *k = kernel;
  Tensor x;
  Status *s = read_input(k->api, context, 0, &x);
  const size_t rows = (size_t)x.sizes[0], columns = (size_t)x.sizes[1];
  for (size_t which = 0; which < k->count && !s; which++) s = packed_input(k->api, context, 1 + 3 * which, columns, &k->packed[which]);
  if (s) return s;
  const Packed *m = k->packed[0];
  if (columns != m->from.columns || (k->count == 2 && (k->packed[1]->from.columns != columns || k->packed[1]->from.rows != m->from.rows))) return fail(k->api, INVALID, "MatMulBlocks: rows and matrices do not fit each other");
  const int64_t shape[2] = {x.sizes[0], (int64_t)m->from.rows};
  void *y = NULL;
  s = make_output(k->api, context, 0, shape, 2, &y);
  if (s || rows == 0) return s;
  Product p = {.kernel = k, .x = x.data, .y = y, .rows = rows};
  p.row_chunks = rows < 2 * CHUNK_ROWS ? 1 : rows / CHUNK_ROWS;
  p.chunks = at_most(at_most(MOST_CHUNKS, m->groups), 1 + k->count * m->groups * m->tiles * rows / CHUNK_TILES);
  const size_t rounded = rows * m->tiles * sizeof(Rounded);
  p.rounded = scratch(rounded + (k->count - 1) * p.chunks * rows * TILE_ROWS * sizeof(float));
  if (!p.rounded) return fail(k->api, FAIL, "MatMulBlocks: no memory for the rounded rows");
  p.up = (float *)((char *)p.rounded + rounded);
  s = parallel(k->api, context, round_some, p.row_chunks, &p);
  return s ? s : parallel(k->api, context, multiply_some, p.chunks, &p);
}

// An operator has three inputs for each of its matrices, behind x.
static Status *create(const CustomOp *op, Api api, const void *info, void **out) {
  (void)info;
  Kernel *k = calloc(1, sizeof *k);
  if (!k) return fail(api, FAIL, "MatMulBlocks: no memory");
  *k = (Kernel){.api = api, .products = products(), .count = ((const Operator *)op)->inputs / 3};
  *out = k;
  return NULL;
}

static void destroy(void *kernel) {
  Kernel *k = kernel;
  for (size_t i = 0; i < 2; i++)
    if (k->packed[i]) release_packed(k->packed[i]);
  free(k);
}

static const int inputs[] = {FLOAT, UINT8, FLOAT, -FLOAT, UINT8, FLOAT, -FLOAT}, outputs[] = {FLOAT};

void *longjing_matmul_blocks(void) {
  static Operator o = {.op_name = "MatMulBlocks", .input_types = inputs, .output_types = outputs, .inputs = 4, .outputs = 1};
  o.op = operator_of(create, compute, destroy);
  return &o;
}

void *longjing_gated_matmul_blocks(void) {
  static Operator o = {.op_name = "GatedMatMulBlocks", .input_types = inputs, .output_types = outputs, .inputs = 7, .outputs = 1};
  o.op = operator_of(create, compute, destroy);
  return &o;
}
