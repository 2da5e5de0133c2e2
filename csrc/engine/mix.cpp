#include "engine/mix.h"

#include "ops/calls.h"

namespace kcircuits::engine {

at::Tensor mix(const at::Tensor& senders, const at::Tensor& mask,
               const std::optional<at::Tensor>& constant, const Norm* norm) {
  if (norm == nullptr) return edge_mix(senders, mask, {}, constant, "none", {}, {}, 0.0);
  return edge_mix(senders, mask, {}, constant, norm->rms ? "rmsnorm" : "layernorm", norm->weight,
                  norm->bias, norm->eps);
}

}  // namespace kcircuits::engine
