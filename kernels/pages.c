// Memory for tiles, in large pieces that many matrices share: so the system can hand it out and look it up in large pages.
#include "pages.h"
#include "pack.h"
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LARGE_PAGE = 1 << 21, PIECE = 1 << 25, ALIGNMENT = 64 };

typedef struct Piece {
  uint8_t *bytes;
  size_t size, taken, users;
  struct Piece *next;
} Piece;

static Piece *pieces = NULL;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static Piece *new_piece(size_t size) {
  Piece *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->size = up_to(LARGE_PAGE, size);
  // One large page more than is used: the piece begins at the first whole one.
  uint8_t *all = mmap(NULL, p->size + LARGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  if (all == MAP_FAILED) {
    free(p);
    return NULL;
  }
  p->bytes = (uint8_t *)up_to(LARGE_PAGE, (size_t)all);
  if (p->bytes > all) munmap(all, (size_t)(p->bytes - all));
  munmap(p->bytes + p->size, LARGE_PAGE - (size_t)(p->bytes - all));
#ifdef MADV_HUGEPAGE
  madvise(p->bytes, p->size, MADV_HUGEPAGE); // a wish: without it all works as well
#endif
  p->next = pieces;
  return pieces = p;
}

uint8_t *take_pages(size_t bytes) {
  pthread_mutex_lock(&lock);
  Piece *p = pieces;
  while (p && p->size - p->taken < bytes) p = p->next;
  if (!p) p = new_piece(bytes > PIECE ? bytes : PIECE);
  uint8_t *taken = NULL;
  if (p) {
    taken = p->bytes + p->taken;
    p->users++;
    p->taken = p->size - p->taken < up_to(ALIGNMENT, bytes) ? p->size : p->taken + up_to(ALIGNMENT, bytes);
  }
  pthread_mutex_unlock(&lock);
  return taken;
}

void give_back_pages(uint8_t *taken) {
  pthread_mutex_lock(&lock);
  Piece **at = &pieces;
  while (taken < (*at)->bytes || taken >= (*at)->bytes + (*at)->size) at = &(*at)->next;
  Piece *p = *at;
  if (--p->users == 0) {
    *at = p->next;
    munmap(p->bytes, p->size);
    free(p);
  }
  pthread_mutex_unlock(&lock);
}

// What JavaScript holds is advised upon by whole pages inside it.
static void advise(uint8_t *bytes, size_t size, size_t page, int advice) {
  uint8_t *first = (uint8_t *)up_to(page, (size_t)bytes), *end = (uint8_t *)((size_t)(bytes + size) / page * page);
  if (end > first) madvise(first, (size_t)(end - first), advice);
}

void longjing_wish_large_pages(uint8_t *bytes, size_t size) {
#ifdef MADV_HUGEPAGE
  advise(bytes, size, LARGE_PAGE, MADV_HUGEPAGE);
#endif
}

// Nobody will read what is there, or what it stands for.
void longjing_give_back(uint8_t *bytes, size_t size) {
  forget_packed(bytes, size);
  advise(bytes, size, (size_t)sysconf(_SC_PAGESIZE), MADV_DONTNEED);
}
