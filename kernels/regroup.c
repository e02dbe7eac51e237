// Blocks of a GGUF file as blocks of MatMulNBits: what src/weights/quantized-blocks.ts does in plain loops, bit for bit.
#include "pack.h"
#include <errno.h>
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
  uint8_t *blocks;
  float *scales, *offsets;
} Parts;

static float half_at(const uint8_t *p) {
  uint16_t h;
  memcpy(&h, p, 2);
  return _cvtsh_ss(h);
}

// ggml keeps element j beside element j + 16, kernels element 2j beside 2j + 1.
static void pair_up(const uint8_t *from, uint8_t *to) {
  const __m128i bytes = _mm_loadu_si128((const __m128i *)from), low = _mm_set1_epi8(15), weights = _mm_set1_epi16(0x1001);
  const __m128i first = _mm_maddubs_epi16(_mm_and_si128(bytes, low), weights), second = _mm_maddubs_epi16(_mm_and_si128(_mm_srli_epi16(bytes, 4), low), weights);
  _mm_storeu_si128((__m128i *)to, _mm_packus_epi16(first, second));
}

static void regroup_q4_0(const uint8_t *from, Parts to, size_t count) {
  for (size_t b = 0; b < count; b++, from += 18) {
    to.scales[b] = half_at(from);
    pair_up(from + 2, to.blocks + 16 * b);
  }
}

static void regroup_q4_1(const uint8_t *from, Parts to, size_t count) {
  for (size_t b = 0; b < count; b++, from += 20) {
    const double scale = half_at(from), least = half_at(from + 2);
    to.scales[b] = (float)scale;
    to.offsets[b] = (float)(least + 8 * scale);
    pair_up(from + 4, to.blocks + 16 * b);
  }
}

static void regroup_q8_0(const uint8_t *from, Parts to, size_t count) {
  for (size_t b = 0; b < count; b++, from += 34) {
    to.scales[b] = half_at(from);
    for (int i = 0; i < 32; i++) to.blocks[32 * b + i] = from[2 + i] ^ 0x80;
  }
}

static int group_scale(const uint8_t *s, int group) { return group < 4 ? s[group] & 63 : (s[group + 4] & 15) | (s[group - 4] >> 6) << 4; }
static int group_min(const uint8_t *s, int group) { return group < 4 ? s[group + 4] & 63 : s[group + 4] >> 4 | (s[group] >> 6) << 4; }

static void regroup_q4_k(const uint8_t *from, Parts to, size_t count) {
  for (size_t b = 0; b < count; b += 8, from += 144) {
    const double scale = half_at(from), min = half_at(from + 2);
    for (int group = 0; group < 8; group++) {
      const double step = scale * group_scale(from + 4, group);
      to.scales[b + group] = (float)step;
      to.offsets[b + group] = (float)(8 * step - min * group_min(from + 4, group));
      const uint8_t *bits = from + 16 + (group >> 1) * 32;
      const int shift = (group & 1) * 4;
      for (int j = 0; j < 16; j++) to.blocks[(b + group) * 16 + j] = (uint8_t)((bits[2 * j] >> shift & 15) | (bits[2 * j + 1] >> shift & 15) << 4);
    }
  }
}

static void regroup_q6_k(const uint8_t *from, Parts to, size_t count) {
  for (size_t b = 0; b < count; b += 16, from += 210) {
    const double scale = half_at(from + 208);
    for (int group = 0; group < 16; group++) {
      to.scales[b + group] = (float)(scale * (int8_t)from[192 + group]);
      const int quarter = group >> 1 & 3;
      const uint8_t *low = from + (group >> 3) * 64 + (group & 3) * 16, *high = from + 128 + (group >> 3) * 32 + (group & 1) * 16;
      for (int j = 0; j < 16; j++) to.blocks[(b + group) * 16 + j] = (uint8_t)(((low[j] >> (quarter >> 1) * 4 & 15) | (high[j] >> quarter * 2 & 3) << 4) + 96);
    }
  }
}

typedef struct {
  const char *name;
  size_t columns, bytes, block, block_bytes; // of a block of the file; columns and bytes of a block here
  void (*regroup)(const uint8_t *from, Parts to, size_t count);
  size_t elements; // where they begin in a block of the file, if they lie there as they do in tiles
  uint8_t flipped; // bits of theirs
} Type;

