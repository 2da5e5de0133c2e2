#include "ops/calls.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include "ops/vocab_readout.h"

namespace kcircuits {

at::Tensor edge_mix(const at::Tensor& senders, const at::Tensor& mask,
                    const std::optional<at::Tensor>& ablated,
                    const std::optional<at::Tensor>& constant, std::string_view norm,
                    const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias,
                    double eps, bool unit_offset) {
  using Signature =
      at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                 const std::optional<at::Tensor>&, std::string_view,
                 const std::optional<at::Tensor>&, const std::optional<at::Tensor>&, double, bool);
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("kcircuits::edge_mix", "").typed<Signature>();
  return op.call(senders, mask, ablated, constant, norm, weight, bias, eps, unit_offset);
}

void add_edge_scores(const at::Tensor& scores, const at::Tensor& delta, const at::Tensor& grad,
                     const std::vector<int64_t>& limits) {
  using Signature = void(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                         const std::optional<at::Tensor>&, bool);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("kcircuits::edge_scores_", "")
                             .typed<Signature>();
  op.call(scores, delta.unsqueeze(1), grad.unsqueeze(1),
          at::tensor(limits, at::kLong).to(grad.device()), std::nullopt, false);
}

Readout vocab_readout(const at::Tensor& rows, const at::Tensor& unembedding,
                      const std::optional<at::Tensor>& targets,
                      const std::optional<at::Tensor>& bias, double soft_cap) {
  using Signature =
      VocabReadout(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                   const std::optional<at::Tensor>&, int64_t, double, std::string_view,
                   const std::optional<at::Tensor>&, const std::optional<at::Tensor>&, double, bool,
                   const std::optional<at::Tensor>&, bool);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("kcircuits::vocab_readout", "")
                             .typed<Signature>();
  const VocabReadout out =
      op.call(rows, unembedding, targets, bias, /*topk=*/0, soft_cap, "none", {}, {}, /*eps=*/0.0,
              /*unit_offset=*/false, {}, /*rank_range=*/false);
  return {std::get<2>(out), std::get<0>(out)};
}

}  // namespace kcircuits
