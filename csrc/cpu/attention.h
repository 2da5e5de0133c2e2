// Causal attention of one head over packed prompts, and the rotary embedding, without a call per
// step: at a few tokens and a few hypotheses, calls are what time is spent on.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace kcircuits::cpu {

// Whether the kernels below take this tensor: float32 on the CPU.
bool attends(const at::Tensor& x);

// x [B, rows, d], dense, rotated in place; cos and sin float [rows, half].
void rotate_(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

// q [B, P, d], or [B, N, d] (each prompt's last row) when last_only; k and v [B, P, d]; any B may
// be 1. Prompt n's tokens are rows starts[n] up to starts[n + 1]. -> like q, with the largest B.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const std::vector<int64_t>& starts, double scale, bool last_only);

}  // namespace kcircuits::cpu
