// What an operator of ours needs of ONNX Runtime's C interface (version 17 of OrtCustomOp). Functions go by their place in OrtApi.
#pragma once
#include "attention.h"
#include "blocks.h"

typedef void Status; // NULL is success
typedef void *const *Api;
enum { FLOAT = 1, UINT8 = 2, INT32 = 6, INT64 = 7, REQUIRED = 0, OPTIONAL = 1, FAIL = 1, INVALID = 2, MOST_DIMENSIONS = 4 };

typedef struct CustomOp {
  uint32_t version;
  void *create_kernel;
  const char *(*name)(const struct CustomOp *);
  const char *(*provider)(const struct CustomOp *);
  int (*input_type)(const struct CustomOp *, size_t);
  size_t (*input_count)(const struct CustomOp *);
  int (*output_type)(const struct CustomOp *, size_t);
  size_t (*output_count)(const struct CustomOp *);
  void *compute_old;
  void (*destroy)(void *);
  int (*input_characteristic)(const struct CustomOp *, size_t);
  int (*output_characteristic)(const struct CustomOp *, size_t);
  int (*input_memory)(const struct CustomOp *, size_t);
  void *variadic[4];
  Status *(*create)(const struct CustomOp *, Api, const void *, void **);
  Status *(*compute)(void *, void *);
  void *more[8];
} CustomOp;

// The name, and the types of inputs and outputs, of an operator. Inputs of a negative type may be missing.
typedef struct {
  CustomOp op; // first: ONNX Runtime gives it back, and with it the rest
  const char *op_name;
  const int *input_types, *output_types;
  size_t inputs, outputs;
  const char *attribute; // of `create_plain`: a float; NULL where there is none
} Operator;

// What most kernels keep.
typedef struct {
  Api api;
  float attribute;
} Plain;

// Sets what all operators have in common.
CustomOp operator_of(Status *(*create)(const CustomOp *, Api, const void *, void **), Status *(*compute)(void *, void *), void (*destroy)(void *));
// Of an operator with one attribute at most: its kernel is a Plain, to be freed.
Status *create_plain(const CustomOp *op, Api api, const void *info, void **kernel);

typedef struct {
  void *data; // NULL where the input is missing
  int64_t sizes[MOST_DIMENSIONS]; // 1 beyond its dimensions
  size_t dimensions;
  int missing;
} Tensor;

Status *fail(Api api, int code, const char *message);
Status *read_input(Api api, void *context, size_t index, Tensor *to);
// `count` of them, from `first` on.
Status *read_inputs(Api api, void *context, size_t first, size_t count, Tensor *to);
size_t elements(const Tensor *t);
// Memory of an output, which the caller may have bound.
Status *make_output(Api api, void *context, size_t index, const int64_t *sizes, size_t dimensions, void **data);
Status *float_attribute(Api api, const void *info, const char *name, float *to);
// Runs work(data, 0), ..., work(data, count - 1) on the session's threads.
Status *parallel(Api api, void *context, void (*work)(void *, size_t), size_t count, void *data);
// Of an operator that goes through `count` numbers once, work(data, chunk) for each so many: they are worth another thread's while.
enum { CHUNK = 1 << 13 };
Status *parallel_chunks(Api api, void *context, void (*work)(void *, size_t), size_t count, void *data);

// Memory of the calling thread's until it asks again; NULL where there is none.
void *scratch(size_t bytes);

// Whether the processor has the wide instructions, and LONGJING_INSTRUCTIONS does not name the narrow ones.
int widest(void);
// Those that are used; NULL where the processor has too few.
const char *instructions(void);
const Products *products(void);
const Attention *attention(void);

