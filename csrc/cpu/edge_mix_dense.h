// edge_mix as a matrix product: mask rows times senders, for masks that leave little to skip and
// little to share.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ops/edge_mix.h"

namespace kcircuits::cpu {

// Whether the product takes less time than a plan of so many terms (cpu/mix_plan.h).
bool dense_is_faster(const EdgeMixProblem& problem, int64_t terms);

// Fills out [R, M * P, T, D]. A sender that no row of a hypothesis' mask uses is not read.
void edge_mix_dense(const EdgeMixProblem& problem, const at::Tensor& out);

}  // namespace kcircuits::cpu
