// Logits' log-sum-exp and those of targets, whatever the vocabulary is kept in.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "ops/calls.h"
#include "weight.h"

namespace kcircuits::engine {

// As vocab_readout (ops/calls.h). A vocabulary of codes is widened part by part.
Readout read_vocabulary(const at::Tensor& rows, const Weight& unembedding,
                        const std::optional<at::Tensor>& targets,
                        const std::optional<at::Tensor>& bias, double soft_cap);

}  // namespace kcircuits::engine
