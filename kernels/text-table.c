// A table of texts, filled as src/text/text-table.ts fills it: there every loop runs once, and so in V8's interpreter.
#include <stdint.h>
#include <string.h>

// Slots that may be taken in a row, as there.
enum { MOST_TAKEN = 1 << 10, SPACE = ' ' };

// The slot of a text, or the free one where it would be; `mask` where neither is near, plus one.
static size_t find_slot(const uint8_t *bytes, const uint32_t *places, const int32_t *slots, size_t mask, uint32_t start, uint32_t end) {
  uint32_t hash = 0x811c9dc5;
  for (uint32_t at = start; at < end; at++) hash = (hash ^ bytes[at]) * 0x01000193;
  hash ^= hash >> 15;
  for (size_t taken = 0; taken < MOST_TAKEN; taken++) {
    const size_t slot = (hash + taken) & mask;
    if (slots[slot] == 0) return slot;
    const uint32_t *other = places + 2 * (size_t)(slots[slot] - 1);
    if (other[1] - other[0] == end - start && !memcmp(bytes + other[0], bytes + start, end - start)) return slot;
  }
  return mask + 1;
}

// size: of `slots`, which are zero, a power of two. Returns the bytes of the longest text, or -1 where one is there twice or hard to find.
int64_t longjing_fill_text_table(const uint8_t *bytes, const uint32_t *places, size_t count, int32_t *slots, size_t size) {
  int64_t longest = 0;
  for (size_t i = 0; i < count; i++) {
    const uint32_t start = places[2 * i], end = places[2 * i + 1];
    const size_t slot = find_slot(bytes, places, slots, size - 1, start, end);
    if (slot == size || slots[slot] != 0) return -1;
    slots[slot] = (int32_t)i + 1;
    if (end - start > longest) longest = end - start;
  }
  return longest;
}

// The first text that is not two with a space between, or `count`.
size_t longjing_first_not_pair(const uint8_t *bytes, const uint32_t *places, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const uint8_t *text = bytes + places[2 * i];
    const size_t length = places[2 * i + 1] - places[2 * i];
    const uint8_t *space = length > 2 ? memchr(text + 1, SPACE, length - 2) : NULL;
    if (!space || text[0] == SPACE || text[length - 1] == SPACE || memchr(space + 1, SPACE, (size_t)(text + length - 1 - space))) return i;
  }
  return count;
}
