// vocab_readout on the CPU: one pass over the unembedding. Logits live only as tiles in the
// first-level cache, where log-sum-exp, ranks and top-k read them.
//
// Cost: 2·N·V·D operations, V·D elements read once per kRowsPerChunk rows. Bound: multiply-adds
// from about 32 rows on, the memory that the unembedding is read from below.
#include "cpu/vocab_readout.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>

#include "cpu/panels.h"
#include "cpu/simd.h"
#include "cpu/stored.h"
#include "cpu/tiles.h"
#include "cpu/top_list.h"

namespace kcircuits::cpu {
namespace {

constexpr int64_t kRowsPerChunk = 4096;  // bounds the memory for panels and running statistics
constexpr int64_t kColumns = 48;         // unembedding rows per block: a multiple of every tile's
// Elements of them, for which a panel stays in the second-level cache; whole chains.
constexpr int64_t kDepth = 12 * kChain;
constexpr int64_t kMaxSplits = 128;  // parts of the vocabulary, the unit of parallel work

// Rows after the norm, [N, D] contiguous in the accumulation dtype.
at::Tensor normed_rows(const VocabReadoutProblem& problem, int64_t first, int64_t count) {
  at::Tensor x = problem.hidden.narrow(0, first, count).to(problem.accumulate);
  if (problem.norm == NormKind::kNone) return x.contiguous();
  if (problem.norm == NormKind::kLayerNorm) x = x - x.mean(-1, /*keepdim=*/true);
  x = x * (problem.scale.defined()
               ? problem.scale.narrow(0, first, count).unsqueeze(1)
               : (x.square().mean(-1, /*keepdim=*/true) + problem.eps).rsqrt_());
  if (problem.weight.defined()) x.mul_(problem.weight);
  if (problem.norm_bias.defined()) x.add_(problem.norm_bias);
  return x;
}

// The unembedding's rows in the accumulation type: where they lie, or made as they are read.
template <typename Acc>
class Words {
 public:
  explicit Words(const Weight& unembedding) : stored_(unembedding) {}

  bool lie_in_memory() const { return stored_.floats() != nullptr; }
  // Rows [first, first + count), and their stride; `made` is where they may be made.
  std::pair<const float*, int64_t> rows(int64_t first, int64_t count,
                                        std::vector<float>& made) const {
    if (lie_in_memory()) return {stored_.floats() + first * stored_.ld(), stored_.ld()};
    made.resize(count * stored_.columns());
    stored_.widen(made.data(), stored_.columns(), first, count, 0, stored_.columns());
    return {made.data(), stored_.columns()};
  }

 private:
  Stored stored_;
};

template <>
class Words<double> {
 public:
  explicit Words(const Weight& unembedding) : values_(unembedding.widened(at::kDouble)) {}

  bool lie_in_memory() const { return true; }
  std::pair<const double*, int64_t> rows(int64_t first, int64_t /*count*/,
                                         std::vector<double>& /*made*/) const {
    return {values_.const_data_ptr<double>() + first * values_.stride(0), values_.stride(0)};
  }

 private:
  at::Tensor values_;
};

// Some rows of the problem against the whole vocabulary.
template <typename Acc>
class Reader {
 public:
  Reader(const VocabReadoutProblem& problem, int64_t first, int64_t count)
      : problem_(problem),
        ops_(tiles().of<Acc>()),
        first_(first),
        count_(count),
        panels_(count, problem.width),
        words_(problem.unembedding),
        bias_(problem.bias.defined() ? problem.bias.const_data_ptr<Acc>() : nullptr),
        split_(std::max(8 * kColumns, round_up(problem.vocabulary, kMaxSplits) / kMaxSplits)),
        splits_((problem.vocabulary + split_ - 1) / split_),
        max_(splits_ * panels_.padded_rows(), -std::numeric_limits<Acc>::infinity()),
        sum_(splits_ * panels_.padded_rows(), Acc(0)) {}

