// One small call of every kernel, for a sanitizer to watch: races CASE [BARRIER], the barrier left
// out.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels.h"

namespace {

std::mt19937 generator(0);

template <typename T = float>
std::vector<T> normal(int64_t count) {
  std::normal_distribution<float> distribution;
  std::vector<T> values(count);
  for (T& value : values) value = static_cast<T>(distribution(generator));
  return values;
}

// bfloat16 and bool alike: an array of small numbers.
std::vector<uint16_t> bfloat16(int64_t count) {
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values) value = static_cast<uint16_t>(0x3f00 + generator() % 256);
  return values;
}

std::vector<uint8_t> mask(int64_t count) {
  std::vector<uint8_t> values(count);
  for (uint8_t& value : values) value = generator() % 3 != 0;
  return values;
}

// 40 receivers in tiles, more senders than threads; a width of one warp, or of several and two
// tiles.
void edge_mix(int64_t width, int64_t prompts) {
  constexpr int64_t kReceivers = 12, kSenders = 70;
  const auto senders = normal(kSenders * prompts * width);
  const auto wanted = mask(kReceivers * kSenders);
  std::vector<float> out(kReceivers * prompts * width);
  const int64_t layer_norm = 1;
  const int64_t sizes[] = {
      kReceivers, 1,     prompts, kSenders, 1, width, layer_norm, 1, prompts * width,
      0,          width, width,                                       // senders
      0,          0,     0,       0,        0, 0,     0,          0,  // ablated, constant
      0,          0};                                                 // weight, bias
  const void* data[] = {senders.data(), nullptr, nullptr, wanted.data(),
                        nullptr,        nullptr, nullptr, out.data()};
  emulate_edge_mix(0, sizes, data, 1e-5);
}

template <typename Values>
void edge_scores(int dtype, const Values& delta, const Values& grad, int64_t senders,
                 int64_t receivers, int64_t prompts, int64_t width) {
  const std::vector<int64_t> limits(receivers, senders);
  std::vector<float> scores(senders * receivers);
  const int64_t sizes[] = {senders,
                           receivers,
                           prompts,
                           1,
                           width,
                           prompts * width,
                           width,
                           width,
                           prompts * width,
                           width,
                           width,
                           0,
                           0,
                           receivers,
                           1,
                           0,
                           /*multiprocessors=*/1};
  const void* data[] = {delta.data(), grad.data(), limits.data(), nullptr, scores.data()};
  emulate_edge_scores(dtype, sizes, data);
}

template <typename Values>
void vocab_readout(int dtype, const Values& rows, const Values& unembedding, int64_t count,
                   int64_t vocabulary, int64_t width, int64_t norm) {
  constexpr int64_t kTop = 5;
  std::vector<int64_t> targets(count, 1), ranks(count), ids(count * kTop);
  std::vector<float> logits(count), values(count * kTop);
  std::vector<double> exps(count);
  const int64_t sizes[] = {count, vocabulary,           width, 1,
                           kTop,  /*rank_range=*/0,     norm,  width,
                           width, /*multiprocessors=*/1};
  const void* data[] = {
      rows.data(), unembedding.data(), targets.data(), nullptr,     nullptr,       nullptr,
      nullptr,     logits.data(),      ranks.data(),   exps.data(), values.data(), ids.data()};
  emulate_vocab_readout(dtype, sizes, data, /*soft_cap=*/3.0, 1e-5);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) return EXIT_FAILURE;
  if (argc == 3) skip_barrier(argv[2]);
  const std::string name = argv[1];
  if (name == "edge_mix") {
    edge_mix(256, 2);
  } else if (name == "edge_mix_wide") {
    edge_mix(4100, 1);
  } else if (name == "edge_scores") {
    edge_scores(0, normal(20 * 2 * 40), normal(3 * 2 * 40), 20, 3, 2, 40);
  } else if (name == "edge_scores_bfloat16") {
    edge_scores(3, bfloat16(20 * 2 * 80), bfloat16(3 * 2 * 80), 20, 3, 2, 80);
  } else if (name == "vocab_readout") {
    vocab_readout(0, normal(9 * 36), normal(300 * 36), 9, 300, 36, /*layernorm*/ 1);
  } else if (name == "vocab_readout_bfloat16") {
    vocab_readout(3, bfloat16(3 * 36), bfloat16(140 * 36), 3, 140, 36, /*rmsnorm*/ 2);
  } else {
    std::fprintf(stderr, "no case is called %s\n", argv[1]);
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
