// vocab_readout on the GPU: logits are made tile by tile and consumed before the next tile.
//
// A block takes a tile of rows and a share of the vocabulary. A tile's logits go through shared
// memory to the warp that owns the row, which keeps its log-sum-exp and a sorted list of the best
// k. The target's logit is made first, by the same product, so that it ties with equal rows of the
// unembedding exactly. A last kernel merges the shares.
//
// A normed float16 or bfloat16 row is multiplied as two rows of that type, its rounded value and
// the rest: float32's accuracy to 2^-17, at twice the tensor-core work and no more traffic.
//
// Bytes moved: V·D·b per tile of 64 rows (once from memory where the tiles run side by side),
// N·D·b. FLOP: 2·N·V·D. Extra memory: shares·N·(k + K), with shares·⌈N/64⌉ about twice the
// multiprocessors. Bound: memory bandwidth for few rows; FMA units (float32) from about 32 rows,
// tensor cores from about 300.
#pragma once

#include "cuda/product.cuh"
#include "cuda/vocab_best.cuh"
#include "norm_kind.h"

namespace kcircuits::cuda {

template <typename T>
struct VocabReadoutCall {
  using Acc = Accumulate<T>;

  int64_t rows, vocabulary, width, targets_per_row, topk;
  bool rank_range;  // ranks are [N, K, 2], the first and the last of the places of equal logits
  Acc soft_cap;     // 0: none
  NormKind norm;
  Acc eps;
  const T* hidden;  // [N, D] at hidden_stride
  int64_t hidden_stride;
  const T* unembedding;  // [V, D] at unembedding_stride
  int64_t unembedding_stride;
  const int64_t* targets;  // [N, K]
  const Acc* bias;         // [V] or null, as the next three
  const Acc* weight;       // [D]
  const Acc* norm_bias;    // [D]
  const Acc* scale;        // [N]

  Acc* target_logits;   // [N, K]
  int64_t* ranks;       // [N, K], or [N, K, 2]
  double* log_sum_exp;  // [N]
  Acc* top_values;      // [N, k]
  int64_t* top_ids;

  int64_t shares = 1;
  T* normed = nullptr;                      // [N, parts, D], where there is a norm
  RunningExp<double>* share_exp = nullptr;  // [shares, N]
  int64_t* share_greater = nullptr;         // [shares, N, K]
  int64_t* share_less = nullptr;            // the same, for a range
  Acc* share_values = nullptr;              // [shares, N, k]
  int64_t* share_ids = nullptr;
  bool aligned = false;  // the product's rows can be read in 16-byte accesses

  __device__ Acc cap(Acc logit) const {
    return soft_cap > 0 ? soft_cap * tanh(logit / soft_cap) : logit;
  }
};

// A normed row of T is held in this many rows of T.
template <typename T>
inline constexpr int kNormParts = sizeof(T) == 2 ? 2 : 1;

inline constexpr int kNormThreads = 256;

template <typename Acc>
__device__ Acc block_sum(Acc value, Acc* partial) {
  value = warp_sum(value);
  KCIRCUITS_BARRIER(norm_partial_free);
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
  KCIRCUITS_BARRIER(norm_partial_known);
  Acc sum = 0;
  for (unsigned w = 0; w < blockDim.x / kWarp; ++w) sum += partial[w];
  return sum;
}

// One block per row. Bytes moved: N·D·b read (again from the cache) and parts·N·D·b written.
template <typename T>
__global__ void __launch_bounds__(kNormThreads) vocab_norm_kernel(const VocabReadoutCall<T> call) {
  using Acc = Accumulate<T>;
  __shared__ Acc partial[kNormThreads / kWarp];
  const auto width = static_cast<Acc>(call.width);
  for (int64_t row = blockIdx.x; row < call.rows; row += gridDim.x) {
    const T* from = call.hidden + row * call.hidden_stride;
    Acc mean = 0;
    if (call.norm == NormKind::kLayerNorm) {
      Acc sum = 0;
      for (int64_t i = threadIdx.x; i < call.width; i += blockDim.x) sum += widen(from[i]);
      mean = block_sum(sum, partial) / width;
    }
    Acc scale;
    if (call.scale != nullptr) {
      scale = call.scale[row];
    } else {
      Acc square = 0;
      for (int64_t i = threadIdx.x; i < call.width; i += blockDim.x) {
        const Acc centred = widen(from[i]) - mean;
        square += centred * centred;
      }
      scale = 1 / sqrt(block_sum(square, partial) / width + call.eps);
    }
    T* to = call.normed + row * kNormParts<T> * call.width;
    for (int64_t i = threadIdx.x; i < call.width; i += blockDim.x) {
      Acc value = (widen(from[i]) - mean) * scale;
      if (call.weight != nullptr) value *= call.weight[i];
      if (call.norm_bias != nullptr) value += call.norm_bias[i];
#pragma unroll
      for (int part = 0; part < kNormParts<T>; ++part) {
        narrow(value, to[part * call.width + i]);
        value -= widen(to[part * call.width + i]);
      }
    }
  }
}

// The tile's columns: row `first + column` of hidden, or of its parts where it was normed.
template <typename Tile>
struct HiddenRows {
  using T = typename Tile::Element;
  const T* data;
  int64_t stride, part_stride, left;

