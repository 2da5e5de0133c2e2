#include "engine/soft_run.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <vector>

#include "engine/mix.h"
#include "engine/mlp.h"
#include "profile.h"

namespace kcircuits::engine {
namespace {

// Every sub-block keeps its own small autograd graph, from the senders and weights that it reads to
// what it puts out; the sweep goes through them backwards.
class Run {
 public:
  Run(const Session& session, const at::Tensor& weights)
      : session_(session),
        graph_(session.graph()),
        delta_(at::empty_like(session.clean_delta()).unsqueeze(1)),
        by_receiver_(weights.t().to(delta_.options()).contiguous()),
        gradient_(at::zeros({graph_.num_senders(), graph_.num_receivers()}, delta_.options())) {
    delta_[0][0].copy_(session.clean_delta()[0]);
  }

  SoftRun operator()() {
    for (int64_t l = 0; l < graph_.num_layers; ++l) {
      run_attention(l);
      run_mlp(l);
    }
    Block last = open(graph_.logits(), 1);
    {
      const at::AutoGradMode grad(true);
      last.outputs = {last.x[0].index_select(1, session_.tokens().last)};
    }
    const at::Tensor rows = last.outputs[0].detach();  // [1, N, D]
    const at::Tensor metric = session_.metric()(rows)[0];
    pull_back(last, {session_.metric().gradient(rows) / session_.tokens().num_prompts});
    return {metric, gradient_};
  }

 private:
  struct Block {
    int64_t first, num_senders;   // first receiver
    at::Tensor senders, weights;  // leaves
    at::Tensor x;                 // normed inputs [receivers, 1, P, D]
    std::vector<at::Tensor> outputs;
    int64_t first_output;  // sender
  };

  Block open(int64_t first, int64_t count) {
    Block block;
    block.first = first;
    block.num_senders = graph_.num_senders_of(first);
    // Later senders are written behind these in the same memory, which is no change of these.
    block.senders = delta_.slice(0, 0, block.num_senders).variable_data().detach().requires_grad_();
    block.weights = by_receiver_.slice(0, first, first + count)
                        .slice(1, 0, block.num_senders)
                        .detach()
                        .requires_grad_();
    const at::AutoGradMode grad(true);
    block.x = mix(block.senders, block.weights, session_.constant(first, /*last_only=*/false),
                  &session_.norm_of(first));
    return block;
  }

  void run_attention(int64_t l) {
    const profile::Scope scope(profile::Op::kOther, l);
    Block block = open(graph_.query(l, 0), graph_.attention_receivers());
    block.first_output = graph_.first_sender(l);
    {
      const at::AutoGradMode grad(true);
      std::vector<Session::HeadInput> inputs;
      for (int64_t r = 0; r < block.x.size(0); ++r) {
        inputs.push_back({block.first + r, /*last_only=*/false, block.x[r]});
      }
      const std::vector<at::Tensor> projected = session_.project_heads(inputs);
      const auto of = [&](int64_t receiver) { return projected[receiver - block.first]; };
      std::vector<Session::HeadCall> calls;
      for (int64_t i = 0; i < graph_.num_heads; ++i) {
        calls.push_back(session_.head_call(l, i, /*last_only=*/false, of));
      }
      block.outputs = session_.head_outputs(l, calls);
    }
    close(std::move(block));
  }

  void run_mlp(int64_t l) {
    const profile::Scope scope(profile::Op::kOther, l);
    Block block = open(graph_.mlp_input(l), 1);
    block.first_output = graph_.mlp(l);
    {
      const at::AutoGradMode grad(true);
      block.outputs = {apply_mlp(block.x[0], session_.model().layers[l])};
    }
    close(std::move(block));
  }

  void close(Block block) {
    for (size_t i = 0; i < block.outputs.size(); ++i) {
      const int64_t sender = block.first_output + static_cast<int64_t>(i);
      at::Tensor slot = delta_[sender];
      slot.copy_(block.outputs[i].detach());
      if (const auto& ablated = session_.ablated(sender)) slot.sub_(*ablated);
    }
    blocks_.push_back(std::move(block));
  }

  void pull_back(const Block& last, const std::vector<at::Tensor>& at_rows) {
    at_senders_ = at::zeros_like(delta_);
    pull_back_block(last, at_rows);
    for (; !blocks_.empty(); blocks_.pop_back()) {
      const Block& block = blocks_.back();
      std::vector<at::Tensor> at_outputs;
      for (size_t i = 0; i < block.outputs.size(); ++i) {
        at_outputs.push_back(at_senders_[block.first_output + static_cast<int64_t>(i)]);
      }
      pull_back_block(block, at_outputs);
    }
  }

  void pull_back_block(const Block& block, const std::vector<at::Tensor>& at_outputs) {
    const profile::Scope scope(profile::Op::kGradients, graph_.describe(block.first).layer);
    const auto gradients =
        torch::autograd::grad(block.outputs, {block.senders, block.weights}, at_outputs);
    at_senders_.slice(0, 0, block.num_senders).add_(gradients[0]);
    gradient_.slice(0, 0, block.num_senders)
        .slice(1, block.first, block.first + block.weights.size(0))
        .copy_(gradients[1].t());
  }

  const Session& session_;
  const Graph& graph_;
  at::Tensor delta_;        // [S, 1, P, D]
  at::Tensor by_receiver_;  // [R, S]
  at::Tensor gradient_;
  at::Tensor at_senders_;  // like delta_
  std::vector<Block> blocks_;
};

}  // namespace

SoftRun soft_run(const Session& session, const at::Tensor& weights) {
  const Graph& g = session.graph();
  TORCH_CHECK_VALUE(weights.dim() == 2 && weights.is_floating_point() &&
                        weights.size(0) == g.num_senders() && weights.size(1) == g.num_receivers(),
                    "weights: expected floating [", g.num_senders(), ", ", g.num_receivers(),
                    "], got ", weights.scalar_type(), " ", weights.sizes());
  const c10::NoGradGuard no_grad;
  return Run(session, weights)();
}

}  // namespace kcircuits::engine
