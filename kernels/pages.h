#pragma once
#include <stddef.h>
#include <stdint.h>

// Zeroed memory at a multiple of 64; NULL where there is none. A piece goes back to the system with the last of those that share it.
uint8_t *take_pages(size_t bytes);
void give_back_pages(uint8_t *taken);