  __device__ HiddenRows(const VocabReadoutCall<T>& call, int64_t first)
      : data(call.hidden), stride(call.hidden_stride), part_stride(0), left(call.rows - first) {
    if (call.norm != NormKind::kNone) {
      data = call.normed;
      stride = kNormParts<T> * call.width;
      part_stride = call.width;
    }
    data += first * stride;
  }
  __device__ const T* operator()(int row) const {
    const int column = row % Tile::kColumns;
    if (column >= left) return nullptr;
    return data + column * stride + row / Tile::kColumns * part_stride;
  }
};

// Stops the device where a target is no word, with a message: the host cannot look without waiting.
template <typename T>
__global__ void vocab_check_kernel(const VocabReadoutCall<T> call) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < call.rows * call.targets_per_row; i += stride) {
    const int64_t target = call.targets[i];
    if (target >= 0 && target < call.vocabulary) continue;
    printf("vocab_readout: targets must be ids in [0, %lld), got %lld for row %lld\n",
           static_cast<long long>(call.vocabulary), static_cast<long long>(target),
           static_cast<long long>(i / call.targets_per_row));
    __trap();
  }
}

// target_logits, before the cap. The tile's row i is the unembedding of column i's target. An item
// is a tile of rows and one of a row's targets. FLOP: 128/V of the whole product.
template <typename Tile>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks)
    vocab_target_kernel(const VocabReadoutCall<typename Tile::Element> call) {
  using T = typename Tile::Element;
  __shared__ typename Tile::Shared shared;
  const int64_t row_tiles = (call.rows + Tile::kColumns - 1) / Tile::kColumns;
  for (int64_t item = blockIdx.x; item < row_tiles * call.targets_per_row; item += gridDim.x) {
    const int64_t first = item / call.targets_per_row * Tile::kColumns;
    const int64_t which = item % call.targets_per_row;
    const int64_t* targets = call.targets + first * call.targets_per_row + which;
    Tile product;
    product.clear();
    const auto target_rows = [&](int row) -> const T* {
      if (row >= Tile::kColumns || first + row >= call.rows) return nullptr;
      const int64_t target = targets[row * call.targets_per_row];
      return call.unembedding + target * call.unembedding_stride;
    };
    product.run(shared, target_rows, HiddenRows<Tile>(call, first), call.aligned, call.width);
    product.each([&](int row, int column, auto value) {
      if (row != column || first + row >= call.rows) return;
      const int64_t at = (first + row) * call.targets_per_row + which;
      if (call.bias != nullptr) value += call.bias[call.targets[at]];
      call.target_logits[at] = value;
    });
  }
}

