#include "engine/contributions.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "engine/attention_fix.h"
#include "ops/calls.h"

namespace kcircuits::engine {

Contributions::Contributions(const Session& session, int64_t layers_together, bool fix_attention,
                             int64_t memory)
    : session_(session), fix_attention_(fix_attention), memory_(memory) {
  const Graph& g = session.graph();
  const at::Tensor& input = session.senders().input_delta();
  sums_ = at::zeros({g.num_senders(), g.num_receivers()}, input.options());
  if (layers_together == 0) return;
  // The logits wait together with the last layers.
  const int64_t receivers = layers_together * g.receivers_per_layer() + 1;
  waiting_ = at::empty({receivers, input.size(0), input.size(1)}, input.options());
}

GradientUse Contributions::use(bool whole) {
  GradientUse use;
  use.receivers = [this, whole](int64_t first, const at::Tensor& gradients) {
    if (whole || session_.graph().num_senders_of(first) > 1) add(first, gradients);
  };
  if (!fix_attention_) return use;
  use.attention = [this, whole](const Attended& attended) {
    if (whole || attended.layer > 0) {
      add_attention_contributions(session_, attended, memory_, sums_);
    }
  };
  return use;
}

at::Tensor Contributions::scores(int64_t runs) {
  use_waiting();
  return sums_ / -static_cast<double>(runs);
}

void Contributions::add(int64_t first, at::Tensor gradients) {
  const Graph& g = session_.graph();
  if (fix_attention_ && g.describe(first).kind == Kind::kQuery) {
    const int64_t values = g.value(g.describe(first).layer, 0);  // without queries and keys
    gradients = gradients.slice(0, values - first);
    first = values;
  }
  gradients = gradients.size(1) == 1 ? gradients.squeeze(1) : gradients.sum(1);
  gradients = gradients.to(sums_.device());
  if (waiting_.defined()) {
    wait(first, gradients);
  } else {
    meet_senders(first, gradients);
  }
}

// Sweeps come from the last receiver on: those that wait are the ones from begin_ to end_, and what
// none of them has a gradient for is zero.
void Contributions::wait(int64_t first, const at::Tensor& gradients) {
  const int64_t end = first + gradients.size(0);
  if (first < begin_ || end > end_) {
    use_waiting();
    end_ = end;
    begin_ = std::max<int64_t>(0, end - waiting_.size(0));
    waiting_.zero_();
  }
  waiting_.slice(0, first - begin_, end - begin_).add_(gradients);
}

void Contributions::use_waiting() {
  if (begin_ < end_) meet_senders(begin_, waiting_.slice(0, 0, end_ - begin_));
  begin_ = end_ = 0;
}

// Gradients at consecutive receivers, [receivers, P, D].
void Contributions::meet_senders(int64_t first, const at::Tensor& gradients) const {
  const Graph& g = session_.graph();
  const int64_t end = first + gradients.size(0);
  const auto meet = [&](int64_t sender, const at::Tensor& delta) {
    int64_t from = first;  // later receivers never have fewer senders
    while (g.num_senders_of(from) <= sender) ++from;
    std::vector<int64_t> limits;
    for (int64_t r = from; r < end; ++r) {
      limits.push_back(std::min(g.num_senders_of(r) - sender, delta.size(0)));
    }
    add_edge_scores(sums_.slice(0, sender, sender + delta.size(0)).slice(1, from, end), delta,
                    gradients.slice(0, from - first), limits);
  };
  session_.senders().each_block(g.num_senders_of(end - 1), meet);
}

}  // namespace kcircuits::engine
