#include "cpu/edge_mix_dense.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "cpu/mix_rows.h"
#include "cpu/panels.h"
#include "cpu/simd.h"
#include "cpu/tiles.h"
#include "ops/arguments.h"

namespace kcircuits::cpu {
namespace {

constexpr int64_t kRows = 24;  // mask rows per block, a multiple of every tile's

// A multiply-add of the product costs about this share of one of the plan's.
constexpr double kRelativeCost = 0.4;

// The mask's rows of one group of hypotheses, as weights of one source (senders or ablated).
struct Weights {
  at::Tensor values;                               // [rows, S] in the accumulation dtype
  std::vector<std::pair<int64_t, int64_t>> spans;  // runs of senders that some row uses

  explicit Weights(const at::Tensor& weights) : values(weights.contiguous()) {
    const at::Tensor used = values.ne(0).any(0).contiguous();
    const bool* is_used = used.const_data_ptr<bool>();
    for (int64_t s = 0; s < used.numel(); ++s) {
      if (!is_used[s]) continue;
      if (spans.empty() || spans.back().second != s) spans.emplace_back(s, s);
      spans.back().second = s + 1;
    }
  }
};

template <typename T>
class DenseMixer {
 public:
  using Acc = Accumulate<T>;

  DenseMixer(const EdgeMixProblem& problem, const at::Tensor& out)
      : problem_(problem),
        ops_(tiles().of<Acc>()),
        senders_(problem.senders),
        ablated_(problem.ablated),
        constant_(problem.constant),
        norm_(problem),
        out_(out.mutable_data_ptr<T>()),
        padded_width_((problem.width + ops_.lanes - 1) / ops_.lanes * ops_.lanes),
        // Where hypotheses share their senders, all their masks are rows of one product.
        groups_(problem.shared ? 1 : problem.hypotheses),
        rows_(problem.shared ? problem.receivers * problem.hypotheses : problem.receivers) {
    const auto dtype = accumulate_dtype(problem.senders);
    for (int64_t group = 0; group < groups_; ++group) {
      const at::Tensor mask =
          problem.shared ? problem.mask.flatten(0, 1) : problem.mask.select(1, group);
      present_.emplace_back(mask.to(dtype));
      if (problem.ablated.defined()) absent_.emplace_back(1 - mask.to(dtype));
    }
  }

  void run() const {
    const int64_t tasks = groups_ * problem_.prompts * problem_.tokens;
    const int64_t work = rows_ * problem_.num_senders * problem_.width;
    at::parallel_for(0, tasks, 1 + (1 << 16) / (1 + work), [&](int64_t begin, int64_t end) {
      Scratch scratch(*this);
      for (int64_t task = begin; task < end; ++task) {
        mix(task / problem_.tokens / problem_.prompts, task / problem_.tokens % problem_.prompts,
            task % problem_.tokens, scratch);
      }
    });
  }

 private:
  struct Scratch {
    explicit Scratch(const DenseMixer& mixer)
        : tile(kRows * mixer.ops_.max_vectors * mixer.ops_.lanes),
          sums(kRows * mixer.padded_width_) {}
    std::vector<Acc> tile, sums;
    std::vector<Acc> present, absent;  // copies of one position's rows, where needed
  };

  // One position's rows of a source: in place, or widened and padded to whole vectors.
  std::pair<const Acc*, int64_t> position(const MixRows<T>& source, const Weights& weights,
                                          int64_t group, int64_t prompt, int64_t token,
                                          std::vector<Acc>& copies) const {
    if constexpr (std::is_same_v<T, Acc>) {
      if (padded_width_ == problem_.width) {
        return {source.at(0, group, prompt, token), source.outer};
      }
    }
    copies.resize(problem_.num_senders * padded_width_, Acc(0));
    for (const auto& [first, last] : weights.spans) {
      for (int64_t s = first; s < last; ++s) {
        widen(copies.data() + s * padded_width_, source.at(s, group, prompt, token),
              problem_.width);
      }
    }
    return {copies.data(), padded_width_};
  }