// One tile of rows and one share of the vocabulary.
template <typename Tile>
class ReadoutTile {
 public:
  using T = typename Tile::Element;
  using Acc = Accumulate<T>;

  struct Shared {
    // The logits take the place of the product's operands.
    union {
      typename Tile::Shared operands;
      Acc logits[Tile::kColumns][Tile::kRows + 4];
    };
    RunningExp<double> running[Tile::kColumns];  // each row's belongs to its warp's first lane
  };

  // `item` counts tiles of rows fastest: blocks beside each other read the same vocabulary.
  __device__ ReadoutTile(const VocabReadoutCall<T>& call, Shared& shared, int64_t item)
      : call_(call), shared_(shared) {
    const int64_t row_tiles = (call.rows + Tile::kColumns - 1) / Tile::kColumns;
    first_ = item % row_tiles * Tile::kColumns;
    share_ = item / row_tiles;
  }

  __device__ void run() {
    start();
    const int64_t tiles = (call_.vocabulary + Tile::kRows - 1) / Tile::kRows;
    const int64_t last = tiles * (share_ + 1) / call_.shares;
    for (int64_t tile = tiles * share_ / call_.shares; tile < last; ++tile) {
      multiply(tile * Tile::kRows);
      for (int column = warp(); column < Tile::kColumns; column += kProductWarps) {
        if (row(column) < call_.rows) consume(column, tile * Tile::kRows);
      }
    }
    finish();
  }

