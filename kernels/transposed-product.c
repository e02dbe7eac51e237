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
enum { COLUMN_VECTORS = 2, DEPTH = 256 };

// The left operand: its columns are the tile's rows, `stride` numbers apart from one step of the depth to the next.
typedef struct {
  const float *at;
  size_t stride;
} Left;

INLINE Floats load_lanes(const float *p, int lanes) { return lanes == LANES ? load_floats(p) : load_first(p, lanes); }

// y += of one tile, or y = at the first step. Rows and vectors are known where this is inlined.
INLINE void add_tile(Left a, const float *b, float *y, size_t n, size_t depth, int first, int rows, int vectors, int lanes) {
  Floats sums[ROWS][COLUMN_VECTORS];
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++) sums[r][v] = first ? every(0) : load_lanes(y + (size_t)r * n + v * LANES, lanes);
  for (size_t k = 0; k < depth; k++) {
    Floats right[COLUMN_VECTORS];
    for (int v = 0; v < vectors; v++) right[v] = load_lanes(b + k * n + v * LANES, lanes);
    for (int r = 0; r < rows; r++) {
      const Floats left = every(a.at[k * a.stride + r]);
      for (int v = 0; v < vectors; v++) sums[r][v] = times_plus(left, right[v], sums[r][v]);
    }
  }
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++) store(y + (size_t)r * n + v * LANES, sums[r][v], lanes);
}

// Some columns of a task's rows: whole tiles from what has been put side by side, the rows that are left one by one.
INLINE void add_columns(const float *panels, Left a, const float *b, float *y, size_t rows, size_t n, size_t depth, int first, int vectors, int lanes) {
  size_t r = 0;
  for (; r + ROWS <= rows; r += ROWS) add_tile((Left){panels + r * depth, ROWS}, b, y + r * n, n, depth, first, ROWS, vectors, lanes);
  for (; r < rows; r++) add_tile((Left){a.at + r, a.stride}, b, y + r * n, n, depth, first, 1, vectors, lanes);
}

static void transposed_product(const float *a, const float *b, float *y, size_t m, size_t n, size_t whole_depth, size_t first, size_t last) {
  float panels[TASK_ROWS * DEPTH];
  size_t from = 0;
  do {
    const size_t depth = at_most(DEPTH, whole_depth - from), rows = last - first;
    const Left left = {a + from * m + first, m};
    for (size_t r = 0; r + ROWS <= rows; r += ROWS)
      for (size_t k = 0; k < depth; k++) memcpy(panels + r * depth + k * ROWS, left.at + k * m + r, ROWS * sizeof(float));
    const float *right = b + from * n;
    float *to = y + first * n;
    size_t j = 0;
    for (; j + COLUMN_VECTORS * LANES <= n; j += COLUMN_VECTORS * LANES) add_columns(panels, left, right + j, to + j, rows, n, depth, from == 0, COLUMN_VECTORS, LANES);
    for (; j + LANES <= n; j += LANES) add_columns(panels, left, right + j, to + j, rows, n, depth, from == 0, 1, LANES);
    if (j < n) add_columns(panels, left, right + j, to + j, rows, n, depth, from == 0, 1, (int)(n - j));
    from += DEPTH;
  } while (from < whole_depth);
}

#ifdef WIDE
void wide_transposed_product(const float *a, const float *b, float *y, size_t m, size_t n, size_t depth, size_t first, size_t last) { transposed_product(a, b, y, m, n, depth, first, last); }
#else
void narrow_transposed_product(const float *a, const float *b, float *y, size_t m, size_t n, size_t depth, size_t first, size_t last) { transposed_product(a, b, y, m, n, depth, first, last); }
#endif
