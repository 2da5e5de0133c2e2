#include "engine/norm.h"

#include <ATen/ATen.h>

namespace kcircuits::engine {
namespace {

// A stream [..., D] without what its norm takes away, and 1 / its deviation.
struct Normed {
  at::Tensor centred, scale;
};

Normed take_norm(const at::Tensor& x, const Norm& norm) {
  const at::Tensor centred = norm.kind == NormKind::kRmsNorm ? x : x - x.mean(-1, /*keepdim=*/true);
  return {centred, at::rsqrt(centred.square().mean(-1, /*keepdim=*/true) + norm.eps)};
}

}  // namespace

at::Tensor apply_norm(const at::Tensor& x, const Norm& norm, Rule rule) {
  if (norm.kind == NormKind::kNone) return x;
  const Normed normed = take_norm(x, norm);
  at::Tensor out =
      normed.centred * (rule == Rule::kRelevance ? normed.scale.detach() : normed.scale);
  if (norm.weight) out = out * *norm.weight;
  if (norm.bias) out = out + *norm.bias;
  return out;
}

at::Tensor norm_gradient(const at::Tensor& at_normed, const at::Tensor& x, const Norm& norm,
                         Rule rule) {
  if (norm.kind == NormKind::kNone) return at_normed.clone();
  const Normed normed = take_norm(x, norm);
  at::Tensor out = norm.weight ? at_normed * *norm.weight : at_normed.clone();
  if (rule == Rule::kGradient) {
    const at::Tensor direction = normed.centred * normed.scale;
    out.sub_(direction * (out * direction).mean(-1, /*keepdim=*/true));
  }
  if (norm.kind == NormKind::kLayerNorm) out.sub_(out.mean(-1, /*keepdim=*/true));
  return out.mul_(normed.scale);
}

std::vector<at::Tensor> normed_shares(const std::vector<at::Tensor>& parts, const Norm& norm) {
  at::Tensor sum = parts.at(0);
  for (size_t i = 1; i < parts.size(); ++i) sum = sum + parts[i];
  at::Tensor factor = take_norm(sum, norm).scale;
  if (norm.weight) factor = factor * *norm.weight;
  std::vector<at::Tensor> shares;
  for (const at::Tensor& part : parts) shares.push_back(part * factor);
  return shares;
}

}  // namespace kcircuits::engine
