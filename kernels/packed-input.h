// A matrix in blocks among an operator's inputs.
#pragma once
#include "operator.h"
#include "pack.h"

// Its tiles, of the inputs blocks, scales and offsets from `first` on, into `to` where that is NULL yet. They are made at the first run: initializers
// lie where they will stay then, and all threads may take part.
Status *packed_input(Api api, void *context, size_t first, size_t columns, Packed **to);