 private:
  static constexpr int kPerLane = Tile::kRows / kWarp;  // logits of a row in each lane

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / kWarp; }
  __device__ int64_t row(int column) const { return first_ + column; }
  // Where this share keeps what it knows of a row.
  __device__ int64_t slot(int column) const { return share_ * call_.rows + row(column); }
  __device__ BestList<Acc> best(int column) const {
    const int64_t at = slot(column) * call_.topk;
    return {call_.share_values + at, call_.share_ids + at, call_.topk};
  }

  // Rows are dealt to the warps in turn; nobody else touches a row's state.
  __device__ void start() {
    for (int column = warp(); column < Tile::kColumns; column += kProductWarps) {
      if (row(column) >= call_.rows) continue;
      if (lane() == 0) shared_.running[column] = RunningExp<double>::none();
      best(column).clear();
      for (int64_t k = lane(); k < call_.targets_per_row; k += kWarp) {
        call_.share_greater[slot(column) * call_.targets_per_row + k] = 0;
        if (call_.rank_range) call_.share_less[slot(column) * call_.targets_per_row + k] = 0;
      }
    }
  }

  __device__ void multiply(int64_t first) {
    Tile product;
    product.clear();
    const T* data = call_.unembedding + first * call_.unembedding_stride;
    const int64_t left = call_.vocabulary - first;
    const auto vocabulary_rows = [data, left, stride = call_.unembedding_stride](int row) {
      return row < left ? data + row * stride : nullptr;
    };
    product.run(shared_.operands, vocabulary_rows, HiddenRows<Tile>(call_, first_), call_.aligned,
                call_.width);
    KCIRCUITS_BARRIER(operands_used);
    product.each([&](int row, int column, Acc value) { shared_.logits[column][row] = value; });
    KCIRCUITS_BARRIER(logits_known);
  }

  // Lane l has the logits of the words first + l + 32·j.
  __device__ void consume(int column, int64_t first) {
    Acc logits[kPerLane];
    bool inside[kPerLane];
    auto exps = RunningExp<Acc>::none();
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      const int64_t id = first + lane() + j * kWarp;
      inside[j] = id < call_.vocabulary;
      Acc& logit = shared_.logits[column][lane() + j * kWarp];
      if (inside[j] && call_.bias != nullptr) logit += call_.bias[id];
      logits[j] = logit;
      if (inside[j]) exps.add(call_.cap(logit));
    }
    exps.add_lanes();
    if (lane() == 0) shared_.running[column].add(exps.maximum, exps.sum);
    count_greater(column, logits, inside);
    if (call_.topk > 0) keep_best(column, first);
  }

  // Lane k counts for target k.
  __device__ void count_greater(int column, const Acc (&logits)[kPerLane],
                                const bool (&inside)[kPerLane]) {
    for (int64_t base = 0; base < call_.targets_per_row; base += kWarp) {
      const int64_t mine = base + lane();
      const bool have = mine < call_.targets_per_row;
      const Acc target =
          have ? call_.target_logits[row(column) * call_.targets_per_row + mine] : Acc(0);
      const int64_t left = call_.targets_per_row - base;
      int count = 0, count_less = 0;
      for (int k = 0; k < kWarp && k < left; ++k) {
        const Acc bound = __shfl_sync(kAllLanes, target, k);
        int greater = 0;
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
          greater += __popc(__ballot_sync(kAllLanes, inside[j] && logits[j] > bound));
        }
        if (k == lane()) count = greater;
        if (!call_.rank_range) continue;
        int less = 0;
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
          less += __popc(__ballot_sync(kAllLanes, inside[j] && logits[j] < bound));
        }
        if (k == lane()) count_less = less;
      }
      const int64_t at = slot(column) * call_.targets_per_row + mine;
      if (have) call_.share_greater[at] += count;
      if (have && call_.rank_range) call_.share_less[at] += count_less;
    }
  }

  __device__ void keep_best(int column, int64_t first) {
    BestList<Acc> list = best(column);
#pragma unroll 1
    for (int j = 0; j < kPerLane; ++j) {
      const int64_t id = first + lane() + j * kWarp;
      const Acc logit = shared_.logits[column][lane() + j * kWarp];
      unsigned candidates =
          __ballot_sync(kAllLanes, id < call_.vocabulary && list.enters(logit, id));
      for (; candidates != 0; candidates &= candidates - 1) {
        const int from = __ffs(static_cast<int>(candidates)) - 1;
        const Acc value = __shfl_sync(kAllLanes, logit, from);
        const int64_t value_id = first + from + j * kWarp;
        if (list.enters(value, value_id)) list.insert(value, value_id);
      }
    }
  }

  __device__ void finish() {
    for (int column = warp(); column < Tile::kColumns; column += kProductWarps) {
      if (row(column) < call_.rows && lane() == 0) {
        call_.share_exp[slot(column)] = shared_.running[column];
      }
    }
  }

  const VocabReadoutCall<T>& call_;
  Shared& shared_;
  int64_t first_, share_;
};

template <typename Tile>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks)
    vocab_readout_kernel(const VocabReadoutCall<typename Tile::Element> call) {
  __shared__ typename ReadoutTile<Tile>::Shared shared;
  const int64_t row_tiles = (call.rows + Tile::kColumns - 1) / Tile::kColumns;
  for (int64_t item = blockIdx.x; item < row_tiles * call.shares; item += gridDim.x) {
    ReadoutTile<Tile>(call, shared, item).run();
  }
}

