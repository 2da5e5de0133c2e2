// edge_mix on the GPU. A block takes one position (prompt, token) and a tile of mask rows, and
// keeps their sums over the width in registers.
//
// The tile's rows are compared sender by sender. A sender that all rows want (or whose ablated
// value all rows want) is added once, to a base that every row starts from; only senders on which
// the rows differ cost one addition per row. Neighbouring rows of a speculative chunk differ in a
// handful of senders, so a tile costs about as many additions as one row. Absent senders are never
// read.
//
// Bytes moved per position: s·D·b for the s senders that a tile reads (from L2 where several tiles
// of the position run at a time), rows·D·b written. FLOP: s·D plus rows·D for each differing
// sender. Bound: memory bandwidth. A width beyond one tile of registers is swept twice when there
// is a norm.
#pragma once

#include <algorithm>

#include "cuda/block.cuh"
#include "norm_kind.h"

namespace kcircuits::cuda {

// Rows of `width` adjacent elements at four strides, in elements; 0 where the rows broadcast.
template <typename T>
struct MixOperand {
  const T* data = nullptr;
  int64_t outer = 0, hypothesis = 0, prompt = 0, token = 0;

  __device__ const T* at(int64_t m, int64_t p, int64_t t) const {
    return data + m * hypothesis + p * prompt + t * token;
  }
  bool aligned() const { return aligned_rows(data, outer, hypothesis, prompt, token); }
};

// The op's problem (ops/edge_mix.h) as pointers. Exactly one of mask and weights is set: [R, M, S].
template <typename T>
struct EdgeMixCall {
  int64_t receivers, hypotheses, prompts, num_senders, tokens, width;
  NormKind norm;
  bool shared;
  Accumulate<T> eps;
  MixOperand<T> senders, ablated, constant;
  const bool* mask;
  const Accumulate<T>* mask_weights;
  const Accumulate<T>* weight;  // [R, D] at weight_stride, or null
  const Accumulate<T>* bias;
  int64_t weight_stride, bias_stride;
  T* out;  // [R, M * P, T, D]

  // Mask rows that read the same senders: all of them, or the receivers of one hypothesis.
  __host__ __device__ int64_t groups() const { return shared ? 1 : hypotheses; }
  __host__ __device__ int64_t rows_per_group() const {
    return shared ? receivers * hypotheses : receivers;
  }
};

inline constexpr int kMixThreads = 512;

// Mask rows of a tile: their sums, and what it takes to make them, stay in 128 registers.
template <typename T>
constexpr int mix_rows(int elements, bool weighted) {
  const int sums = (sizeof(Accumulate<T>) == 8 ? 16 : 40) / (weighted ? 2 : 1);
  return std::clamp(sums / elements, 1, 16);
}

// What the rows of a tile want of a run of up to kMixThreads senders.
template <typename Acc, int kRows, bool kWeighted>
struct MixTerms {
  int common[kMixThreads];     // sender s, or ~s for its ablated value: the same for all rows
  int mixed[kMixThreads];      // senders on which the rows differ,
  unsigned rows[kMixThreads];  // and the rows that want them,
  Acc weights[kWeighted ? kRows : 1][kWeighted ? kMixThreads : 1];  // or each row's weight
  int counts[2][kMixThreads / kWarp];                               // per warp
};

template <typename T, int kVector, int kChunks, bool kWeighted>
class EdgeMixTile {
 public:
  static constexpr int kRows = mix_rows<T>(kVector * kChunks, kWeighted);
  using Acc = Accumulate<T>;

  struct Shared {
    MixTerms<Acc, kRows, kWeighted> terms;
    Acc partial[kRows][kMixThreads / kWarp];
    Acc mean[kRows], square[kRows];  // of the width seen so far; square is about the mean
  };

  // `item` counts tiles of rows fastest, so that blocks beside each other read the same senders.
  __device__ EdgeMixTile(const EdgeMixCall<T>& call, Shared& shared, int64_t item)
      : call_(call), shared_(shared) {
    const int64_t rows_per_group = call.rows_per_group();
    const int64_t tiles = (rows_per_group + kRows - 1) / kRows;
    first_ = item % tiles * kRows;
    rows_ = static_cast<int>(rows_per_group - first_ < kRows ? rows_per_group - first_ : kRows);
    int64_t rest = item / tiles;
    token_ = rest % call.tokens;
    rest /= call.tokens;
    prompt_ = rest % call.prompts;
    group_ = rest / call.prompts;
  }

