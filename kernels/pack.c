// Matrices in tiles, made from the layout of ONNX Runtime's MatMulNBits, and shared by all that multiply by the same memory.
#include "pack.h"
#include "pages.h"
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

static float minimum(const Blocks *b, size_t i) { return b->offsets[i] - (float)(1 << (b->bits - 1)) * b->scales[i]; }

// Whether 16 bits hold each of eight numbers.
static int are_halves(__m256 v) {
  const __m256 back = _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  return _mm256_movemask_epi8(_mm256_cmpeq_epi32(_mm256_castps_si256(v), _mm256_castps_si256(back))) == -1;
}

static int fits_half(const Blocks *b) {
  const size_t count = b->rows * (b->columns / b->block_size);
  float some[2][8];
  for (size_t i = 0; i < count; i += 8) {
    const size_t n = at_most(8, count - i);
    memset(some, 0, sizeof some);
    memcpy(some[0], b->scales + i, n * sizeof(float));
    if (b->offsets)
      for (size_t j = 0; j < n; j++) some[1][j] = minimum(b, i + j);
    if (!are_halves(_mm256_loadu_ps(some[0])) || !are_halves(_mm256_loadu_ps(some[1]))) return 0;
  }
  return 1;
}

static void write_number(uint8_t *numbers, size_t index, float v, int half) {
  const uint16_t h = _cvtss_sh(v, _MM_FROUND_TO_NEAREST_INT);
  if (half) memcpy(numbers + 2 * index, &h, 2);
  else memcpy(numbers + 4 * index, &v, 4);
}

// Four elements of 4 bits, one in each byte.
static uint32_t spread(const uint8_t *pairs) {
  uint32_t x = (uint32_t)pairs[0] | (uint32_t)pairs[1] << 8;
  x = (x | x << 8) & 0x00ff00ff;
  return (x | x << 4) & 0x0f0f0f0f;
}

// Four columns of a row are a lane of vector column / 4; of 4 bits, the later four vectors are the high halves of the first four.
static void write_elements(const uint8_t *from, int bits, uint8_t *lane) {
  if (bits == 8)
    for (int v = 0; v < 8; v++) memcpy(lane + 64 * v, from + 4 * v, 4);
  else
    for (int v = 0; v < 4; v++) {
      const uint32_t both = spread(from + 2 * v) | spread(from + 2 * (v + 4)) << 4;
      memcpy(lane + 64 * v, &both, 4);
    }
}

void pack_group(const Packed *packed, size_t group) {
  const Blocks *b = &packed->from;
  const Layout l = packed->layout;
  const size_t blocks = b->columns / b->block_size, numbers = TILE_ROWS * number_bytes(l), bytes = TILE_COLUMNS * b->bits / 8;
  const size_t first = group * TILE_ROWS, rows = at_most(TILE_ROWS, b->rows - first);
  uint8_t *to = packed->bytes + group * packed->tiles * tile_bytes(l);
  for (size_t t = 0; t < packed->tiles; t++, to += tile_bytes(l)) {
    uint8_t *minima = to + l.parts * numbers, *elements = minima + l.minima * l.parts * numbers;
    for (size_t r = 0; r < rows; r++) {
      for (int p = 0; p < l.parts; p++) {
        const size_t i = (first + r) * blocks + (t * TILE_COLUMNS + (size_t)p * TILE_COLUMNS / l.parts) / b->block_size;
        write_number(to, p * TILE_ROWS + r, b->scales[i], l.half);
        if (l.minima) write_number(minima, p * TILE_ROWS + r, minimum(b, i), l.half);
      }
      write_elements(b->blocks + ((first + r) * packed->tiles + t) * bytes, (int)b->bits, elements + 4 * r);
    }
  }
}

static Packed *all = NULL;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static Packed *new_packed(const Blocks *b) {
  Packed *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->from = *b;
  p->layout = (Layout){.bits = (int)b->bits, .parts = b->block_size < TILE_COLUMNS ? 2 : 1, .minima = b->offsets != NULL, .half = fits_half(b)};
  p->tiles = b->columns / TILE_COLUMNS;
  p->groups = (b->rows + TILE_ROWS - 1) / TILE_ROWS;
  p->bytes = take_pages(p->groups * p->tiles * tile_bytes(p->layout)); // rows that the last group lacks stay zero
  if (p->bytes && pthread_mutex_init(&p->filling, NULL) == 0) return p;
  if (p->bytes) give_back_pages(p->bytes);
  free(p);
  return NULL;
}

Packed *packed_of(const Blocks *b) {
  pthread_mutex_lock(&lock);
  Packed *p = all;
  while (p && memcmp(&p->from, b, sizeof *b) != 0) p = p->next;
  if (!p && (p = new_packed(b))) {
    p->next = all;
    all = p;
  }
  if (p) p->users++;
  pthread_mutex_unlock(&lock);
  return p;
}

void release_packed(Packed *p) {
  pthread_mutex_lock(&lock);
  if (--p->users == 0) {
    Packed **at = &all;
    while (*at != p) at = &(*at)->next;
    *at = p->next;
    pthread_mutex_destroy(&p->filling);
    give_back_pages(p->bytes);
    free(p);
  }
  pthread_mutex_unlock(&lock);
}