  void run(const VocabReadout& out) {
    pack();
    compute_target_logits();
    const bool inline_work =
        count_ * problem_.vocabulary * std::max(problem_.width, int64_t{1}) < (1 << 16);
    std::mutex mutex;
    at::parallel_for(0, splits_, inline_work ? splits_ : 1, [&](int64_t begin, int64_t end) {
      auto part = std::make_unique<Part>(*this, begin);
      for (int64_t split = begin; split < end; ++split) read_split(split, *part);
      const std::lock_guard<std::mutex> lock(mutex);
      parts_.push_back(std::move(part));
    });
    std::sort(parts_.begin(), parts_.end(),
              [](const auto& a, const auto& b) { return a->begin < b->begin; });
    write(out);
  }

 private:
  // What one thread has seen of the vocabulary.
  struct Part {
    Part(const Reader& reader, int64_t first_split)
        : begin(first_split),
          greater(reader.problem_.targets_per_row * reader.panels_.padded_rows(), 0),
          less(reader.problem_.rank_range ? greater.size() : 0, 0),
          top(reader.count_, reader.problem_.topk),
          thresholds(reader.panels_.padded_rows(), std::numeric_limits<Acc>::infinity()),
          values(kColumns * reader.panels_.rows_per_panel()),
          found(reader.problem_.topk > 0 ? values.size() : 0),
          start(kColumns, Acc(0)) {}

    int64_t begin;
    int64_t seen = 0;                    // unembedding rows
    std::vector<int64_t> greater, less;  // [targets_per_row, padded rows]; less for a range only
    TopLists<Acc> top;
    std::vector<Acc> thresholds;  // of the lists; rows of padding let nothing pass
    std::vector<Acc> values;      // a tile of logits
    std::vector<int32_t> found;
    std::vector<Acc> start, made;
  };

  static int64_t round_up(int64_t size, int64_t parts) {
    const int64_t unit = kColumns * parts;
    return (size + unit - 1) / unit * unit;
  }

  void pack() {
    const at::Tensor x = normed_rows(problem_, first_, count_);
    const Acc* data = x.const_data_ptr<Acc>();
    at::parallel_for(0, panels_.count(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        panels_.set_panel(panel, data + panels_.first_row(panel) * problem_.width, problem_.width);
      }
    });
  }

  // The targets' logits by the chains that the pass uses, so that a target equals itself and every
  // duplicate of its row.
  void compute_target_logits() {
    const int64_t padded = panels_.padded_rows();
    target_logits_.resize(problem_.targets_per_row * padded);
    const int64_t lanes = ops_.lanes;
    const int64_t groups = padded / lanes;
    at::parallel_for(0, problem_.targets_per_row * groups, 4, [&](int64_t begin, int64_t end) {
      std::vector<Acc> gathered(problem_.width * lanes), made;
      for (int64_t task = begin; task < end; ++task) {
        const int64_t row = task % groups * lanes;
        const int64_t target = task / groups;
        const int64_t panel = row / panels_.rows_per_panel();
        Acc* logits = target_logits_.data() + target * padded + row;
        for (int64_t i = 0; i < lanes; ++i) {
          const int64_t id = target_id(std::min(row + i, count_ - 1), target);
          const Acc* from = words_.rows(id, 1, made).first;
          for (int64_t k = 0; k < problem_.width; ++k) gathered[k * lanes + i] = from[k];
          logits[i] = bias_ == nullptr ? Acc(0) : bias_[id];
        }
        ops_.multiply_pairs(logits, panels_.data(panel) + row % panels_.rows_per_panel(),
                            panels_.ld(panel), gathered.data(), problem_.width);
      }
    });
  }

  int64_t target_id(int64_t row, int64_t target) const {
    return problem_.targets
        .const_data_ptr<int64_t>()[(first_ + row) * problem_.targets_per_row + target];
  }

