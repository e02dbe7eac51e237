// The operator "MatMulBlocks" of the domain "longjing", as ONNX Runtime's C interface wants it (version 17 of OrtCustomOp):
// x [rows, columns], blocks uint8 [n, blocks, bytes], scales [n, blocks], offsets [n, blocks] (optional) -> y [rows, n].
#include "pack.h"
#include <stdlib.h>
#include <string.h>

typedef void Status; // NULL is success
typedef void *const *Api; // the functions of OrtApi, by their place there
enum { CREATE_STATUS = 0, GET_DATA = 51, DIMENSION_COUNT = 61, DIMENSIONS = 62, TENSOR_SHAPE = 65, INPUT = 90, OUTPUT = 91, RELEASE_SHAPE = 99, PARALLEL_FOR = 274 };
enum { FLOAT = 1, UINT8 = 2, REQUIRED = 0, OPTIONAL = 1, FAIL = 1, INVALID = 2 };

typedef struct CustomOp {
  uint32_t version;
  void *create_kernel;
  const char *(*name)(const struct CustomOp *);
  const char *(*provider)(const struct CustomOp *);
  int (*input_type)(const struct CustomOp *, size_t);
  size_t (*input_count)(const struct CustomOp *);
  int (*output_type)(const struct CustomOp *, size_t);
  size_t (*output_count)(const struct CustomOp *);
  void *compute;
  void (*destroy)(void *);
  int (*input_characteristic)(const struct CustomOp *, size_t);
  int (*output_characteristic)(const struct CustomOp *, size_t);
  int (*input_memory)(const struct CustomOp *, size_t);
  void *variadic[4];
  Status *(*create)(const struct CustomOp *, Api, const void *, void **);
  Status *(*compute_status)(void *, void *);
  void *more[8];
} CustomOp;

typedef struct {
  Api api;
  const Instructions *instructions;
  Packed *packed; // from the first run on
} Kernel;

static Status *fail(Api api, int code, const char *message) { return ((Status * (*)(int, const char *)) api[CREATE_STATUS])(code, message); }

static Status *input(const Kernel *k, void *context, size_t index, void **value) { return ((Status * (*)(void *, size_t, void **)) k->api[INPUT])(context, index, value); }
static Status *data_of(const Kernel *k, void *value, void **data) { return ((Status * (*)(void *, void **)) k->api[GET_DATA])(value, data); }

// Up to three sizes; those that are not there are 1.
static Status *shape_of(const Kernel *k, void *value, int64_t sizes[3]) {
  void *shape;
  size_t count;
  sizes[0] = sizes[1] = sizes[2] = 1;
  Status *s = ((Status * (*)(void *, void **)) k->api[TENSOR_SHAPE])(value, &shape);
  if (s) return s;
  s = ((Status * (*)(void *, size_t *)) k->api[DIMENSION_COUNT])(shape, &count);
  if (!s) s = count > 3 ? fail(k->api, INVALID, "MatMulBlocks: a tensor of more than three dimensions") : ((Status * (*)(void *, int64_t *, size_t)) k->api[DIMENSIONS])(shape, sizes, count);
  ((void (*)(void *))k->api[RELEASE_SHAPE])(shape);
  return s;
}

static Status *parallel(const Kernel *k, void *context, void (*work)(void *, size_t), size_t count, void *data) {
  if (count > 1) return ((Status * (*)(void *, void (*)(void *, size_t), size_t, size_t, void *)) k->api[PARALLEL_FOR])(context, work, count, 0, data);
  if (count == 1) work(data, 0);
  return NULL;
}

static void pack_some(void *packed, size_t group) { pack_group(packed, group); }

// At the first run: initializers lie where they will stay, and all threads may take part.
static Status *prepare(Kernel *k, void *context, int64_t columns) {
  void *values[3] = {NULL, NULL, NULL}, *data[3] = {NULL, NULL, NULL};
  int64_t sizes[3];
  Status *s = NULL;
  for (size_t i = 0; i < 3 && !s; i++) {
    s = input(k, context, i + 1, &values[i]);
    if (!s && values[i]) s = data_of(k, values[i], &data[i]);
  }
  if (!s) s = shape_of(k, values[0], sizes);
  if (s) return s;
  const Blocks b = {.blocks = data[0], .scales = data[1], .offsets = data[2], .rows = (size_t)sizes[0], .columns = (size_t)columns, .block_size = sizes[1] > 0 ? (size_t)(columns / sizes[1]) : 0, .bits = columns > 0 ? (size_t)(sizes[1] * sizes[2] * 8 / columns) : 0};
  if (b.columns % TILE_COLUMNS != 0 || (b.block_size != 16 && b.block_size % TILE_COLUMNS != 0) || b.block_size * (size_t)sizes[1] != b.columns || (b.bits != 4 && b.bits != 8)) return fail(k->api, INVALID, "MatMulBlocks: expected columns in whole tiles of 32, in blocks of 16 or of whole tiles, of 4 or 8 bits");
  if (!(k->packed = packed_of(&b))) return fail(k->api, FAIL, "MatMulBlocks: no memory for the matrix");
  pthread_mutex_lock(&k->packed->filling);
  if (!k->packed->filled) {
    s = parallel(k, context, pack_some, k->packed->groups, k->packed);
    k->packed->filled = s == NULL;
  }
  pthread_mutex_unlock(&k->packed->filling);
  return s;
}

typedef struct {
  const Kernel *kernel;
  const float *x;
  Rounded *rounded;
  float *y;
  size_t rows, chunks, row_chunks;
} Product;