  __device__ void run() {
    const int64_t span = static_cast<int64_t>(blockDim.x) * kVector * kChunks;
    const bool norm = call_.norm != NormKind::kNone;
    if (norm && threadIdx.x < kRows) {
      shared_.mean[threadIdx.x] = 0;
      shared_.square[threadIdx.x] = 0;
    }
    // Narrow rows stay in registers from the sum to the norm.
    if (norm && call_.width > span) {
      for (begin_ = 0; begin_ < call_.width; begin_ += span) {
        mix();
        measure();
      }
    }
    for (begin_ = 0; begin_ < call_.width; begin_ += span) {
      mix();
      if (norm && call_.width <= span) measure();
      write();
    }
  }

 private:
  __device__ int64_t element(int chunk) const {
    return begin_ + (static_cast<int64_t>(chunk) * blockDim.x + threadIdx.x) * kVector;
  }
  // Whether this thread's vector lies inside the row; width is a multiple of kVector.
  __device__ bool inside(int chunk) const { return element(chunk) < call_.width; }
  __device__ int64_t mask_row(int row) const {
    return call_.shared ? first_ + row : (first_ + row) * call_.hypotheses + group_;
  }

  // x_ = the tile's sums over this part of the width.
  __device__ void mix() {
    Acc base[kChunks][kVector] = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
#pragma unroll
        for (int v = 0; v < kVector; ++v) x_[r][c][v] = 0;
      }
    }
    for (int64_t first = 0; first < call_.num_senders; first += blockDim.x) {
      gather(first);
      add_common(base, shared_.terms.counts[0]);
      add_mixed(shared_.terms.counts[1]);
      KCIRCUITS_BARRIER(terms_used);
    }
    add_base_and_constant(base);
  }

  // Sorts the senders from `first` on, one per thread, into common and mixed ones.
  __device__ void gather(int64_t first) {
    auto& terms = shared_.terms;
    const int64_t sender = first + threadIdx.x;
    const unsigned full = (1u << rows_) - 1;
    unsigned wanted = 0, partly = 0;
    if (sender < call_.num_senders) {
      for (int r = 0; r < rows_; ++r) {
        const int64_t at = mask_row(r) * call_.num_senders + sender;
        if constexpr (kWeighted) {
          const Acc weight = call_.mask_weights[at];
          wanted |= static_cast<unsigned>(weight == 1) << r;
          partly |= static_cast<unsigned>(weight != 0 && weight != 1) << r;
        } else {
          wanted |= static_cast<unsigned>(call_.mask[at]) << r;
        }
      }
    }
    const bool nobody = wanted == 0 && partly == 0;
    const bool ablated = nobody && call_.ablated.data != nullptr && sender < call_.num_senders;
    const bool common = wanted == full || ablated;
    const bool mixed = !nobody && wanted != full;

    const unsigned warp = threadIdx.x / kWarp;
    const unsigned before = (1u << threadIdx.x % kWarp) - 1;
    const unsigned common_lanes = __ballot_sync(kAllLanes, common);
    const unsigned mixed_lanes = __ballot_sync(kAllLanes, mixed);
    if (threadIdx.x % kWarp == 0) {
      terms.counts[0][warp] = __popc(common_lanes);
      terms.counts[1][warp] = __popc(mixed_lanes);
    }
    KCIRCUITS_BARRIER(counts_known);
    if (common) {
      const int at = total(terms.counts[0], warp) + __popc(common_lanes & before);
      terms.common[at] = static_cast<int>(nobody ? ~sender : sender);
    }
    if (mixed) {
      const int at = total(terms.counts[1], warp) + __popc(mixed_lanes & before);
      terms.mixed[at] = static_cast<int>(sender);
      terms.rows[at] = wanted;
      if constexpr (kWeighted) {
        for (int r = 0; r < kRows; ++r) {
          const int64_t row = mask_row(r < rows_ ? r : 0);
          terms.weights[r][at] = call_.mask_weights[row * call_.num_senders + sender];
        }
      }
    }
    KCIRCUITS_BARRIER(terms_known);
  }

  __device__ int total(const int* counts, unsigned warps) const {
    int sum = 0;
    for (unsigned w = 0; w < warps; ++w) sum += counts[w];
    return sum;
  }

  __device__ void add_common(Acc (&base)[kChunks][kVector], const int* counts) const {
    const T* senders = call_.senders.at(group_, prompt_, token_);
    const T* ablated = call_.ablated.at(group_, prompt_, token_);
    const int count = total(counts, blockDim.x / kWarp);
#pragma unroll 4
    for (int i = 0; i < count; ++i) {
      const int64_t term = shared_.terms.common[i];
      const T* row =
          term >= 0 ? senders + term * call_.senders.outer : ablated + ~term * call_.ablated.outer;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        if (!inside(c)) continue;
        Acc values[kVector];
        load(row + element(c), values);
#pragma unroll
        for (int v = 0; v < kVector; ++v) base[c][v] += values[v];
      }
    }
  }

  __device__ void add_mixed(const int* counts) {
    const T* senders = call_.senders.at(group_, prompt_, token_);
    const T* ablated = call_.ablated.at(group_, prompt_, token_);
    const int count = total(counts, blockDim.x / kWarp);
    for (int i = 0; i < count; ++i) {
      const int64_t sender = shared_.terms.mixed[i];
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        if (!inside(c)) continue;
        Acc present[kVector], absent[kVector] = {};
        load(senders + sender * call_.senders.outer + element(c), present);
        if (call_.ablated.data != nullptr) {
          load(ablated + sender * call_.ablated.outer + element(c), absent);
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          if constexpr (kWeighted) {
            const Acc weight = shared_.terms.weights[r][i];
#pragma unroll
            for (int v = 0; v < kVector; ++v) {
              x_[r][c][v] += weight * present[v] + (1 - weight) * absent[v];
            }
          } else {
            const bool wanted = shared_.terms.rows[i] >> r & 1;
#pragma unroll
            for (int v = 0; v < kVector; ++v) x_[r][c][v] += wanted ? present[v] : absent[v];
          }
        }
      }
    }
  }

  __device__ void add_base_and_constant(const Acc (&base)[kChunks][kVector]) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= rows_) break;
      const int64_t row = mask_row(r);
      const T* constant = call_.constant.at(row % call_.hypotheses, prompt_, token_) +
                          row / call_.hypotheses * call_.constant.outer;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        Acc values[kVector] = {};
        if (call_.constant.data != nullptr && inside(c)) load(constant + element(c), values);
