// What the present edges contribute to the metric to first order, (a − ã) · gradient, added up over
// sweeps.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "engine/session.h"
#include "engine/sweep.h"

namespace kcircuits::engine {

// Where the senders are in memory, gradients meet them as they come. Where they are brought or
// computed layer by layer, the gradients of some layers' receivers wait for one another, summed
// over runs, and then one pass over the senders before them serves all.
class Contributions {
 public:
  // layers_together: how many layers' gradients wait; 0: none. fix_attention, memory:
  // engine/attention_fix.h.
  Contributions(const Session& session, int64_t layers_together, bool fix_attention,
                int64_t memory);

  // whole: whether what reads nothing but `input` counts: the first layer's queries, keys and
  // values, and its MLP where that is beside the attention.
  GradientUse use(bool whole = true);

  // What ablating the edges does, [S, R], averaged over `runs`.
  at::Tensor scores(int64_t runs);

 private:
  void add(int64_t first, at::Tensor gradients);
  void wait(int64_t first, const at::Tensor& gradients);
  void use_waiting();
  void meet_senders(int64_t first, const at::Tensor& gradients) const;

  const Session& session_;
  bool fix_attention_;
  int64_t memory_;
  at::Tensor sums_;              // [S, R]
  at::Tensor waiting_;           // [receivers from begin_ to end_, P, D], where they wait
  int64_t begin_ = 0, end_ = 0;  // none are waiting where the two are the same
};

}  // namespace kcircuits::engine
