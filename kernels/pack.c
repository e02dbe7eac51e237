// Matrices in tiles, made from the layout of ONNX Runtime's MatMulNBits, and shared by all that multiply by the same memory.
#include "pack.h"
#include "pages.h"
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

// Of eight blocks, from their scales and offsets.
static __m256 minima(__m256 scales, __m256 offsets, size_t bits) { return _mm256_sub_ps(offsets, _mm256_mul_ps(_mm256_set1_ps((float)(1 << (bits - 1))), scales)); }

// Whether 16 bits hold each of eight numbers.
static int are_halves(__m256 v) {
  const __m256 back = _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  return _mm256_movemask_epi8(_mm256_cmpeq_epi32(_mm256_castps_si256(v), _mm256_castps_si256(back))) == -1;
}

int fits_half(const Blocks *b) {
  const size_t count = b->rows * (b->columns / b->block_size);
  for (size_t i = 0; i < count; i += 8) {
    float scales[8] = {0}, offsets[8] = {0};
    memcpy(scales, b->scales + i, at_most(8, count - i) * sizeof(float));
    if (b->offsets) memcpy(offsets, b->offsets + i, at_most(8, count - i) * sizeof(float));
    const __m256 scale = _mm256_loadu_ps(scales);
    if (!are_halves(scale) || (b->offsets && !are_halves(minima(scale, _mm256_loadu_ps(offsets), b->bits)))) return 0;
  }
  return 1;
}

// Of the rows of a tile, two vectors of them.
static void write_numbers(uint8_t *to, const __m256 v[2], int half) {
  for (int i = 0; i < 2; i++) {
    if (half) _mm_storeu_si128((__m128i *)to + i, _mm256_cvtps_ph(v[i], _MM_FROUND_TO_NEAREST_INT));
    else _mm256_storeu_ps((float *)to + 8 * i, v[i]);
  }
}

// Four elements a word: the first 16 of a row of 4 bits, with the other 16 in the high halves.
static __m128i halves_of(const uint8_t *pairs) {
  const __m128i x = _mm_loadu_si128((const __m128i *)pairs), low = _mm_set1_epi8(15);
  const __m128i even = _mm_and_si128(x, low), odd = _mm_and_si128(_mm_srli_epi16(x, 4), low);
  return _mm_or_si128(_mm_unpacklo_epi8(even, odd), _mm_slli_epi16(_mm_unpackhi_epi8(even, odd), 4));
}

// Words of four rows, side by side in vectors 64 bytes apart.
static void write_words(const __m128i rows[4], uint8_t *lanes) {
  const __m128i a = _mm_unpacklo_epi32(rows[0], rows[1]), b = _mm_unpacklo_epi32(rows[2], rows[3]), c = _mm_unpackhi_epi32(rows[0], rows[1]), d = _mm_unpackhi_epi32(rows[2], rows[3]);
  const __m128i words[4] = {_mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b), _mm_unpacklo_epi64(c, d), _mm_unpackhi_epi64(c, d)};
  for (int v = 0; v < 4; v++) _mm_storeu_si128((__m128i *)(lanes + 64 * v), words[v]);
}