#pragma unroll
        for (int v = 0; v < kVector; ++v) x_[r][c][v] += base[c][v] + values[v];
      }
    }
  }

  // Takes this part of the width into mean and square, by Chan's update of a mean and a sum of
  // squares.
  __device__ void measure() {
    const int64_t span = static_cast<int64_t>(blockDim.x) * kVector * kChunks;
    const auto seen = static_cast<Acc>(begin_);
    const auto count = static_cast<Acc>(call_.width - begin_ < span ? call_.width - begin_ : span);
    const bool centre = call_.norm == NormKind::kLayerNorm;
    Acc means[kRows] = {};
    if (centre) {
      sum_rows(means, false);
#pragma unroll
      for (int r = 0; r < kRows; ++r) means[r] = r < rows_ ? row_total(r) / count : 0;
      KCIRCUITS_BARRIER(sums_used);
    }
    sum_rows(means, true);
    if (static_cast<int>(threadIdx.x) < rows_) {
      const int r = static_cast<int>(threadIdx.x);
      Acc mean = 0;
#pragma unroll
      for (int i = 0; i < kRows; ++i) mean = i == r ? means[i] : mean;
      const Acc difference = mean - shared_.mean[r];
      const Acc square = row_total(r) + difference * difference * seen * count / (seen + count);
      shared_.square[r] += square;
      shared_.mean[r] += difference * count / (seen + count);
    }
    KCIRCUITS_BARRIER(measured);
  }

  // Leaves per-warp sums of x, or of (x - mean)², of every row in shared memory.
  __device__ void sum_rows(const Acc (&means)[kRows], bool square) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= rows_) break;
      Acc sum = 0;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        if (!inside(c)) continue;