// One warp per row puts the shares together. Bytes moved: all of the shares' memory, once.
template <typename T>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks)
    vocab_merge_kernel(const VocabReadoutCall<T> call) {
  using Acc = Accumulate<T>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kProductWarps;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kProductWarps + threadIdx.x / kWarp;
       row < call.rows; row += stride) {
    auto total = RunningExp<double>::none();
    BestList<Acc> list(call.top_values + row * call.topk, call.top_ids + row * call.topk,
                       call.topk);
    list.clear();
    for (int64_t share = 0; share < call.shares; ++share) {
      const int64_t slot = share * call.rows + row;
      total.add(call.share_exp[slot].maximum, call.share_exp[slot].sum);
      for (int64_t i = 0; i < call.topk; ++i) {  // sorted: the first that fails ends the share
        const Acc value = call.share_values[slot * call.topk + i];
        const int64_t id = call.share_ids[slot * call.topk + i];
        if (!list.enters(value, id)) break;
        list.insert(value, id);
      }
    }
    if (lane == 0) call.log_sum_exp[row] = total.log();
    KCIRCUITS_WARP_BARRIER(list_compared);  // no lane still compares with the uncapped values
    for (int64_t i = lane; i < call.topk; i += kWarp) {
      call.top_values[row * call.topk + i] = call.cap(call.top_values[row * call.topk + i]);
    }
    for (int64_t k = lane; k < call.targets_per_row; k += kWarp) {
      const int64_t at = row * call.targets_per_row + k;
      int64_t greater = 0, less = 0;
      for (int64_t share = 0; share < call.shares; ++share) {
        const int64_t slot = share * call.rows * call.targets_per_row + at;
        greater += call.share_greater[slot];
        if (call.rank_range) less += call.share_less[slot];
      }
      if (call.rank_range) {
        call.ranks[2 * at] = 1 + greater;
        call.ranks[2 * at + 1] = call.vocabulary - less;
      } else {
        call.ranks[at] = 1 + greater;
      }
      call.target_logits[at] = call.cap(call.target_logits[at]);
    }
  }
}

// The tile's columns: with few rows the pass is a stream through the unembedding.
inline bool narrow_readout(int64_t rows) { return rows <= 16; }

// Into how many shares to cut the vocabulary, so that every multiprocessor has work.
template <typename T>
int64_t vocab_readout_shares(const VocabReadoutCall<T>& call, int64_t multiprocessors) {
  const int64_t row_tiles = ceil_div(call.rows, narrow_readout(call.rows) ? 16 : 64);
  const int64_t vocabulary_tiles = ceil_div(call.vocabulary, sizeof(T) == 8 ? 64 : 128);
  const int64_t wanted = ceil_div(2 * multiprocessors, std::max<int64_t>(row_tiles, 1));
  return std::max<int64_t>(1, std::min(wanted, vocabulary_tiles));
}

template <typename Tile>
void launch_vocab_readout_tiles(const VocabReadoutCall<typename Tile::Element>& call,
                                cudaStream_t stream) {
  using T = typename Tile::Element;
  const int64_t row_tiles = ceil_div(call.rows, Tile::kColumns);
  if (call.targets_per_row > 0) {
    launch(&vocab_check_kernel<T>, ceil_div(call.rows * call.targets_per_row, kProductThreads),
           kProductThreads, stream, call);
    launch(&vocab_target_kernel<Tile>, row_tiles * call.targets_per_row, kProductThreads, stream,
           call);
  }
  launch(&vocab_readout_kernel<Tile>, row_tiles * call.shares, kProductThreads, stream, call);
  launch(&vocab_merge_kernel<T>, ceil_div(call.rows, kProductWarps), kProductThreads, stream, call);
}

// shares and the shares' memory are set. Any size may be 0.
template <typename T>
void launch_vocab_readout(VocabReadoutCall<T> call, cudaStream_t stream) {
  const bool normed = call.norm != NormKind::kNone;
  if (normed) launch(&vocab_norm_kernel<T>, call.rows, kNormThreads, stream, call);
  call.aligned =
      call.width % kVectorOf<T> == 0 && aligned_rows(call.unembedding, call.unembedding_stride) &&
      (normed ? aligned_rows(call.normed) : aligned_rows(call.hidden, call.hidden_stride));
  const auto run = [&]<int kCols>(std::integral_constant<int, kCols>) {
    if (normed) {
      launch_vocab_readout_tiles<ProductTile<T, kCols, kNormParts<T>>>(call, stream);
    } else {
      launch_vocab_readout_tiles<ProductTile<T, kCols>>(call, stream);
    }
  };
  if (narrow_readout(call.rows)) {
    run(std::integral_constant<int, 16>{});
  } else {
    run(std::integral_constant<int, 64>{});
  }
}

}  // namespace kcircuits::cuda