  void read_split(int64_t split, Part& part) {
    const int64_t end = std::min((split + 1) * split_, problem_.vocabulary);
    for (int64_t id = split * split_; id < end; id += kColumns) {
      const int64_t columns = std::min(kColumns, end - id);
      const auto [w, ldw] = words_.rows(id, columns, part.made);
      for (int64_t panel = 0; panel < panels_.count(); ++panel) {
        multiply(panel, id, w, ldw, columns, part);
        observe(panel, split, id, columns, part);
      }
      part.seen += columns;
    }
  }

  void multiply(int64_t panel, int64_t id, const Acc* w, int64_t ldw, int64_t columns,
                Part& part) const {
    const int64_t ld = panels_.ld(panel);
    const Acc* start = bias_ == nullptr ? part.start.data() : bias_ + id;
    // The first panel meets the unembedding in memory, the others in the cache.
    const bool far = panel == 0 && words_.lie_in_memory();
    const auto kernel = far ? ops_.multiply_far : ops_.multiply;
    int64_t k = 0;
    do {  // once also where the width is 0
      const int64_t depth = std::min(kDepth, problem_.width - k);
      kernel(part.values.data(), k == 0 ? start : nullptr, panels_.data(panel) + k * ld, ld,
             panels_.vectors(panel), w + k, ldw, columns, depth);
      k += kDepth;
    } while (k < problem_.width);
  }

  void observe(int64_t panel, int64_t split, int64_t id, int64_t columns, Part& part) {
    const int64_t row = panels_.first_row(panel);
    const int64_t vectors = panels_.vectors(panel);
    const int64_t padded = panels_.padded_rows();
    const Acc* values = part.values.data();
    ops_.log_sum_exp(max_.data() + split * padded + row, sum_.data() + split * padded + row, values,
                     vectors, columns, static_cast<Acc>(problem_.soft_cap));
    for (int64_t target = 0; target < problem_.targets_per_row; ++target) {
      const int64_t at = target * padded + row;
      const Acc* logits = target_logits_.data() + at;
      ops_.count_greater(part.greater.data() + at, logits, values, vectors, columns);
      if (problem_.rank_range)
        ops_.count_less(part.less.data() + at, logits, values, vectors, columns);
    }
    if (problem_.topk > 0) collect_top(panel, id, columns, part);
  }

  void collect_top(int64_t panel, int64_t id, int64_t columns, Part& part) const {
    const int64_t first = panels_.first_row(panel);
    const int64_t ld = panels_.ld(panel);
    const auto insert = [&](int64_t at) {
      const int64_t row = first + at % ld;
      if (row < count_) part.top.insert(row, part.values[at], id + at / ld);
    };
    if (part.seen < problem_.topk) {  // lists that are not full take everything, -inf too
      for (int64_t at = 0; at < columns * ld; ++at) insert(at);
    } else {
      const int64_t found = ops_.find_greater(part.found.data(), part.thresholds.data() + first,
                                              part.values.data(), panels_.vectors(panel), columns);
      if (found == 0) return;
      for (int64_t i = 0; i < found; ++i) insert(part.found[i]);
    }
    for (int64_t row = first; row < std::min(first + ld, count_); ++row) {
      part.thresholds[row] = part.top.threshold(row);
    }
  }

