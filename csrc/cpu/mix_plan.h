// In which order edge_mix adds the senders up for many receivers and hypotheses.
//
// Rows of a mask have much in common: all hypotheses of a speculative chunk, all receivers of a
// layer. The plan of a run of rows is a binary tree over the rows. A node adds the edges that all
// rows below it share and its parent has not added; a leaf finishes one row. Every row's sum is
// therefore built from exactly its own present edges, in fp32, without ever taking one back out:
// sharing work costs no accuracy, and the plan is never longer than adding every row up by itself.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace kcircuits::cpu {

// Rows per run; log2 of it bounds the sums that are alive at a time.
inline constexpr int64_t kRowsPerRun = 64;
inline constexpr int64_t kMaxDepth = 7;

struct MixStep {
  int32_t from;        // slot whose sum this step starts with, or -1 for zero
  int32_t to;          // slot that takes the sum; unused in a leaf
  int64_t row;         // mask row that this leaf finishes, or -1 within the tree
  int64_t begin, end;  // the terms it adds
};

struct MixRun {
  int64_t hypothesis;            // whose senders are read; 0 where they are shared
  std::vector<MixStep> steps;    // parents before children, the rows in order
  std::vector<int32_t> sources;  // terms: s < S reads sender s, S + s reads ablated s
  std::vector<double> weights;   // their weights
};

// `mask` [R, M, S] bool or floating. A row is r * M + m. With `shared`, a run may span receivers
// and hypotheses; otherwise only receivers of one hypothesis. With `ablated`, absent edges read S +
// s.
std::vector<MixRun> make_mix_plan(const at::Tensor& mask, bool shared, bool ablated);

// Terms of the whole plan: additions of one row of D elements for one token.
int64_t count_terms(const std::vector<MixRun>& plan);

}  // namespace kcircuits::cpu