  void mix(int64_t group, int64_t prompt, int64_t token, Scratch& scratch) const {
    const Weights& present = present_[group];
    const auto [senders, senders_ld] =
        position(senders_, present, group, prompt, token, scratch.present);
    std::pair<const Acc*, int64_t> ablated = {nullptr, 0};
    if (!absent_.empty()) {
      ablated = position(ablated_, absent_[group], group, prompt, token, scratch.absent);
    }
    const int64_t panel = ops_.max_vectors * ops_.lanes;
    for (int64_t row = 0; row < rows_; row += kRows) {
      const int64_t count = std::min(kRows, rows_ - row);
      for (int64_t d = 0; d < padded_width_; d += panel) {
        const int64_t ld = std::min(panel, padded_width_ - d);
        std::fill(scratch.tile.begin(), scratch.tile.begin() + count * ld, Acc(0));
        add_product(scratch.tile.data(), present, row, count, senders + d, senders_ld, ld);
        if (!absent_.empty()) {
          add_product(scratch.tile.data(), absent_[group], row, count, ablated.first + d,
                      ablated.second, ld);
        }
        for (int64_t i = 0; i < count; ++i) {
          std::copy_n(scratch.tile.data() + i * ld, ld,
                      scratch.sums.data() + i * padded_width_ + d);
        }
      }
      for (int64_t i = 0; i < count; ++i) {
        finish(scratch.sums.data() + i * padded_width_, group, row + i, prompt, token);
      }
    }
  }

  // tile[i * ld + …] += Σ_s weights[row + i, s] * x[s * ldx + …]
  void add_product(Acc* tile, const Weights& weights, int64_t row, int64_t count, const Acc* x,
                   int64_t ldx, int64_t ld) const {
    const Acc* w = weights.values.const_data_ptr<Acc>() + row * problem_.num_senders;
    for (const auto& [first, last] : weights.spans) {
      ops_.multiply(tile, nullptr, x + first * ldx, ldx, ld / ops_.lanes, w + first,
                    problem_.num_senders, count, last - first);
    }
  }

  void finish(Acc* sum, int64_t group, int64_t row, int64_t prompt, int64_t token) const {
    const int64_t receiver = problem_.shared ? row / problem_.hypotheses : row;
    const int64_t hypothesis = problem_.shared ? row % problem_.hypotheses : group;
    if (constant_.data != nullptr) {
      const T* constant = constant_.at(receiver, hypothesis, prompt, token);
      const Acc one = 1;
      kcircuits::cpu::rows().of<T>().weighted_sum(sum, sum, &constant, &one, 1, problem_.width);
    }
    const int64_t index = (receiver * problem_.hypotheses + hypothesis) * problem_.prompts + prompt;
    norm_(out_ + (index * problem_.tokens + token) * problem_.width, sum, receiver);
  }

  const EdgeMixProblem& problem_;
  const TileOps<Acc>& ops_;
  MixRows<T> senders_, ablated_, constant_;
  MixNorm<T> norm_;
  T* out_;
  int64_t padded_width_, groups_, rows_;
  std::vector<Weights> present_, absent_;  // per group
};

}  // namespace

bool dense_is_faster(const EdgeMixProblem& problem, int64_t terms) {
  const int64_t sources = problem.ablated.defined() ? 2 : 1;
  const int64_t product = problem.receivers * problem.hypotheses * problem.num_senders * sources;
  return static_cast<double>(product) * kRelativeCost < static_cast<double>(terms);
}

void edge_mix_dense(const EdgeMixProblem& problem, const at::Tensor& out) {
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, out.scalar_type(), "edge_mix",
                                  [&] { DenseMixer<scalar_t>(problem, out).run(); });
}

}  // namespace kcircuits::cpu