  void write(const VocabReadout& out) const {
    const auto& [target_logits, ranks, log_sum_exp, topk_values, topk_ids] = out;
    double* lse = log_sum_exp.template mutable_data_ptr<double>() + first_;
    for (int64_t row = 0; row < count_; ++row) lse[row] = merged_log_sum_exp(row);
    const int64_t targets = problem_.targets_per_row;
    Acc* logits = target_logits.template mutable_data_ptr<Acc>() + first_ * targets;
    const int64_t places = problem_.rank_range ? 2 : 1;
    int64_t* rank = ranks.template mutable_data_ptr<int64_t>() + first_ * targets * places;
    for (int64_t i = 0; i < count_ * targets; ++i) {
      const int64_t at = i % targets * panels_.padded_rows() + i / targets;
      logits[i] = capped(target_logits_[at]);
      int64_t* place = rank + i * places;
      place[0] = 1;
      for (const auto& part : parts_) place[0] += part->greater[at];
      if (!problem_.rank_range) continue;
      place[1] = problem_.vocabulary;
      for (const auto& part : parts_) place[1] -= part->less[at];
    }
    const int64_t topk = problem_.topk;
    if (topk == 0) return;
    TopLists<Acc> top(count_, topk);
    Acc* values = topk_values.template mutable_data_ptr<Acc>() + first_ * topk;
    int64_t* ids = topk_ids.template mutable_data_ptr<int64_t>() + first_ * topk;
    for (int64_t row = 0; row < count_; ++row) {
      for (const auto& part : parts_) {  // in the order of the vocabulary
        for (int64_t i = 0; i < part->top.size(row); ++i) {
          top.insert(row, part->top.value(row, i), part->top.id(row, i));
        }
      }
      for (int64_t i = 0; i < topk; ++i) {
        values[row * topk + i] = capped(top.value(row, i));
        ids[row * topk + i] = top.id(row, i);
      }
    }
  }

  // Splits are merged in one order whatever the number of threads.
  double merged_log_sum_exp(int64_t row) const {
    const int64_t padded = panels_.padded_rows();
    double max = -std::numeric_limits<double>::infinity();
    for (int64_t split = 0; split < splits_; ++split) {
      const double value = max_[split * padded + row];
      if (std::isnan(value)) return value;
      max = std::max(max, value);
    }
    if (std::isinf(max)) return max;
    double sum = 0;
    for (int64_t split = 0; split < splits_; ++split) {
      sum += static_cast<double>(sum_[split * padded + row]) *
             std::exp(static_cast<double>(max_[split * padded + row]) - max);
    }
    return max + std::log(sum);
  }

  Acc capped(Acc logit) const {
    const auto cap = static_cast<Acc>(problem_.soft_cap);
    return cap > 0 ? cap * std::tanh(logit / cap) : logit;
  }

  const VocabReadoutProblem& problem_;
  const TileOps<Acc>& ops_;
  int64_t first_, count_;
  Panels<Acc> panels_;
  Words<Acc> words_;
  const Acc* bias_;
  int64_t split_, splits_;
  std::vector<Acc> max_, sum_;      // [splits, padded rows]
  std::vector<Acc> target_logits_;  // [targets_per_row, padded rows], before the soft cap
  std::vector<std::unique_ptr<Part>> parts_;
};

}  // namespace

void read_vocabulary(const VocabReadoutProblem& problem, const VocabReadout& out) {
  for (int64_t first = 0; first < problem.rows; first += kRowsPerChunk) {
    const int64_t count = std::min(kRowsPerChunk, problem.rows - first);
    if (problem.accumulate == at::kDouble) {
      Reader<double>(problem, first, count).run(out);
    } else {
      Reader<float>(problem, first, count).run(out);
    }
  }
}

namespace {

VocabReadout vocab_readout(const at::Tensor& rows, const at::Tensor& unembedding,
                           const std::optional<at::Tensor>& targets,
                           const std::optional<at::Tensor>& bias, int64_t topk, double soft_cap,
                           std::string_view norm, const std::optional<at::Tensor>& weight,
                           const std::optional<at::Tensor>& norm_bias, double eps, bool unit_offset,
                           const std::optional<at::Tensor>& scale, bool rank_range) {
  const VocabReadoutArguments arguments = {rows,        unembedding, targets,   bias,      topk,
                                           soft_cap,    norm,        weight,    norm_bias, eps,
                                           unit_offset, scale,       rank_range};
  const VocabReadoutProblem problem = make_vocab_readout_problem(arguments);
  const VocabReadout out = empty_vocab_readout(check_vocab_readout(arguments), arguments);
  read_vocabulary(problem, out);
  return out;
}

}  // namespace
}  // namespace kcircuits::cpu

TORCH_LIBRARY_IMPL(kcircuits, CPU, library) {
  library.impl("vocab_readout", &kcircuits::cpu::vocab_readout);
}
