#include "engine/read_vocabulary.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace kcircuits::engine {
namespace {

constexpr int64_t kPartBytes = 4 << 20;  // of widened words: they are read again from the cache

// Two halves of a vocabulary as one. Targets [N] are words of the second half from `first` on.
Readout united(const Readout& before, const Readout& part, const std::optional<at::Tensor>& targets,
               int64_t first) {
  return {at::logaddexp(before.log_sum_exp, part.log_sum_exp),
          targets ? at::where(*targets >= first, part.target_logits, before.target_logits)
                  : at::Tensor()};
}

}  // namespace

Readout read_vocabulary(const at::Tensor& rows, const Weight& unembedding,
                        const std::optional<at::Tensor>& targets,
                        const std::optional<at::Tensor>& bias, double soft_cap) {
  if (unembedding.values())
    return vocab_readout(rows, *unembedding.values(), targets, bias, soft_cap);
  const int64_t words = unembedding.size(0);
  const auto word_bytes = static_cast<int64_t>(sizeof(float)) * unembedding.size(1);
  const int64_t step = std::max<int64_t>(1, kPartBytes / word_bytes);
  std::optional<Readout> all;
  for (int64_t first = 0; first < words; first += step) {
    const int64_t end = std::min(first + step, words);
    const auto ids =
        targets ? std::optional((*targets - first).clamp(0, end - first - 1)) : std::nullopt;
    const Readout part = vocab_readout(
        rows, unembedding.slice(0, first, end).widened(rows.scalar_type()), ids,
        bias ? std::optional(bias->slice(0, first, end).to(rows.scalar_type())) : std::nullopt,
        soft_cap);
    all = all ? united(*all, part, targets, first) : part;
  }
  return *all;
}

}  // namespace kcircuits::engine
