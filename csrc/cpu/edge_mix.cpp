// edge_mix on the CPU: sums of sender rows, then the norm while a row is in the first-level cache.
#include "ops/edge_mix.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "cpu/edge_mix_dense.h"
#include "cpu/mix_plan.h"
#include "cpu/mix_rows.h"
#include "cpu/simd.h"
#include "profile.h"

namespace kcircuits::cpu {
namespace {

// Several tokens whose rows are adjacent in every input are summed as one long row: short rows
// would spend their time on bookkeeping.
int64_t tokens_per_block(const EdgeMixProblem& problem) {
  constexpr int64_t kElements = 1024;
  for (const at::Tensor& tensor : {problem.senders, problem.ablated, problem.constant}) {
    if (tensor.defined() && problem.tokens > 1 && tensor.stride(3) != problem.width) return 1;
  }
  return std::clamp(kElements / problem.width, int64_t{1}, problem.tokens);
}

template <typename T>
class Mixer {
 public:
  using Acc = Accumulate<T>;

  Mixer(const EdgeMixProblem& problem, const std::vector<MixRun>& plan, const at::Tensor& out)
      : problem_(problem),
        plan_(plan),
        ops_(rows().of<T>()),
        senders_(problem.senders),
        ablated_(problem.ablated),
        constant_(problem.constant),
        norm_(problem),
        out_(out.mutable_data_ptr<T>()),
        block_(tokens_per_block(problem)),
        blocks_((problem.tokens + block_ - 1) / block_) {}

  void run() const {
    const auto runs = static_cast<int64_t>(plan_.size());
    const int64_t tasks = problem_.prompts * blocks_ * runs;
    const int64_t additions = count_terms(plan_) / runs + kRowsPerRun;
    const int64_t grain = 1 + at::internal::GRAIN_SIZE / (1 + additions * block_ * problem_.width);
    // The runs of one block follow each other, so that its senders are read from the cache.
    at::parallel_for(0, tasks, grain, [&](int64_t begin, int64_t end) {
      Scratch scratch(block_ * problem_.width, problem_.num_senders);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t block = task / runs;
        execute(plan_[task % runs], block / blocks_, block % blocks_ * block_, scratch);
      }
    });
  }

 private:
  struct Scratch {
    Scratch(int64_t length, int64_t num_senders)
        : slots(kMaxDepth * length),
          sum(length),
          inputs(2 * num_senders + 1),
          weights(2 * num_senders + 1) {}
    std::vector<Acc> slots, sum;
    std::vector<const T*> inputs;
    std::vector<Acc> weights;
  };

  void execute(const MixRun& run, int64_t prompt, int64_t token, Scratch& scratch) const {
    const int64_t tokens = std::min(block_, problem_.tokens - token);
    const int64_t length = tokens * problem_.width;
    const auto slot = [&](int32_t index) {
      return index < 0 ? nullptr : scratch.slots.data() + index * length;
    };
    for (const MixStep& step : run.steps) {
      int64_t count = gather(run, step, prompt, token, scratch);
      const auto add_up = [&](Acc* to) {
        ops_.weighted_sum(to, slot(step.from), scratch.inputs.data(), scratch.weights.data(), count,
                          length);
      };
      if (step.row < 0) {
        add_up(slot(step.to));
        continue;
      }
      const int64_t receiver = step.row / problem_.hypotheses;
      const int64_t hypothesis = step.row % problem_.hypotheses;
      if (constant_.data != nullptr) {
        scratch.inputs[count] = constant_.at(receiver, hypothesis, prompt, token);
        scratch.weights[count] = 1;
        ++count;
      }
      T* out = out_ +
               ((step.row * problem_.prompts + prompt) * problem_.tokens + token) * problem_.width;
      if constexpr (std::is_same_v<T, Acc>) {
        if (problem_.norm == NormKind::kNone) {
          add_up(out);
          continue;
        }
      }
      const Acc* sum = slot(step.from);
      if (count > 0 || sum == nullptr) {
        add_up(scratch.sum.data());
        sum = scratch.sum.data();
      }
      for (int64_t i = 0; i < tokens; ++i) {
        norm_(out + i * problem_.width, sum + i * problem_.width, receiver);
      }
    }
  }

  // Rows and weights of a step's terms.
  int64_t gather(const MixRun& run, const MixStep& step, int64_t prompt, int64_t token,
                 Scratch& scratch) const {
    for (int64_t i = step.begin; i < step.end; ++i) {
      const int64_t source = run.sources[i];
      scratch.inputs[i - step.begin] =
          source < problem_.num_senders
              ? senders_.at(source, run.hypothesis, prompt, token)
              : ablated_.at(source - problem_.num_senders, run.hypothesis, prompt, token);
      scratch.weights[i - step.begin] = static_cast<Acc>(run.weights[i]);
    }
    return step.end - step.begin;
  }

  const EdgeMixProblem& problem_;
  const std::vector<MixRun>& plan_;
  const RowOps<T>& ops_;
  MixRows<T> senders_, ablated_, constant_;
  MixNorm<T> norm_;
  T* out_;
  int64_t block_, blocks_;
};

// Additions of a plan, or of the product that takes its place; senders and sums, each once.
void add_work(const EdgeMixProblem& p, const at::Tensor& out, bool dense, int64_t terms) {
  if (!profile::recording()) return;
  const auto numbers = static_cast<double>(p.prompts * p.tokens * p.width);
  const int64_t sources = p.num_senders * (p.ablated.defined() ? 2 : 1);
  const double flop = dense ? 2.0 * static_cast<double>(p.receivers * p.hypotheses * sources)
                            : static_cast<double>(terms);
  const double read = numbers * static_cast<double>(sources * (p.shared ? 1 : p.hypotheses));
  profile::add_work(flop * numbers, read * static_cast<double>(p.senders.element_size()) +
                                        static_cast<double>(out.nbytes()));
}

at::Tensor edge_mix(const at::Tensor& senders, const at::Tensor& mask,
                    const std::optional<at::Tensor>& ablated,
                    const std::optional<at::Tensor>& constant, std::string_view norm,
                    const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias,
                    double eps, bool unit_offset) {
  const EdgeMixProblem problem = make_edge_mix_problem(
      {senders, mask, ablated, constant, norm, weight, bias, eps, unit_offset});
  const at::Tensor out = problem.empty_output();
  if (out.numel() == 0) return out;
  const std::vector<MixRun> plan =
      make_mix_plan(problem.mask, problem.shared, problem.ablated.defined());
  const int64_t terms = count_terms(plan);
  const bool dense = dense_is_faster(problem, terms);
  add_work(problem, out, dense, terms);
  if (dense) {
    edge_mix_dense(problem, out);
    return out;
  }
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, senders.scalar_type(), "edge_mix",
                                  [&] { Mixer<scalar_t>(problem, plan, out).run(); });
  return out;
}

}  // namespace
}  // namespace kcircuits::cpu

TORCH_LIBRARY_IMPL(kcircuits, CPU, library) { library.impl("edge_mix", &kcircuits::cpu::edge_mix); }
