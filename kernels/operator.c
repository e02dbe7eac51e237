#include "operator.h"
#include <stdlib.h>
#include <string.h>

enum { CREATE_STATUS = 0, GET_DATA = 51, DIMENSION_COUNT = 61, DIMENSIONS = 62, TENSOR_SHAPE = 65, FLOAT_ATTRIBUTE = 85, INPUT = 90, OUTPUT = 91, RELEASE_SHAPE = 99, PARALLEL_FOR = 274 };

Status *fail(Api api, int code, const char *message) { return ((Status * (*)(int, const char *)) api[CREATE_STATUS])(code, message); }

static Status *shape_of(Api api, void *value, Tensor *to) {
  void *shape;
  for (int i = 0; i < MOST_DIMENSIONS; i++) to->sizes[i] = 1;
  Status *s = ((Status * (*)(void *, void **)) api[TENSOR_SHAPE])(value, &shape);
  if (s) return s;
  s = ((Status * (*)(void *, size_t *)) api[DIMENSION_COUNT])(shape, &to->dimensions);
  if (!s && to->dimensions > MOST_DIMENSIONS) s = fail(api, INVALID, "an input of more than four dimensions");
  if (!s) s = ((Status * (*)(void *, int64_t *, size_t)) api[DIMENSIONS])(shape, to->sizes, to->dimensions);
  ((void (*)(void *))api[RELEASE_SHAPE])(shape);
  return s;
}

Status *read_input(Api api, void *context, size_t index, Tensor *to) {
  void *value;
  memset(to, 0, sizeof *to);
  Status *s = ((Status * (*)(void *, size_t, void **)) api[INPUT])(context, index, &value);
  to->missing = !s && !value;
  if (s || !value) return s;
  s = ((Status * (*)(void *, void **)) api[GET_DATA])(value, &to->data);
  return s ? s : shape_of(api, value, to);
}

Status *read_inputs(Api api, void *context, size_t first, size_t count, Tensor *to) {
  Status *s = NULL;
  for (size_t i = 0; i < count && !s; i++) s = read_input(api, context, first + i, to + i);
  return s;
}

size_t elements(const Tensor *t) {
  size_t count = 1;
  for (int i = 0; i < MOST_DIMENSIONS; i++) count *= (size_t)t->sizes[i];
  return count;
}

Status *make_output(Api api, void *context, size_t index, const int64_t *sizes, size_t dimensions, void **data) {
  void *value;
  Status *s = ((Status * (*)(void *, size_t, const int64_t *, size_t, void **)) api[OUTPUT])(context, index, sizes, dimensions, &value);
  return s ? s : ((Status * (*)(void *, void **)) api[GET_DATA])(value, data);
}

Status *float_attribute(Api api, const void *info, const char *name, float *to) { return ((Status * (*)(const void *, const char *, float *)) api[FLOAT_ATTRIBUTE])(info, name, to); }

Status *parallel(Api api, void *context, void (*work)(void *, size_t), size_t count, void *data) {
  if (count > 1) return ((Status * (*)(void *, void (*)(void *, size_t), size_t, size_t, void *)) api[PARALLEL_FOR])(context, work, count, 0, data);
  if (count == 1) work(data, 0);
  return NULL;
}

Status *parallel_chunks(Api api, void *context, void (*work)(void *, size_t), size_t count, void *data) { return parallel(api, context, work, parts_of(CHUNK, count), data); }

static __thread void *memory = NULL;
static __thread size_t memory_bytes = 0;

void *scratch(size_t bytes) {
  if (bytes > memory_bytes) {
    free(memory);
    memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    memory_bytes = memory ? bytes : 0;
  }
  return memory;
}

static int has_wide(void) { return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"); }
static int has_narrow(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }

int widest(void) {
  static int found = -1;
  if (found < 0) {
    const char *asked = getenv("LONGJING_INSTRUCTIONS");
    __builtin_cpu_init();
    found = has_wide() && !(asked && strcmp(asked, "avx2") == 0);
  }
  return found;
}

const char *instructions(void) { return widest() ? "avx512_vnni" : has_narrow() ? "avx2" : NULL; }
const Products *products(void) { return widest() ? &wide_products : &narrow_products; }
const Attention *attention(void) { return widest() ? &wide_attention : &narrow_attention; }

static const Operator *whole(const CustomOp *op) { return (const Operator *)op; }
static const char *name(const CustomOp *op) { return whole(op)->op_name; }
static const char *provider(const CustomOp *op) { return (void)op, NULL; }
static int input_type(const CustomOp *op, size_t i) { return abs(whole(op)->input_types[i]); }
static size_t input_count(const CustomOp *op) { return whole(op)->inputs; }
static int output_type(const CustomOp *op, size_t i) { return whole(op)->output_types[i]; }
static size_t output_count(const CustomOp *op) { return whole(op)->outputs; }
static int input_characteristic(const CustomOp *op, size_t i) { return whole(op)->input_types[i] < 0 ? OPTIONAL : REQUIRED; }
static int output_characteristic(const CustomOp *op, size_t i) { return (void)op, (void)i, REQUIRED; }
static int input_memory(const CustomOp *op, size_t i) { return (void)op, (void)i, 0; }

CustomOp operator_of(Status *(*create)(const CustomOp *, Api, const void *, void **), Status *(*compute)(void *, void *), void (*destroy)(void *)) {
  return (CustomOp){
    .version = 17, .name = name, .provider = provider, .input_type = input_type, .input_count = input_count, .output_type = output_type, .output_count = output_count, .destroy = destroy,
    .input_characteristic = input_characteristic, .output_characteristic = output_characteristic, .input_memory = input_memory, .create = create, .compute = compute,
  };
}

Status *create_plain(const CustomOp *op, Api api, const void *info, void **kernel) {
  Plain made = {.api = api};
  Status *s = whole(op)->attribute ? float_attribute(api, info, whole(op)->attribute, &made.attribute) : NULL;
  if (s) return s;
  Plain *p = malloc(sizeof *p);
  if (!p) return fail(api, FAIL, "no memory for an operator");
  *p = made;
  *kernel = p;
  return NULL;
}
