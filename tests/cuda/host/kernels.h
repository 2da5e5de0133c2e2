// The launches of csrc/cuda/ for plain callers. dtype: 0 float32, 1 float64, 2 float16, 3 bfloat16.
// Sizes and pointers come in the order in which kernels.cpp reads them; a null pointer is None.
#pragma once

#include <cstdint>

extern "C" {
void emulate_edge_mix(int dtype, const int64_t* sizes, const void* const* data, double eps);
void emulate_edge_scores(int dtype, const int64_t* sizes, const void* const* data);
void emulate_vocab_readout(int dtype, const int64_t* sizes, const void* const* data,
                           double soft_cap, double eps);
void skip_barrier(const char* name);
}
