#include "ops.h"

#include <ATen/ATen.h>

namespace kcircuits {
// TEMPORARY
at::Tensor edge_mix(const at::Tensor& senders, const at::Tensor& mask,
                    const std::optional<at::Tensor>& ablated, const std::optional<at::Tensor>& constant,
                    std::string_view norm, const std::optional<at::Tensor>& weight,
                    const std::optional<at::Tensor>& bias, double eps) {
  at::Tensor out;
  at::Tensor m = mask.to(senders.scalar_type());
  const at::Tensor clean = senders;
  if (senders.dim() == 5) {
    out = at::einsum("rms,smptd->rmptd", {m, clean.nan_to_num()}).flatten(1, 2);
  } else if (mask.dim() == 3) {
    out = at::einsum("rms,sptd->rmptd", {m, clean.nan_to_num()}).flatten(1, 2);
  } else {
    out = at::einsum("rs,sntd->rntd", {m, clean.nan_to_num()});
  }
  if (constant) out = out + *constant;
  if (norm == "none") return out;
  if (norm == "rmsnorm") out = out * at::rsqrt(out.square().mean(-1, true) + eps);
  else { out = out - out.mean(-1, true); out = out * at::rsqrt(out.square().mean(-1, true) + eps); }
  if (weight) out = out * *weight;
  if (bias) out = out + *bias;
  return out;
}
at::Tensor log_sum_exp(const at::Tensor& rows, const at::Tensor& unembedding,
                       const std::optional<at::Tensor>& bias) {
  return at::linear(rows, unembedding, bias.value_or(at::Tensor())).logsumexp(-1);
}
}  // namespace kcircuits
