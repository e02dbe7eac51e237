// Products with a matrix in blocks: what the parts of this folder share.
#pragma once
#include <stddef.h>
#include <stdint.h>

static inline size_t at_most(size_t most, size_t n) { return n < most ? n : most; }
// Parts of that size which n takes, and all that they hold.
static inline size_t parts_of(size_t size, size_t n) { return (n + size - 1) / size; }
static inline size_t up_to(size_t multiple, size_t n) { return parts_of(multiple, n) * multiple; }

// A matrix is kept in tiles of 16 rows by 32 columns, row group by row group: one load fills the lanes of a vector with the same
// columns of 16 rows, so that their sums need no adding across lanes.
enum { TILE_ROWS = 16, TILE_COLUMNS = 32 };

// How the tiles of one matrix are made up: scales, minima, then the elements, each row's beside the next row's.
typedef struct {
  int bits;   // 4 or 8
  int parts;  // scales of a row of a tile: 1, or 2 where a block is 16 columns
  int minima; // whether an element is q * scale + minimum; otherwise (q - 2^(bits - 1)) * scale
  int half;   // whether scales and minima are of 16 bits: kept so where that loses nothing
} Layout;

static inline size_t number_bytes(Layout l) { return l.half ? 2 : 4; }
static inline size_t element_bytes(Layout l) { return TILE_ROWS * TILE_COLUMNS * l.bits / 8; }
static inline size_t tile_bytes(Layout l) { return TILE_ROWS * l.parts * (1 + l.minima) * number_bytes(l) + element_bytes(l); }

// 32 columns of a row of the other operand, rounded to 8 bits: x = scale * q.
typedef struct {
  float scale;
  int32_t sums[2]; // of q, of either half
  int32_t unused;  // fills up to three times 16 bytes
  union {
    int8_t q[TILE_COLUMNS];
    int32_t fours[TILE_COLUMNS / 4];
  };
} Rounded;

// Built for two sets of instructions, which give the same bits. So does a row whatever rows are beside it: each is summed in the order
// of its columns.
typedef struct {
  void (*round)(const float *x, size_t tiles, Rounded *to);
  // rows x of `tiles` tiles each, times one group of rows of the matrix, into y[row * stride + lane] of the lanes below `lanes`.
  void (*multiply)(Layout layout, const uint8_t *matrix, size_t tiles, const Rounded *x, size_t rows, float *y, size_t stride, int lanes);
  // y = silu(y) * up, with up[row * TILE_ROWS + lane].
  void (*gate)(float *y, size_t stride, const float *up, size_t rows, int lanes);
} Products;

extern const Products wide_products, narrow_products;
