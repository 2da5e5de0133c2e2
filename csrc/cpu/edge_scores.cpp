// edge_scores on the CPU: a product of two tall matrices, [S, K] and [R, K] with K = N·T·D, cut
// into runs of positions. Each run is summed in a tile and the runs are added up: the rounding of
// a long sum grows with the length of a run and their number, not with K.
//
// Cost: 2·K operations per edge, in blocks of edges; delta and grad are read once where the
// smaller of them has few rows (it becomes panels). Bound: multiply-adds from about 32 rows on
// either side, the memory that the longer side is read from below.
#include "ops/edge_scores.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "cpu/panels.h"
#include "cpu/simd.h"
#include "cpu/tiles.h"
#include "profile.h"

namespace kcircuits::cpu {
namespace {

constexpr int64_t kColumns = 24;  // rows of the other side per tile, a multiple of every tile's
constexpr int64_t kDepth = 2048;  // elements per run, about

// Adjacent positions [token, token + length) of a prompt, none of weight 0.
struct Run {
  int64_t prompt, token, length;
};

// One side of the contraction, [rows, N, T, D].
template <typename T>
struct Side {
  const T* data;
  int64_t rows, row_stride, prompt_stride, token_stride;

  Side(const at::Tensor& tensor)
      : data(tensor.const_data_ptr<T>()),
        rows(tensor.size(0)),
        row_stride(tensor.stride(0)),
        prompt_stride(tensor.stride(1)),
        token_stride(tensor.stride(2)) {}
  const T* at(int64_t row, int64_t prompt, int64_t token) const {
    return data + row * row_stride + prompt * prompt_stride + token * token_stride;
  }
};

template <typename T>
class Scorer {
 public:
  using Acc = Accumulate<T>;

  Scorer(const EdgeScoresProblem& problem, const at::Tensor& scores)
      : problem_(problem),
        ops_(tiles().of<Acc>()),
        // The side with fewer rows becomes panels; the other one streams past.
        receivers_in_panels_(problem.receivers <= problem.senders),
        panel_side_(receivers_in_panels_ ? problem.grad : problem.delta),
        column_side_(receivers_in_panels_ ? problem.delta : problem.grad),
        limits_(problem.limits.const_data_ptr<int64_t>()),
        positions_(problem.positions.defined() ? problem.positions.const_data_ptr<Acc>() : nullptr),
        scores_(scores.mutable_data_ptr<Acc>()),
        sender_stride_(scores.stride(0)),
        receiver_stride_(scores.stride(1)),
        token_stride_(problem.per_position ? scores.stride(2) : 0) {}

  void run() {
    const std::vector<Run> runs = find_runs();
    const int64_t work = panel_side_.rows * column_side_.rows * problem_.width;
    const int64_t grain = work < (1 << 16) ? (1 << 16) / work : 1;
    if (problem_.per_position) {
      // Runs are single positions, ordered by token: each token is finished by one thread.
      at::parallel_for(0, problem_.tokens, grain, [&](int64_t begin, int64_t end) {
        Part part(*this, begin);
        auto next =
            std::lower_bound(runs.begin(), runs.end(), begin,
                             [](const Run& run, int64_t token) { return run.token < token; });
        for (int64_t token = begin; token < end; ++token) {
          std::fill(part.sums.begin(), part.sums.end(), Acc(0));
          for (; next != runs.end() && next->token == token; ++next) accumulate(*next, part);
          add_to_scores(part, token);
        }
      });
      return;
    }
    std::mutex mutex;
    std::vector<std::unique_ptr<Part>> parts;
    at::parallel_for(0, static_cast<int64_t>(runs.size()), grain, [&](int64_t begin, int64_t end) {
      auto part = std::make_unique<Part>(*this, begin);
      for (int64_t i = begin; i < end; ++i) accumulate(runs[i], *part);
      const std::lock_guard<std::mutex> lock(mutex);
      parts.push_back(std::move(part));
    });
    std::sort(parts.begin(), parts.end(),
              [](const auto& a, const auto& b) { return a->begin < b->begin; });
    for (const auto& part : parts) add_to_scores(*part, 0);
  }

