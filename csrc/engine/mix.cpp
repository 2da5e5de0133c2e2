#include "engine/mix.h"

#include "ops/calls.h"
#include "profile.h"

namespace kcircuits::engine {

at::Tensor mix(const at::Tensor& senders, const at::Tensor& mask,
               const std::optional<at::Tensor>& constant, const Norm* norm) {
  const profile::Scope scope(profile::Op::kEdgeMix);
  if (norm == nullptr) return edge_mix(senders, mask, {}, constant, "none", {}, {}, 0.0);
  const char* const names[] = {"none", "layernorm", "rmsnorm"};
  return edge_mix(senders, mask, {}, constant, names[static_cast<int32_t>(norm->kind)],
                  norm->weight, norm->bias, norm->eps);
}

}  // namespace kcircuits::engine
