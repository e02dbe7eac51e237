#pragma once
#include "blocks.h"
#include <pthread.h>

// A matrix as MatMulNBits takes it: element = (q - 2^(bits - 1)) * scale + offset, with those of its block.
typedef struct {
  const uint8_t *blocks; // [rows, columns * bits / 8]; of 4 bits, the first of each pair is in the low half
  const float *scales;   // [rows, columns / block_size]
  const float *offsets;  // the same, or NULL
  size_t rows, columns, block_size, bits;
} Blocks;

typedef struct Packed {
  Blocks from;
  Layout layout;
  size_t groups, tiles; // of 16 rows; of a group
  uint8_t *bytes;
  int filled;
  pthread_mutex_t filling;
  size_t users;
  int kept; // until the memory that it stands for is given back: its values lie nowhere else
  struct Packed *next;
} Packed;

// The tiles of a matrix whose memory lasts and does not change while they are used; not filled where nobody has used them yet.
// NULL where memory is short.
Packed *packed_of(const Blocks *from);
void release_packed(Packed *packed);

// Fills the tiles of 16 rows from a matrix of the same shape.
void pack_group(const Packed *packed, const Blocks *values, size_t group);

// Whether a matrix has a layout in tiles.
int fits_tiles(const Blocks *b);
// The tiles of a matrix whose values are elsewhere, for as long as its memory is not given back. 0 where memory is short.
int keep_packed(const Blocks *from, const Blocks *values);
void forget_packed(const uint8_t *bytes, size_t size);