static void round_some(void *data, size_t chunk) {
  const Product *p = data;
  const size_t tiles = p->kernel->packed->tiles, from = p->rows * chunk / p->row_chunks, to = p->rows * (chunk + 1) / p->row_chunks;
  p->kernel->instructions->round(p->x + from * tiles * TILE_COLUMNS, (to - from) * tiles, p->rounded + from * tiles);
}

static void multiply_some(void *data, size_t chunk) {
  const Product *p = data;
  const Packed *m = p->kernel->packed;
  for (size_t g = m->groups * chunk / p->chunks; g < m->groups * (chunk + 1) / p->chunks; g++) {
    const size_t left = m->from.rows - g * TILE_ROWS;
    p->kernel->instructions->multiply(m->layout, m->bytes + g * m->tiles * tile_bytes(m->layout), m->tiles, p->rounded, p->rows, p->y + g * TILE_ROWS, m->from.rows, left < TILE_ROWS ? (int)left : TILE_ROWS);
  }
}

// Rounded rows of the products that this thread begins; it grows with the largest.
static __thread Rounded *scratch = NULL;
static __thread size_t scratch_tiles = 0;

static Rounded *reserve(size_t tiles) {
  if (tiles > scratch_tiles) {
    free(scratch);
    scratch = malloc(tiles * sizeof *scratch);
    scratch_tiles = scratch ? tiles : 0;
  }
  return scratch;
}

static size_t at_most(size_t most, size_t n) { return n < most ? n : most; }

// Work that is worth another thread's while, in tiles times rows: a microsecond or two of it.
enum { CHUNK_TILES = 192, MOST_CHUNKS = 64, CHUNK_ROWS = 8 };

static Status *compute(void *kernel, void *context) {
  Kernel *k = kernel;
  void *value, *x = NULL, *y = NULL;
  int64_t sizes[3];
  Status *s = input(k, context, 0, &value);
  if (!s) s = data_of(k, value, &x);
  if (!s) s = shape_of(k, value, sizes);
  if (!s && !k->packed) s = prepare(k, context, sizes[1]);
  if (s) return s;
  const Packed *m = k->packed;
  const size_t rows = (size_t)sizes[0];
  if ((size_t)sizes[1] != m->from.columns) return fail(k->api, INVALID, "MatMulBlocks: rows are not as long as the matrix is wide");
  const int64_t shape[2] = {sizes[0], (int64_t)m->from.rows};
  s = ((Status * (*)(void *, size_t, const int64_t *, size_t, void **)) k->api[OUTPUT])(context, 0, shape, 2, &value);
  if (!s) s = data_of(k, value, &y);
  if (s || rows == 0) return s;
  Product p = {.kernel = k, .x = x, .rounded = reserve(rows * m->tiles), .y = y, .rows = rows};
  if (!p.rounded) return fail(k->api, FAIL, "MatMulBlocks: no memory for the rounded rows");
  p.row_chunks = rows < 2 * CHUNK_ROWS ? 1 : rows / CHUNK_ROWS;
  p.chunks = at_most(at_most(MOST_CHUNKS, m->groups), 1 + m->groups * m->tiles * rows / CHUNK_TILES);
  s = parallel(k, context, round_some, p.row_chunks, &p);
  return s ? s : parallel(k, context, multiply_some, p.chunks, &p);
}

// The widest that the processor has, unless LONGJING_INSTRUCTIONS names narrower ones.
static const Instructions *best(void) {
  const char *asked = getenv("LONGJING_INSTRUCTIONS");
  __builtin_cpu_init();
  const int narrow = asked && strcmp(asked, avx2_instructions.name) == 0;
  if (!narrow && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw")) return &avx512_instructions;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &avx2_instructions : NULL;
}

static Status *create(const CustomOp *op, Api api, const void *info, void **out) {
  (void)op, (void)info;
  Kernel *k = calloc(1, sizeof *k);
  if (!k) return fail(api, FAIL, "MatMulBlocks: no memory");
  *k = (Kernel){.api = api, .instructions = best()};
  *out = k;
  return NULL;
}

static void destroy(void *kernel) {
  Kernel *k = kernel;
  if (k->packed) release_packed(k->packed);
  free(k);
}

static const char *name(const CustomOp *op) { return (void)op, "MatMulBlocks"; }
static const char *provider(const CustomOp *op) { return (void)op, NULL; }
static int input_type(const CustomOp *op, size_t i) { return (void)op, i == 1 ? UINT8 : FLOAT; }
static size_t input_count(const CustomOp *op) { return (void)op, (size_t)4; }
static int output_type(const CustomOp *op, size_t i) { return (void)op, (void)i, FLOAT; }
static size_t output_count(const CustomOp *op) { return (void)op, (size_t)1; }
static int input_characteristic(const CustomOp *op, size_t i) { return (void)op, i == 3 ? OPTIONAL : REQUIRED; }
static int output_characteristic(const CustomOp *op, size_t i) { return (void)op, (void)i, REQUIRED; }
static int memory(const CustomOp *op, size_t i) { return (void)op, (void)i, 0; }

static const CustomOp matmul_blocks = {
  .version = 17, .name = name, .provider = provider, .input_type = input_type, .input_count = input_count, .output_type = output_type, .output_count = output_count, .destroy = destroy,
  .input_characteristic = input_characteristic, .output_characteristic = output_characteristic, .input_memory = memory, .create = create, .compute_status = compute,
};

// What the processor can run, or NULL: then the operator must not be used.
const char *longjing_instructions(void) { return best() ? best()->name : NULL; }
const void *longjing_matmul_blocks(void) { return &matmul_blocks; }
