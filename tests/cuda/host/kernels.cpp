#include "kernels.h"

#include <cstring>
#include <memory>

#include "cuda/edge_mix.cuh"
#include "cuda/edge_scores.cuh"
#include "cuda/vocab_readout.cuh"

namespace {

using namespace kcircuits;
using namespace kcircuits::cuda;

// Reads the caller's arguments one by one.
class Arguments {
 public:
  Arguments(const int64_t* sizes, const void* const* data) : sizes_(sizes), data_(data) {}
  int64_t size() { return *sizes_++; }
  template <typename T>
  T* pointer() {
    return static_cast<T*>(const_cast<void*>(*data_++));
  }

 private:
  const int64_t* sizes_;
  const void* const* data_;
};

// Memory that nobody has written yet: every byte is 0xff (NaN).
template <typename T>
std::unique_ptr<T[]> workspace(int64_t count) {
  auto memory = std::make_unique_for_overwrite<T[]>(count);
  std::memset(static_cast<void*>(memory.get()), 0xff, count * sizeof(T));
  return memory;
}

// Fewer types compile in half of the time.
template <typename Run>
void dispatch(int dtype, Run run) {
  if (dtype == 0) run(float{});
#ifndef KCIRCUITS_FLOAT_AND_BFLOAT16
  if (dtype == 1) run(double{});
  if (dtype == 2) run(Half{});
#endif
  if (dtype == 3) run(BFloat16{});
}

template <typename T>
void edge_mix(Arguments from, double eps) {
  using Acc = Accumulate<T>;
  EdgeMixCall<T> call = {};
  for (int64_t* size : {&call.receivers, &call.hypotheses, &call.prompts, &call.num_senders,
                        &call.tokens, &call.width}) {
    *size = from.size();
  }
  call.norm = static_cast<NormKind>(from.size());
  call.shared = from.size() != 0;
  call.eps = static_cast<Acc>(eps);
  for (MixOperand<T>* operand : {&call.senders, &call.ablated, &call.constant}) {
    operand->data = from.pointer<T>();
    operand->outer = from.size();
    operand->hypothesis = from.size();
    operand->prompt = from.size();
    operand->token = from.size();
  }
  call.weight_stride = from.size();
  call.bias_stride = from.size();
  call.mask = from.pointer<bool>();
  call.mask_weights = from.pointer<Acc>();
  call.weight = from.pointer<Acc>();
  call.bias = from.pointer<Acc>();
  call.out = from.pointer<T>();
  launch_edge_mix(call, nullptr);
}

template <typename T>
void edge_scores(Arguments from) {
  using Acc = Accumulate<T>;
  EdgeScoresCall<T> call = {};
  for (int64_t* size : {&call.senders, &call.receivers, &call.prompts, &call.tokens, &call.width}) {
    *size = from.size();
  }
  for (ScoreOperand<T>* operand : {&call.delta, &call.grad}) {
    operand->data = from.pointer<T>();
    operand->entry = from.size();
    operand->prompt = from.size();
    operand->token = from.size();
  }
  call.limits = from.pointer<int64_t>();
  call.positions = from.pointer<Acc>();
  call.scores = from.pointer<Acc>();
  call.per_position = from.size() != 0;
  call.accumulate = from.size() != 0;
  call.score_sender = from.size();
  call.score_receiver = from.size();
  call.score_token = from.size();
  call.shares = edge_scores_shares(call, /*multiprocessors=*/from.size());
  const auto partial = workspace<Acc>(call.shares * call.outputs());
  call.partial = partial.get();
  launch_edge_scores(call, nullptr);
}

template <typename T>
void vocab_readout(Arguments from, double soft_cap, double eps) {
  using Acc = Accumulate<T>;
  VocabReadoutCall<T> call = {};
  for (int64_t* size :
       {&call.rows, &call.vocabulary, &call.width, &call.targets_per_row, &call.topk}) {
    *size = from.size();
  }
  call.rank_range = from.size() != 0;
  call.soft_cap = static_cast<Acc>(soft_cap);
  call.norm = static_cast<NormKind>(from.size());
  call.eps = static_cast<Acc>(eps);
  call.hidden = from.pointer<T>();
  call.hidden_stride = from.size();
  call.unembedding = from.pointer<T>();
  call.unembedding_stride = from.size();
  call.targets = from.pointer<int64_t>();
  call.bias = from.pointer<Acc>();
  call.weight = from.pointer<Acc>();
  call.norm_bias = from.pointer<Acc>();
  call.scale = from.pointer<Acc>();
  call.target_logits = from.pointer<Acc>();
  call.ranks = from.pointer<int64_t>();
  call.log_sum_exp = from.pointer<double>();
  call.top_values = from.pointer<Acc>();
  call.top_ids = from.pointer<int64_t>();
  call.shares = vocab_readout_shares(call, /*multiprocessors=*/from.size());
  const int64_t slots = call.shares * call.rows;
  const auto normed = workspace<T>(call.rows * kNormParts<T> * call.width);
  const auto share_exp = workspace<RunningExp<double>>(slots);
  const auto share_greater = workspace<int64_t>(slots * call.targets_per_row);
  const auto share_less = workspace<int64_t>(call.rank_range ? slots * call.targets_per_row : 0);
  const auto share_values = workspace<Acc>(slots * call.topk);
  const auto share_ids = workspace<int64_t>(slots * call.topk);
  call.normed = normed.get();
  call.share_exp = share_exp.get();
  call.share_greater = share_greater.get();
  call.share_less = share_less.get();
  call.share_values = share_values.get();
  call.share_ids = share_ids.get();
  launch_vocab_readout(call, nullptr);
}

}  // namespace

extern "C" {

void emulate_edge_mix(int dtype, const int64_t* sizes, const void* const* data, double eps) {
  dispatch(dtype, [&]<typename T>(T) { edge_mix<T>({sizes, data}, eps); });
}

void emulate_edge_scores(int dtype, const int64_t* sizes, const void* const* data) {
  dispatch(dtype, [&]<typename T>(T) { edge_scores<T>({sizes, data}); });
}

void emulate_vocab_readout(int dtype, const int64_t* sizes, const void* const* data,
                           double soft_cap, double eps) {
  dispatch(dtype, [&]<typename T>(T) { vocab_readout<T>({sizes, data}, soft_cap, eps); });
}

void skip_barrier(const char* name) { emulation::skipped_barrier = name; }
}
