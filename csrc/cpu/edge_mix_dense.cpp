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

constexpr int64_t kRows = 24;              // mask rows per tile, a multiple of every tile's columns
constexpr int64_t kSumElements = 1 << 19;  // of a block of rows, for which a panel is copied once

// A multiply-add of the product costs about this share of one of the plan's: where the senders of a
// position fit into the second-level cache (271 of 576 elements, 16 and 256 rows), and where the
// plan reads them from further away (993 of 4096, 97 rows).
constexpr double kCostNear = 0.22;
constexpr double kCostFar = 0.09;
constexpr int64_t kNearElements = 1 << 18;

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
        panel_(ops_.max_vectors * ops_.lanes),
        padded_width_((problem.width + ops_.lanes - 1) / ops_.lanes * ops_.lanes),
        // Where hypotheses share their senders, all their masks are rows of one product.
        groups_(problem.shared ? 1 : problem.hypotheses),
        rows_(problem.shared ? problem.receivers * problem.hypotheses : problem.receivers) {
    const int64_t blocks = 1 + rows_ * padded_width_ / kSumElements;
    block_ = (rows_ + blocks - 1) / blocks;
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
        : tile(kRows * mixer.panel_),
          sums(mixer.block_ * mixer.padded_width_),
          present(mixer.problem_.num_senders * mixer.panel_, Acc(0)),
          absent(mixer.absent_.empty() ? 0 : present.size(), Acc(0)) {}
    std::vector<Acc> tile, sums;
    std::vector<Acc> present, absent;  // panels: some elements of every sender's row
  };

  void mix(int64_t group, int64_t prompt, int64_t token, Scratch& scratch) const {
    for (int64_t first = 0; first < rows_; first += block_) {
      const int64_t last = std::min(first + block_, rows_);
      for (int64_t d = 0; d < padded_width_; d += panel_) {
        add_products(first, last, d, group, prompt, token, scratch);
      }
      for (int64_t row = first; row < last; ++row) {
        finish(scratch.sums.data() + (row - first) * padded_width_, group, row, prompt, token);
      }
    }
  }

  // Elements [d, d + panel_) of the sums of rows [first, last).
  void add_products(int64_t first, int64_t last, int64_t d, int64_t group, int64_t prompt,
                    int64_t token, Scratch& scratch) const {
    const int64_t ld = std::min(panel_, padded_width_ - d);
    const auto [senders, senders_ld] =
        panel_of(senders_.at(0, group, prompt, token) + d, senders_.outer, present_[group], d,
                 scratch.present);
    std::pair<const Acc*, int64_t> ablated = {nullptr, 0};
    if (!absent_.empty()) {
      ablated = panel_of(ablated_.at(0, group, prompt, token) + d, ablated_.outer, absent_[group],
                         d, scratch.absent);
    }
    for (int64_t row = first; row < last; row += kRows) {
      const int64_t count = std::min(kRows, last - row);
      std::fill_n(scratch.tile.begin(), count * ld, Acc(0));
      add_product(scratch.tile.data(), present_[group], row, count, senders, senders_ld, ld);
      if (!absent_.empty()) {
        add_product(scratch.tile.data(), absent_[group], row, count, ablated.first, ablated.second,
                    ld);
      }
      for (int64_t i = 0; i < count; ++i) {
        std::copy_n(scratch.tile.data() + i * ld, ld,
                    scratch.sums.data() + (row + i - first) * padded_width_ + d);
      }
    }
  }

  // A panel of a source and its stride: in place where it is read once, else copied, as rows far
  // apart would push each other out of the cache.
  std::pair<const Acc*, int64_t> panel_of(const T* from, int64_t stride, const Weights& weights,
                                          int64_t d, std::vector<Acc>& copies) const {
    const int64_t length = std::min(panel_, problem_.width - d);
    if constexpr (std::is_same_v<T, Acc>) {
      if (block_ <= 2 * kRows && length % ops_.lanes == 0) return {from, stride};
    }
    for (const auto& [first, last] : weights.spans) {
      for (int64_t s = first; s < last; ++s) {
        if constexpr (std::is_same_v<T, Acc>) {
          std::copy_n(from + s * stride, length, copies.data() + s * panel_);
        } else {
          widen(copies.data() + s * panel_, from + s * stride, length);
        }
      }
    }
    return {copies.data(), panel_};
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
  int64_t panel_, padded_width_, groups_, rows_, block_;
  std::vector<Weights> present_, absent_;  // per group
};

}  // namespace

bool dense_is_faster(const EdgeMixProblem& problem, int64_t terms) {
  const int64_t sources = problem.ablated.defined() ? 2 : 1;
  const int64_t product = problem.receivers * problem.hypotheses * problem.num_senders * sources;
  const bool near = problem.num_senders * problem.width <= kNearElements;
  return static_cast<double>(product) * (near ? kCostNear : kCostFar) < static_cast<double>(terms);
}

void edge_mix_dense(const EdgeMixProblem& problem, const at::Tensor& out) {
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, out.scalar_type(), "edge_mix",
                                  [&] { DenseMixer<scalar_t>(problem, out).run(); });
}

}  // namespace kcircuits::cpu