 private:
  // One thread's sums and scratch.
  struct Part {
    Part(const Scorer& scorer, int64_t first)
        : begin(first),
          panels(scorer.panel_side_.rows, 0),
          sums(panels.padded_rows() * scorer.column_side_.rows, Acc(0)),
          tile(kColumns * panels.rows_per_panel()),
          zeros(kColumns, Acc(0)) {}

    int64_t begin;
    Panels<Acc> panels;
    std::vector<Acc> sums;  // per panel: [columns, rows of the panel]
    std::vector<Acc> tile, zeros;
    std::vector<Acc> panel_rows, column_rows;  // [rows, depth], where they must be copied
  };

  bool present(int64_t prompt, int64_t token) const {
    return positions_ == nullptr || positions_[prompt * problem_.tokens + token] != 0;
  }

  std::vector<Run> find_runs() const {
    std::vector<Run> runs;
    if (problem_.per_position) {
      for (int64_t token = 0; token < problem_.tokens; ++token) {
        for (int64_t prompt = 0; prompt < problem_.prompts; ++prompt) {
          if (present(prompt, token)) runs.push_back({prompt, token, 1});
        }
      }
      return runs;
    }
    // Short enough for every thread to have several.
    const int64_t share = problem_.prompts * problem_.tokens / (4 * at::get_num_threads());
    const int64_t longest =
        std::clamp(share, int64_t{1}, std::max(kDepth / problem_.width, int64_t{1}));
    for (int64_t prompt = 0; prompt < problem_.prompts; ++prompt) {
      int64_t length = 0;
      for (int64_t token = 0; token < problem_.tokens; ++token) {
        if (!present(prompt, token)) {
          length = 0;
          continue;
        }
        if (length == 0 || length == longest) {
          runs.push_back({prompt, token, 0});
          length = 0;
        }
        runs.back().length = ++length;
      }
    }
    return runs;
  }

  // Row [length * D] of a run in the accumulation type, positions weighted where asked.
  void copy_row(Acc* to, const Side<T>& side, int64_t row, const Run& run, bool weighted) const {
    for (int64_t i = 0; i < run.length; ++i) {
      const T* from = side.at(row, run.prompt, run.token + i);
      const Acc weight =
          weighted ? positions_[run.prompt * problem_.tokens + run.token + i] : Acc(1);
      rows().of<T>().weighted_sum(to + i * problem_.width, nullptr, &from, &weight, 1,
                                  problem_.width);
    }
  }

  // All rows of a side for a run, and their stride: in place where that can be.
  std::pair<const Acc*, int64_t> rows_of(const Side<T>& side, const Run& run, bool weighted,
                                         std::vector<Acc>& copies) const {
    const int64_t depth = run.length * problem_.width;
    if constexpr (std::is_same_v<T, Acc>) {
      const bool adjacent = run.length == 1 || side.token_stride == problem_.width;
      if (adjacent && !weighted) return {side.at(0, run.prompt, run.token), side.row_stride};
    }
    copies.resize(std::max(static_cast<int64_t>(copies.size()), side.rows * depth));
    for (int64_t row = 0; row < side.rows; ++row) {
      copy_row(copies.data() + row * depth, side, row, run, weighted);
    }
    return {copies.data(), depth};
  }

  void accumulate(const Run& run, Part& part) const {
    const int64_t depth = run.length * problem_.width;
    const auto [panel_rows, panel_ld] =
        rows_of(panel_side_, run, positions_ != nullptr, part.panel_rows);
    const auto [column_rows, column_ld] = rows_of(column_side_, run, false, part.column_rows);
    part.panels.set_depth(depth);
    for (int64_t panel = 0; panel < part.panels.count(); ++panel) {
      part.panels.set_panel(panel, panel_rows + part.panels.first_row(panel) * panel_ld, panel_ld);
      const int64_t ld = part.panels.ld(panel);
      Acc* sums = part.sums.data() + part.panels.first_row(panel) * column_side_.rows;
      for (int64_t first = 0; first < column_side_.rows; first += kColumns) {
        const auto [begin, end] = edges_of(panel, first, part.panels);
        if (begin >= end) continue;
        ops_.multiply(part.tile.data(), part.zeros.data(), part.panels.data(panel), ld,
                      part.panels.vectors(panel), column_rows + begin * column_ld, column_ld,
                      end - begin, depth);
        for (int64_t i = 0; i < (end - begin) * ld; ++i) sums[begin * ld + i] += part.tile[i];
      }
    }
  }

