#include "engine/read_vocabulary.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "cpu/vocab_readout.h"
#include "engine/work.h"
#include "profile.h"

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

// On other devices than the CPU.
Readout by_parts(const at::Tensor& rows, const Weight& unembedding,
                 const std::optional<at::Tensor>& targets, const std::optional<at::Tensor>& bias,
                 double soft_cap) {
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

// On the CPU, which makes words as it reads them.
Readout at_once(const at::Tensor& rows, const Weight& unembedding,
                const std::optional<at::Tensor>& targets, const std::optional<at::Tensor>& bias,
                double soft_cap) {
  const at::ScalarType dtype = rows.scalar_type();
  const auto dense = [dtype](const std::optional<at::Tensor>& tensor) {
    return tensor ? tensor->to(dtype).contiguous() : at::Tensor();
  };
  const VocabReadoutProblem problem = {
      .rows = rows.size(0),
      .vocabulary = unembedding.size(0),
      .width = rows.size(1),
      .targets_per_row = targets ? 1 : 0,
      .topk = 0,
      .rank_range = false,
      .soft_cap = soft_cap,
      .norm = NormKind::kNone,
      .eps = 0,
      .accumulate = dtype,
      .hidden = rows.contiguous(),
      .unembedding = unembedding,
      .targets = targets ? targets->contiguous() : at::Tensor(),
      .bias = dense(bias),
      .weight = {},
      .norm_bias = {},
      .scale = {},
  };
  const auto empty = [&](int64_t columns, at::ScalarType type) {
    return at::empty({rows.size(0), columns}, rows.options().dtype(type));
  };
  const VocabReadout out = {empty(problem.targets_per_row, dtype),
                            empty(problem.targets_per_row, at::kLong),
                            at::empty({rows.size(0)}, rows.options().dtype(at::kDouble)),
                            empty(0, dtype), empty(0, at::kLong)};
  cpu::read_vocabulary(problem, out);
  return {std::get<2>(out), targets ? std::get<0>(out).squeeze(1) : at::Tensor()};
}

}  // namespace

Readout read_vocabulary(const at::Tensor& rows, const Weight& unembedding,
                        const std::optional<at::Tensor>& targets,
                        const std::optional<at::Tensor>& bias, double soft_cap) {
  const profile::Scope scope(profile::Op::kProducts);
  add_product(rows, unembedding);
  if (unembedding.values())
    return vocab_readout(rows, *unembedding.values(), targets, bias, soft_cap);
  return rows.device().is_cpu() ? at_once(rows, unembedding, targets, bias, soft_cap)
                                : by_parts(rows, unembedding, targets, bias, soft_cap);
}

}  // namespace kcircuits::engine
