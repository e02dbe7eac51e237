#include "transposed-product.h"
#include "blocks.h"
#include "vectors.h"

#ifdef WIDE
enum { ROWS = 8 };
#else
enum { ROWS = 6 };
#endif
// A tile of the result is ROWS by COLUMN_VECTORS vectors, which fit the registers, and is added up over DEPTH at a time, of which the
// left operand stays in the nearest cache.
enum { COLUMN_VECTORS = 2, DEPTH = 128 };

INLINE Floats load_lanes(const float *p, int lanes) { return lanes == LANES ? load_floats(p) : load_first(p, lanes); }

typedef struct {
  float *at;
  size_t stride;
  int first, last; // whether nothing has been added up yet, and whether nothing will be any more
  float alpha;
} Result;

// Adds the depth's products to a tile of y. Rows and vectors are known where this is inlined.
INLINE void add_tile(Matrix a, Matrix b, Result y, size_t depth, int rows, int vectors, int lanes) {
  Floats sums[ROWS][COLUMN_VECTORS];
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++) sums[r][v] = y.first ? every(0) : load_lanes(y.at + (size_t)r * y.stride + v * LANES, lanes);
  for (size_t k = 0; k < depth; k++) {
    Floats right[COLUMN_VECTORS];
    for (int v = 0; v < vectors; v++) right[v] = load_lanes(b.at + k * b.stride + v * LANES, lanes);
    for (int r = 0; r < rows; r++) {
      const Floats left = every(a.at[k * a.stride + r]);
      for (int v = 0; v < vectors; v++) sums[r][v] = times_plus(left, right[v], sums[r][v]);
    }
  }
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++) store(y.at + (size_t)r * y.stride + v * LANES, y.last ? times(sums[r][v], every(y.alpha)) : sums[r][v], lanes);
}

// Some columns of a task's rows: whole tiles from what has been put side by side, the rows that are left two by two.
INLINE void add_columns(const float *panels, Matrix a, Matrix b, Result y, size_t rows, size_t depth, int vectors, int lanes) {
  size_t r = 0;
  for (; r + ROWS <= rows; r += ROWS, y.at += ROWS * y.stride) add_tile((Matrix){panels + r * depth, ROWS}, b, y, depth, ROWS, vectors, lanes);
  for (; r + 2 <= rows; r += 2, y.at += 2 * y.stride) add_tile((Matrix){a.at + r, a.stride}, b, y, depth, 2, vectors, lanes);
  for (; r < rows; r++, y.at += y.stride) add_tile((Matrix){a.at + r, a.stride}, b, y, depth, 1, vectors, lanes);
}

static void transposed_product(Matrix a, Matrix b, float *y, size_t n, size_t whole_depth, float alpha, size_t first, size_t last) {
  float panels[TASK_ROWS * DEPTH];
  size_t from = 0;
  do {
    const size_t depth = at_most(DEPTH, whole_depth - from), rows = last - first;
    const Matrix left = {a.at + from * a.stride + first, a.stride};
    for (size_t r = 0; r + ROWS <= rows; r += ROWS)
      for (size_t k = 0; k < depth; k++) memcpy(panels + r * depth + k * ROWS, left.at + k * a.stride + r, ROWS * sizeof(float));
    Matrix right = {b.at + from * b.stride, b.stride};
    Result to = {y + first * n, n, from == 0, from + depth == whole_depth, alpha};
    size_t j = 0;
    for (; j + COLUMN_VECTORS * LANES <= n; j += COLUMN_VECTORS * LANES, right.at += COLUMN_VECTORS * LANES, to.at += COLUMN_VECTORS * LANES) add_columns(panels, left, right, to, rows, depth, COLUMN_VECTORS, LANES);
    for (; j + LANES <= n; j += LANES, right.at += LANES, to.at += LANES) add_columns(panels, left, right, to, rows, depth, 1, LANES);
    if (j < n) add_columns(panels, left, right, to, rows, depth, 1, (int)(n - j));
    from += DEPTH;
  } while (from < whole_depth);
}

#ifdef WIDE
#define PRODUCT wide_transposed_product
#else
#define PRODUCT narrow_transposed_product
#endif
void PRODUCT(Matrix a, Matrix b, float *y, size_t n, size_t depth, float alpha, size_t first, size_t last) { transposed_product(a, b, y, n, depth, alpha, first, last); }