#pragma unroll
        for (int v = 0; v < kVector; ++v) {
          const Acc value = x_[r][c][v] - means[r];
          sum += square ? value * value : value;
        }
      }
      sum = warp_sum(sum);
      if (threadIdx.x % kWarp == 0) shared_.partial[r][threadIdx.x / kWarp] = sum;
    }
    KCIRCUITS_BARRIER(sums_known);
  }

  __device__ Acc row_total(int row) const {
    Acc sum = 0;
    for (unsigned w = 0; w < blockDim.x / kWarp; ++w) sum += shared_.partial[row][w];
    return sum;
  }

  __device__ void write() const {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= rows_) break;
      const int64_t row = mask_row(r);
      const int64_t receiver = row / call_.hypotheses;
      Acc mean = 0, scale = 1;
      if (call_.norm != NormKind::kNone) {
        mean = shared_.mean[r];
        if (call_.norm == NormKind::kRmsNorm) mean = 0;
        scale = 1 / sqrt(shared_.square[r] / static_cast<Acc>(call_.width) + call_.eps);
      }
      T* out = call_.out + ((row * call_.prompts + prompt_) * call_.tokens + token_) * call_.width;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        if (!inside(c)) continue;
        Acc values[kVector], factor[kVector], shift[kVector] = {};
#pragma unroll
        for (int v = 0; v < kVector; ++v) factor[v] = 1;
        if (call_.weight != nullptr) {
          load(call_.weight + receiver * call_.weight_stride + element(c), factor);
        }
        if (call_.bias != nullptr) {
          load(call_.bias + receiver * call_.bias_stride + element(c), shift);
        }
#pragma unroll
        for (int v = 0; v < kVector; ++v) {
          values[v] = (x_[r][c][v] - mean) * scale * factor[v] + shift[v];
        }
        store(values, out + element(c));
      }
    }
  }

  const EdgeMixCall<T>& call_;
  Shared& shared_;
  int64_t first_, token_, prompt_, group_;
  int64_t begin_ = 0;
  int rows_;
  Acc x_[kRows][kChunks][kVector];
};

template <typename T, int kVector, int kChunks, bool kWeighted>
__global__ void __launch_bounds__(kMixThreads) edge_mix_kernel(const EdgeMixCall<T> call) {
  using Tile = EdgeMixTile<T, kVector, kChunks, kWeighted>;
  __shared__ typename Tile::Shared shared;
  const int64_t tiles = (call.rows_per_group() + Tile::kRows - 1) / Tile::kRows;
  const int64_t items = call.groups() * call.prompts * call.tokens * tiles;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    Tile(call, shared, item).run();
    KCIRCUITS_BARRIER(statistics_used);
  }
}

template <typename T, int kVector, int kChunks, bool kWeighted>
void launch_edge_mix_tile(const EdgeMixCall<T>& call, cudaStream_t stream) {
  constexpr int kRows = mix_rows<T>(kVector * kChunks, kWeighted);
  const int64_t items =
      call.groups() * call.prompts * call.tokens * ceil_div(call.rows_per_group(), kRows);
  const int64_t lanes = ceil_div(call.width, kVector * kChunks);
  const auto threads =
      static_cast<int>(std::min<int64_t>(ceil_div(lanes, kWarp) * kWarp, kMixThreads));
  launch(&edge_mix_kernel<T, kVector, kChunks, kWeighted>, items, threads, stream, call);
}

// Any size may be 0; num_senders is below 2^31.
template <typename T>
void launch_edge_mix(EdgeMixCall<T> call, cudaStream_t stream) {
  constexpr int kVector = kVectorOf<T>;
  const bool weighted = call.mask_weights != nullptr;
  const bool vectors =
      call.width % kVector == 0 && call.senders.aligned() && call.ablated.aligned() &&
      call.constant.aligned() && aligned_rows(call.weight, call.weight_stride) &&
      aligned_rows(call.bias, call.bias_stride) && aligned_rows(call.out, call.width);
  if (weighted && vectors) {
    launch_edge_mix_tile<T, kVector, 2, true>(call, stream);
  } else if (weighted) {
    launch_edge_mix_tile<T, 1, 4, true>(call, stream);
  } else if (!vectors) {
    launch_edge_mix_tile<T, 1, 4, false>(call, stream);
  } else if (call.width <= int64_t{kVector} * kMixThreads) {
    launch_edge_mix_tile<T, kVector, 1, false>(call, stream);
  } else {
    launch_edge_mix_tile<T, kVector, 2, false>(call, stream);
  }
}

}  // namespace kcircuits::cuda