static const Type types[] = {
  {"Q4_0", 32, 18, 32, 16, regroup_q4_0, 2, 0}, {"Q4_1", 32, 20, 32, 16, regroup_q4_1, 4, 0}, {"Q8_0", 32, 34, 32, 32, regroup_q8_0, 2, 0x80}, {"Q4_K", 256, 144, 32, 16, regroup_q4_k, 0, 0}, {"Q6_K", 256, 210, 16, 16, regroup_q6_k, 0, 0},
};

static const Type *type_of(const char *name) {
  for (size_t t = 0; t < sizeof types / sizeof *types; t++)
    if (strcmp(types[t].name, name) == 0) return types + t;
  return NULL;
}

// Bytes that are read at a time: few enough to stay in a processor's cache until they are used.
enum { AT_ONCE = 1 << 18 };

static int read_all(int file, uint8_t *to, size_t bytes, uint64_t offset) {
  while (bytes > 0) {
    const ssize_t n = pread(file, to, bytes, (off_t)offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return 0;
    to += n, bytes -= (size_t)n, offset += (uint64_t)n;
  }
  return 1;
}

// Rows in an open file, and where they go: the i-th to row places[i] of what begins at blocks, scales and offsets.
typedef struct {
  const char *type;
  int64_t file, offset, rows, columns;
  const int32_t *places;
  uint8_t *blocks;
  float *scales, *offsets;
  int64_t matrix; // of which only tiles are made: all its parts come one after another; negative where what is read is to stay
  int64_t done; // 0 for a type that is not among ours, and where the file cannot be read as far
} Reading;

static int read_rows(const Reading *r) {
  const Type *type = type_of(r->type);
  if (!type) return 0;
  const size_t rows = (size_t)r->rows, columns = (size_t)r->columns, count = columns / type->block, row_bytes = columns / type->columns * type->bytes;
  const size_t most = row_bytes < AT_ONCE ? AT_ONCE / row_bytes : 1;
  uint8_t *from = malloc(most * row_bytes);
  int well = from != NULL;
  for (size_t first = 0; first < rows && well; first += most) {
    const size_t some = at_most(most, rows - first);
    well = read_all((int)r->file, from, some * row_bytes, (uint64_t)r->offset + first * row_bytes);
    for (size_t row = 0; row < some && well; row++) {
      const size_t at = (size_t)r->places[first + row] * count;
      type->regroup(from + row * row_bytes, (Parts){r->blocks + at * type->block_bytes, r->scales + at, r->offsets ? r->offsets + at : NULL}, count);
    }
  }
  free(from);
  return well;
}

// Memory that one matrix after another is read into.
typedef struct {
  uint8_t *bytes;
  size_t size;
} Room;

static uint8_t *room_of(Room *room, size_t needed) {
  if (needed > room->size) {
    free(room->bytes);
    room->bytes = malloc(needed);
    room->size = room->bytes ? needed : 0;
  }
  return room->bytes;
}

// A matrix of the same shape in that memory; without blocks where there is too little.
static Blocks blocks_in(Room *room, const Blocks *b) {
  const size_t elements = b->rows * b->columns, numbers = elements / b->block_size * sizeof(float);
  uint8_t *bytes = room_of(room, (b->offsets ? 2 : 1) * numbers + elements * b->bits / 8);
  Blocks here = *b;
  here.blocks = NULL;
  if (!bytes) return here;
  here.scales = (float *)bytes;
  if (b->offsets) here.offsets = (float *)(bytes + numbers);
  here.blocks = bytes + (b->offsets ? 2 : 1) * numbers;
  return here;
}

static int pack_blocks(const Packed *packed, void *values, size_t group) {
  pack_group(packed, values, group);
  return 1;
}

// A matrix in a file whose blocks have their elements as tiles have them. Some of its rows at a time are in memory: where they lie in the file
// as in the matrix, few enough to stay in a processor's cache until they are packed.
typedef struct {
  const Reading *parts;
  size_t count, row_bytes, stride; // bytes of a row in the file and in the matrix
  const Blocks *matrix;
  size_t first, past, most; // rows in memory, which begin with a group's, and how many they may be
  const uint8_t **rows; // where each of them is
  uint8_t *bytes;
  FileRows form;
} FileMatrix;

static int in_order(const FileMatrix *m) {
  for (size_t i = 0; i < m->count; i++)
    for (size_t row = 0; row < (size_t)m->parts[i].rows; row++)
      if ((size_t)m->parts[i].places[row] != row) return 0;
  return 1;
}

// Of the rows from m->first to m->past, those of all parts that have some.
static int read_some(FileMatrix *m) {
  uint8_t *to = m->bytes;
  for (size_t i = 0; i < m->count; i++) {
    const Reading *r = m->parts + i;
    const size_t begins = (size_t)(r->blocks - m->matrix->blocks) / m->stride, ends = begins + (size_t)r->rows;
    const size_t from = m->first > begins ? m->first : begins, past = at_most(m->past, ends);
    if (from >= past) continue;
    if (!read_all((int)r->file, to, (past - from) * m->row_bytes, (uint64_t)r->offset + (from - begins) * m->row_bytes)) return 0;
    for (size_t row = from - begins; row < past - begins; row++, to += m->row_bytes) m->rows[begins + (size_t)r->places[row] - m->first] = to;
  }
  return 1;
}

static int pack_file(const Packed *packed, void *values, size_t group) {
  FileMatrix *m = values;
  const size_t first = group * TILE_ROWS, rows = at_most(TILE_ROWS, m->matrix->rows - first);
  if (first >= m->past) {
    m->first = first;
    m->past = first + at_most(m->most, m->matrix->rows - first);
    if (!read_some(m)) return 0;
  }
  m->form.rows = m->rows + (first - m->first);
  if (m->matrix->offsets && !file_fits_half(&m->form, rows, packed->tiles)) return 0;
  pack_file_group(packed, &m->form, group);
  return 1;
}

static int read_straight(const Reading *parts, size_t count, const Blocks *matrix, Room *room) {
  const Type *type = type_of(parts->type);
  if (!type || type->elements == 0) return 0;
  for (size_t i = 1; i < count; i++)
    if (strcmp(parts[i].type, type->name) != 0) return 0;
  FileMatrix m = {.parts = parts, .count = count, .row_bytes = matrix->columns / type->columns * type->bytes, .stride = matrix->columns * matrix->bits / 8, .matrix = matrix};
  m.form = (FileRows){.block_bytes = type->bytes, .elements = type->elements, .flipped = type->flipped};
  m.most = in_order(&m) ? at_most(matrix->rows, up_to(TILE_ROWS, AT_ONCE / m.row_bytes + 1)) : matrix->rows;
  uint8_t *bytes = room_of(room, m.most * (sizeof(uint8_t *) + m.row_bytes));
  if (!bytes) return 0;
  m.rows = (const uint8_t **)bytes;
  m.bytes = bytes + m.most * sizeof(uint8_t *);
  return keep_packed(matrix, 1, pack_file, &m);
}

static int read_tiles(const Reading *parts, size_t count, const Blocks *matrix, Room *room) {
  size_t rows = 0;
  for (size_t i = 0; i < count; i++) rows += (size_t)parts[i].rows;
  if (rows != matrix->rows || !fits_tiles(matrix)) return 0;
  if (read_straight(parts, count, matrix, room)) return 1;
  Blocks here = blocks_in(room, matrix);
  if (!here.blocks) return 0;
  for (size_t i = 0; i < count; i++) {
    Reading r = parts[i];
    r.blocks = (uint8_t *)here.blocks + (r.blocks - matrix->blocks);
    r.scales = (float *)here.scales + (r.scales - matrix->scales);
    if (r.offsets) r.offsets = (float *)here.offsets + (r.offsets - matrix->offsets);
    if (!read_rows(&r)) return 0;
  }
  return keep_packed(matrix, fits_half(&here), pack_blocks, &here);
}

void longjing_read_blocks(Reading *readings, size_t count, const Blocks *matrices) {
  Room room = {NULL, 0};
  for (size_t i = 0, parts; i < count; i += parts) {
    Reading *r = readings + i;
    for (parts = 1; r->matrix >= 0 && i + parts < count && r[parts].matrix == r->matrix; parts++) continue;
    const int done = r->matrix < 0 ? read_rows(r) : read_tiles(r, parts, matrices + r->matrix, &room);
    for (size_t p = 0; p < parts; p++) r[p].done = done;
  }
  free(room.bytes);
}