  // The columns of [first, first + kColumns) between the outermost that have an edge with the
  // panel.
  std::pair<int64_t, int64_t> edges_of(int64_t panel, int64_t first,
                                       const Panels<Acc>& panels) const {
    const int64_t row = panels.first_row(panel);
    int64_t begin = first;
    int64_t end = std::min(first + kColumns, column_side_.rows);
    if (receivers_in_panels_) {
      const int64_t last = std::min(row + panels.rows_per_panel(), panel_side_.rows);
      return {begin, std::min(end, *std::max_element(limits_ + row, limits_ + last))};
    }
    while (begin < end && limits_[begin] <= row) ++begin;
    while (begin < end && limits_[end - 1] <= row) --end;
    return {begin, end};
  }

  void add_to_scores(const Part& part, int64_t token) const {
    for (int64_t receiver = 0; receiver < problem_.receivers; ++receiver) {
      for (int64_t sender = 0; sender < limits_[receiver]; ++sender) {
        const int64_t row = receivers_in_panels_ ? receiver : sender;
        const int64_t column = receivers_in_panels_ ? sender : receiver;
        const int64_t panel = row / part.panels.rows_per_panel();
        const int64_t first = part.panels.first_row(panel);
        scores_[sender * sender_stride_ + receiver * receiver_stride_ + token * token_stride_] +=
            part.sums[first * column_side_.rows + column * part.panels.ld(panel) + row - first];
      }
    }
  }

  const EdgeScoresProblem& problem_;
  const TileOps<Acc>& ops_;
  bool receivers_in_panels_;
  Side<T> panel_side_, column_side_;
  const int64_t* limits_;
  const Acc* positions_;
  Acc* scores_;
  int64_t sender_stride_, receiver_stride_, token_stride_;
};

void edge_scores_inplace(const at::Tensor& scores, const at::Tensor& delta, const at::Tensor& grad,
                         const at::Tensor& limits, const std::optional<at::Tensor>& positions,
                         bool per_position) {
  const EdgeScoresArguments arguments = {delta, grad, limits, positions, per_position};
  check_edge_scores_inplace(scores, arguments);
  const EdgeScoresProblem problem = make_edge_scores_problem(arguments);
  if (delta.numel() == 0 || grad.numel() == 0) return;
  const profile::Scope scope(profile::Op::kEdgeScores);
  if (profile::recording()) {
    profile::add_work(2 * problem.limits.sum().item<double>() *
                          static_cast<double>(problem.prompts * problem.tokens * problem.width),
                      static_cast<double>(delta.nbytes() + grad.nbytes() + scores.nbytes()));
  }
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, delta.scalar_type(), "edge_scores",
                                  [&] { Scorer<scalar_t>(problem, scores).run(); });
}

at::Tensor edge_scores(const at::Tensor& delta, const at::Tensor& grad, const at::Tensor& limits,
                       const std::optional<at::Tensor>& positions, bool per_position) {
  const at::Tensor scores = zero_edge_scores({delta, grad, limits, positions, per_position});
  edge_scores_inplace(scores, delta, grad, limits, positions, per_position);
  return scores;
}

}  // namespace
}  // namespace kcircuits::cpu

TORCH_LIBRARY_IMPL(kcircuits, CPU, library) {
  library.impl("edge_scores", &kcircuits::cpu::edge_scores);
  library.impl("edge_scores_", &kcircuits::cpu::edge_scores_inplace);
}
