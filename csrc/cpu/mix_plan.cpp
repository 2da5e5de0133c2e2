#include "cpu/mix_plan.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <bit>

namespace kcircuits::cpu {
namespace {

using Word = uint64_t;
constexpr int64_t kBits = 64;

// Plans one run of rows of a bool mask.
class TreePlanner {
 public:
  TreePlanner(MixRun& run, const std::vector<int64_t>& rows, const bool* mask, int64_t num_senders,
              bool ablated)
      : run_(run),
        rows_(rows),
        num_senders_(num_senders),
        num_terms_(ablated ? 2 * num_senders : num_senders),
        words_((num_terms_ + kBits - 1) / kBits),
        bits_(static_cast<size_t>(words_) * rows.size(), 0),
        common_(static_cast<size_t>(words_) * (kMaxDepth + 1), 0) {
    for (size_t i = 0; i < rows.size(); ++i) {
      const bool* row = mask + rows[i] * num_senders;
      Word* bits = bits_.data() + static_cast<int64_t>(i) * words_;
      for (int64_t s = 0; s < num_senders; ++s) {
        const int64_t term = row[s] ? s : num_senders + s;
        if (term < num_terms_) bits[term / kBits] |= Word{1} << (term % kBits);
      }
    }
  }

  void plan() { visit(0, static_cast<int64_t>(rows_.size()), 0, -1); }

 private:
  // Rows [first, last) below a node of this depth; `from` holds what its ancestors have added.
  void visit(int64_t first, int64_t last, int64_t depth, int32_t from) {
    Word* common = common_.data() + depth * words_;
    const Word* inherited = depth == 0 ? nullptr : common - words_;
    const auto begin = static_cast<int64_t>(run_.sources.size());
    for (int64_t w = 0; w < words_; ++w) {
      Word all = ~Word{0};
      for (int64_t i = first; i < last; ++i) all &= bits_[i * words_ + w];
      common[w] = all;
      Word added = inherited == nullptr ? all : all & ~inherited[w];
      for (; added != 0; added &= added - 1) {
        run_.sources.push_back(static_cast<int32_t>(w * kBits + std::countr_zero(added)));
      }
    }
    const auto end = static_cast<int64_t>(run_.sources.size());
    run_.weights.resize(run_.sources.size(), 1.0);
    if (last - first == 1) {
      run_.steps.push_back({from, -1, rows_[first], begin, end});
      return;
    }
    if (end > begin) {
      const auto to = static_cast<int32_t>(depth);
      run_.steps.push_back({from, to, -1, begin, end});
      from = to;
    }
    const int64_t middle = (first + last) / 2;
    visit(first, middle, depth + 1, from);
    visit(middle, last, depth + 1, from);
  }

  MixRun& run_;
  const std::vector<int64_t>& rows_;
  int64_t num_senders_, num_terms_, words_;
  std::vector<Word> bits_;    // [rows, words]: the terms of each row
  std::vector<Word> common_;  // [depth, words]: what the node being visited and its ancestors share
};

// Weighted rows have little in common: every row is a leaf.
template <typename Weight>
void plan_weighted(MixRun& run, const std::vector<int64_t>& rows, const Weight* mask,
                   int64_t num_senders, bool ablated) {
  const auto add = [&run](int64_t source, double weight) {
    if (weight == 0) return;
    run.sources.push_back(static_cast<int32_t>(source));
    run.weights.push_back(weight);
  };
  for (const int64_t row : rows) {
    const auto begin = static_cast<int64_t>(run.sources.size());
    for (int64_t s = 0; s < num_senders; ++s) {
      const Weight weight = mask[row * num_senders + s];
      add(s, weight);
      if (ablated) add(num_senders + s, 1 - weight);
    }
    run.steps.push_back({-1, -1, row, begin, static_cast<int64_t>(run.sources.size())});
  }
}

}  // namespace

std::vector<MixRun> make_mix_plan(const at::Tensor& mask, bool shared, bool ablated) {
  const int64_t receivers = mask.size(0);
  const int64_t hypotheses = mask.size(1);
  const int64_t num_senders = mask.size(2);
  TORCH_CHECK_VALUE(num_senders < (int64_t{1} << 30), "senders has ", num_senders,
                    " entries; at most 2^30 - 1 are supported");
  const at::Tensor dense = mask.contiguous();
  const int64_t groups = shared ? 1 : hypotheses;
  const int64_t rows_per_group = shared ? receivers * hypotheses : receivers;
  const int64_t runs_per_group = (rows_per_group + kRowsPerRun - 1) / kRowsPerRun;
  std::vector<MixRun> plan(groups * runs_per_group);
  const int64_t grain = 1 + (1 << 18) / (1 + kRowsPerRun * num_senders);
  at::parallel_for(0, groups * runs_per_group, grain, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      MixRun& run = plan[index];
      run.hypothesis = index / runs_per_group;
      const int64_t first = index % runs_per_group * kRowsPerRun;
      const int64_t last = std::min(first + kRowsPerRun, rows_per_group);
      std::vector<int64_t> rows;
      for (int64_t i = first; i < last; ++i) {
        rows.push_back(shared ? i : i * hypotheses + run.hypothesis);
      }
      if (dense.scalar_type() == at::kBool) {
        TreePlanner(run, rows, dense.const_data_ptr<bool>(), num_senders, ablated).plan();
      } else if (dense.scalar_type() == at::kDouble) {
        plan_weighted(run, rows, dense.const_data_ptr<double>(), num_senders, ablated);
      } else {
        plan_weighted(run, rows, dense.const_data_ptr<float>(), num_senders, ablated);
      }
    }
  });
  return plan;
}

int64_t count_terms(const std::vector<MixRun>& plan) {
  int64_t total = 0;
  for (const MixRun& run : plan) total += static_cast<int64_t>(run.sources.size());
  return total;
}

}  // namespace kcircuits::cpu
