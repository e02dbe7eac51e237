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

// Rows as a file has them, in blocks of 32 elements that lie as tiles have them: a scale of 16 bits, a minimum of 16 bits where tiles have minima,
// and the elements, which begin after so many bytes.
typedef struct {
  const uint8_t *const *rows; // those of one group
  size_t block_bytes, elements;
  uint8_t flipped; // bits of each byte
} FileRows;
void pack_file_group(const Packed *packed, const FileRows *values, size_t group);

// Whether a matrix has a layout in tiles.
int fits_tiles(const Blocks *b);
// Whether 16 bits hold its scales and minima; those of a file, of which other blocks would be made first.
int fits_half(const Blocks *b);
int file_fits_half(const FileRows *values, size_t rows, size_t blocks);
// The tiles of a matrix whose values are elsewhere, for as long as its memory is not given back. 0 where memory is short, or a group cannot be packed.
int keep_packed(const Blocks *from, int half, int (*pack)(const Packed *packed, void *values, size_t group), void *values);
void forget_packed(const uint8_t *bytes, size_t size);