// Four columns of a row are a lane of vector column / 4; of 4 bits, the later four vectors are the high halves of the first four.
// `count` rows, four at most; the lanes of the others become zero.
static void write_elements(const uint8_t *from, size_t stride, size_t count, int bits, uint8_t *lanes) {
  for (int part = 0; part < bits / 4; part++) {
    __m128i rows[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
    for (size_t r = 0; r < count; r++) rows[r] = bits == 4 ? halves_of(from + r * stride) : _mm_loadu_si128((const __m128i *)(from + r * stride + 16 * part));
    write_words(rows, lanes + 256 * part);
  }
}

void pack_group(const Packed *packed, const Blocks *b, size_t group) {
  const Layout l = packed->layout;
  const size_t blocks = b->columns / b->block_size, numbers = TILE_ROWS * number_bytes(l), bytes = TILE_COLUMNS * b->bits / 8;
  const size_t first = group * TILE_ROWS, rows = at_most(TILE_ROWS, b->rows - first);
  uint8_t *to = packed->bytes + group * packed->tiles * tile_bytes(l);
  for (size_t t = 0; t < packed->tiles; t++, to += tile_bytes(l)) {
    uint8_t *least = to + l.parts * numbers, *elements = least + l.minima * l.parts * numbers;
    for (int p = 0; p < l.parts; p++) {
      float scales[TILE_ROWS] = {0}, offsets[TILE_ROWS] = {0};
      for (size_t r = 0; r < rows; r++) {
        const size_t i = (first + r) * blocks + (t * TILE_COLUMNS + (size_t)p * TILE_COLUMNS / l.parts) / b->block_size;
        scales[r] = b->scales[i];
        if (l.minima) offsets[r] = b->offsets[i];
      }
      const __m256 scale[2] = {_mm256_loadu_ps(scales), _mm256_loadu_ps(scales + 8)};
      write_numbers(to + p * numbers, scale, l.half);
      if (l.minima) write_numbers(least + p * numbers, (__m256[2]){minima(scale[0], _mm256_loadu_ps(offsets), b->bits), minima(scale[1], _mm256_loadu_ps(offsets + 8), b->bits)}, l.half);
    }
    for (size_t r = 0; r < rows; r += 4) write_elements(b->blocks + ((first + r) * packed->tiles + t) * bytes, packed->tiles * bytes, at_most(4, rows - r), (int)b->bits, elements + 4 * r);
  }
}

// What is left of a minimum when a block has been regrouped (regroup_q4_1) and packed.
static __m256 regrouped_minimum(__m256 scale, __m256 least) { return minima(scale, _mm256_add_ps(least, _mm256_mul_ps(_mm256_set1_ps(8), scale)), 4); }

static __m256 halves_at(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }

int file_fits_half(const FileRows *values, size_t rows, size_t blocks) {
  for (size_t row = 0; row < rows; row++)
    for (size_t first = 0; first < blocks; first += 8) {
      uint16_t scales[8] = {0}, least[8] = {0};
      for (size_t i = 0; i < at_most(8, blocks - first); i++) {
        const uint8_t *block = values->rows[row] + (first + i) * values->block_bytes;
        memcpy(scales + i, block, 2);
        memcpy(least + i, block + 2, 2);
      }
      if (!are_halves(regrouped_minimum(halves_at(scales), halves_at(least)))) return 0;
    }
  return 1;
}

void pack_file_group(const Packed *packed, const FileRows *values, size_t group) {
  const Layout l = packed->layout;
  const size_t first = group * TILE_ROWS, rows = at_most(TILE_ROWS, packed->from.rows - first);
  uint8_t *to = packed->bytes + group * packed->tiles * tile_bytes(l);
  for (size_t t = 0; t < packed->tiles; t++, to += tile_bytes(l)) {
    const uint8_t *blocks[TILE_ROWS];
    uint16_t scales[TILE_ROWS] = {0}, least[TILE_ROWS] = {0};
    for (size_t r = 0; r < rows; r++) {
      blocks[r] = values->rows[r] + t * values->block_bytes;
      memcpy(scales + r, blocks[r], 2);
      if (l.minima) memcpy(least + r, blocks[r] + 2, 2);
    }
    const __m256 scale[2] = {halves_at(scales), halves_at(scales + 8)};
    write_numbers(to, scale, 1);
    if (l.minima) write_numbers(to + 2 * TILE_ROWS, (__m256[2]){regrouped_minimum(scale[0], halves_at(least)), regrouped_minimum(scale[1], halves_at(least + 8))}, 1);
    uint8_t *elements = to + (1 + l.minima) * TILE_ROWS * 2;
    for (int part = 0; part < l.bits / 4; part++)
      for (size_t r = 0; r < rows; r += 4) {
        __m128i four[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
        for (size_t i = 0; i < at_most(4, rows - r); i++) four[i] = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(blocks[r + i] + values->elements + 16 * part)), _mm_set1_epi8((char)values->flipped));
        write_words(four, elements + 256 * part + 4 * r);
      }
  }
}

static Packed *all = NULL;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int fits_tiles(const Blocks *b) {
  return b->columns > 0 && b->columns % TILE_COLUMNS == 0 && (b->block_size == 16 || (b->block_size > 0 && b->block_size % TILE_COLUMNS == 0)) && b->columns % b->block_size == 0 && (b->bits == 4 || b->bits == 8);
}

static Packed *new_packed(const Blocks *b, int half) {
  Packed *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->from = *b;
  p->layout = (Layout){.bits = (int)b->bits, .parts = b->block_size < TILE_COLUMNS ? 2 : 1, .minima = b->offsets != NULL, .half = half};
  p->tiles = b->columns / TILE_COLUMNS;
  p->groups = parts_of(TILE_ROWS, b->rows);
  p->bytes = take_pages(p->groups * p->tiles * tile_bytes(p->layout)); // rows that the last group lacks stay zero
  if (p->bytes && pthread_mutex_init(&p->filling, NULL) == 0) return p;
  if (p->bytes) give_back_pages(p->bytes);
  free(p);
  return NULL;
}

// Of values that are looked through first where `half` is negative.
static Packed *packed_with(const Blocks *from, int half) {
  pthread_mutex_lock(&lock);
  Packed *p = all;
  while (p && memcmp(&p->from, from, sizeof *from) != 0) p = p->next;
  if (!p && (p = new_packed(from, half < 0 ? fits_half(from) : half))) {
    p->next = all;
    all = p;
  }
  if (p) p->users++;
  pthread_mutex_unlock(&lock);
  return p;
}

Packed *packed_of(const Blocks *from) { return packed_with(from, -1); }

static void release_locked(Packed *p) {
  if (--p->users > 0) return;
  Packed **at = &all;
  while (*at != p) at = &(*at)->next;
  *at = p->next;
  pthread_mutex_destroy(&p->filling);
  give_back_pages(p->bytes);
  free(p);
}

void release_packed(Packed *p) {
  pthread_mutex_lock(&lock);
  release_locked(p);
  pthread_mutex_unlock(&lock);
}

int keep_packed(const Blocks *from, int half, int (*pack)(const Packed *packed, void *values, size_t group), void *values) {
  Packed *p = packed_with(from, half);
  if (!p) return 0;
  int well = 1;
  pthread_mutex_lock(&p->filling);
  for (size_t group = 0; group < p->groups && !p->filled && well; group++) well = pack(p, values, group);
  p->filled |= well;
  pthread_mutex_unlock(&p->filling);
  pthread_mutex_lock(&lock);
  if (p->kept || !well) release_locked(p);
  else p->kept = 1;
  pthread_mutex_unlock(&lock);
  return well;
}

void forget_packed(const uint8_t *bytes, size_t size) {
  pthread_mutex_lock(&lock);
  for (Packed *p = all, *next; p; p = next) {
    next = p->next;
    if (!p->kept || p->from.blocks < bytes || p->from.blocks >= bytes + size) continue;
    p->kept = 0;
    release_locked(p);
  }
  pthread_mutex_unlock(&lock);
}
