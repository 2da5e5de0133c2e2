// edge_scores on the GPU: a product of the senders' differences and the receivers' gradients over
// all positions and the width, for the pairs that are edges.
//
// A block multiplies a tile of senders and receivers over a share of the positions and width (a
// share, because the output alone is too small to fill the machine); the shares are added up in
// a fixed order by a second kernel, so results do not change from run to run. A tile without edges
// costs nothing, and neither does a position of weight 0.
//
// Bytes moved: K·b·(S·⌈R/64⌉ + R·⌈S/128⌉) for K = N·T·D elements (repeats mostly from L2), and
// shares·S·R written and read. FLOP: 2·S·R·K, about half of it where edges form a staircase.
// Bound: for the few receivers of one layer, memory bandwidth; from about 64 receivers on, the
// FMA units (float32) or, above 300, the tensor cores (float16, bfloat16).
#pragma once

#include "cuda/product.cuh"

namespace kcircuits::cuda {

// Rows of `width` adjacent elements, one per entry, prompt and token.
template <typename T>
struct ScoreOperand {
  const T* data;
  int64_t entry, prompt, token;

  bool aligned() const { return aligned_rows(data, entry, prompt, token); }
};

template <typename T>
struct EdgeScoresCall {
  using Acc = Accumulate<T>;

  int64_t senders, receivers, prompts, tokens, width;
  ScoreOperand<T> delta, grad;
  const int64_t* limits;  // [R]: receiver r has the senders below limits[r]
  const Acc* positions;   // weights [N, T], or null for 1 everywhere
  bool per_position;
  bool accumulate;  // add to scores, and leave pairs that are no edges as they are
  Acc* scores;
  int64_t score_sender, score_receiver, score_token;  // strides
  int64_t shares = 1;
  Acc* partial = nullptr;  // [shares, S, R, groups()], where there are several shares
  bool aligned = false;    // delta's and grad's rows can be read in 16-byte accesses

  // Outputs per pair, and positions that each of them sums.
  __host__ __device__ int64_t groups() const { return per_position ? tokens : 1; }
  __host__ __device__ int64_t positions_per_group() const {
    return per_position ? prompts : prompts * tokens;
  }
  __host__ __device__ int64_t outputs() const { return senders * receivers * groups(); }

  __device__ void finish(int64_t sender, int64_t receiver, int64_t group, Acc value) const {
    Acc* score = scores + sender * score_sender + receiver * score_receiver + group * score_token;
    const bool edge = sender < limits[receiver];
    if (accumulate && edge) *score += value;
    if (!accumulate) *score = edge ? value : Acc(0);
  }
};

// Elements of the width that a share takes at least.
inline constexpr int64_t kScoreSlab = 512;

template <typename Tile>
class EdgeScoresTile {
 public:
  using T = typename Tile::Element;
  using Acc = Accumulate<T>;

  // `item` counts tiles fastest: blocks beside each other read the same positions.
  __device__ EdgeScoresTile(const EdgeScoresCall<T>& call, typename Tile::Shared& shared,
                            int64_t item)
      : call_(call), shared_(shared) {
    const int64_t sender_tiles = (call.senders + Tile::kRows - 1) / Tile::kRows;
    const int64_t receiver_tiles = (call.receivers + Tile::kColumns - 1) / Tile::kColumns;
    first_sender_ = item % sender_tiles * Tile::kRows;
    int64_t rest = item / sender_tiles;
    first_receiver_ = rest % receiver_tiles * Tile::kColumns;
    rest /= receiver_tiles;
    group_ = rest % call.groups();
    share_ = rest / call.groups();
  }

  __device__ void run() {
    Tile total;
    total.clear();
    if (any_edge()) sum(total);
    total.each([&](int row, int column, Acc value) {
      const int64_t sender = first_sender_ + row;
      const int64_t receiver = first_receiver_ + column;
      if (sender >= call_.senders || receiver >= call_.receivers) return;
      if (call_.shares == 1) {
        call_.finish(sender, receiver, group_, value);
      } else if (sender < call_.limits[receiver]) {
        const int64_t output = (sender * call_.receivers + receiver) * call_.groups() + group_;
        call_.partial[share_ * call_.outputs() + output] = value;
      }
    });
  }

 private:
  __device__ bool any_edge() const {
    for (int i = 0; i < Tile::kColumns && first_receiver_ + i < call_.receivers; ++i) {
      if (call_.limits[first_receiver_ + i] > first_sender_) return true;
    }
    return false;
  }

  // A unit is a slab of the width at one position.
  __device__ void sum(Tile& total) {
    const int64_t slabs = (call_.width + kScoreSlab - 1) / kScoreSlab;
    const int64_t units = call_.positions_per_group() * slabs;
    const int64_t last = units * (share_ + 1) / call_.shares;
    for (int64_t unit = units * share_ / call_.shares; unit < last; ++unit) {
      const int64_t index = unit / slabs;
      const int64_t prompt = call_.per_position ? index : index / call_.tokens;
      const int64_t token = call_.per_position ? group_ : index % call_.tokens;
      const Acc weight =
          call_.positions == nullptr ? Acc(1) : call_.positions[prompt * call_.tokens + token];
      if (weight == 0) continue;
      Tile product;
      product.clear();
      multiply(product, prompt, token, unit % slabs * kScoreSlab);
      total.add(product, weight);
    }
  }

  __device__ void multiply(Tile& product, int64_t prompt, int64_t token, int64_t begin) {
    const auto rows = [&](const ScoreOperand<T>& operand, int64_t first, int64_t count) {
      const T* data = operand.data + prompt * operand.prompt + token * operand.token + begin +
                      first * operand.entry;
      return [data, stride = operand.entry, left = count - first](int row) {
        return row < left ? data + row * stride : nullptr;
      };
    };
    const int64_t left = call_.width - begin;
    product.run(shared_, rows(call_.delta, first_sender_, call_.senders),
                rows(call_.grad, first_receiver_, call_.receivers), call_.aligned,
                left < kScoreSlab ? left : kScoreSlab);
  }

  const EdgeScoresCall<T>& call_;
  typename Tile::Shared& shared_;
  int64_t first_sender_, first_receiver_, group_, share_;
};

template <typename Tile>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks)
    edge_scores_kernel(const EdgeScoresCall<typename Tile::Element> call) {
  __shared__ typename Tile::Shared shared;
  const int64_t tiles = ((call.senders + Tile::kRows - 1) / Tile::kRows) *
                        ((call.receivers + Tile::kColumns - 1) / Tile::kColumns);
  const int64_t items = tiles * call.groups() * call.shares;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    EdgeScoresTile<Tile>(call, shared, item).run();
  }
}

// Adds the shares of every pair up. Bytes moved: shares·S·R read, S·R written.
template <typename T>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks)
    edge_scores_sum_kernel(const EdgeScoresCall<T> call) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < call.outputs();
       i += stride) {
    const int64_t group = i % call.groups();
    const int64_t receiver = i / call.groups() % call.receivers;
    const int64_t sender = i / call.groups() / call.receivers;
    Accumulate<T> sum = 0;
    if (sender < call.limits[receiver]) {
      for (int64_t share = 0; share < call.shares; ++share) {
        sum += call.partial[share * call.outputs() + i];
      }
    }
    call.finish(sender, receiver, group, sum);
  }
}

// The tile's columns: receivers of one layer are often few.
inline bool narrow_scores(int64_t receivers) { return receivers <= 16; }

// Into how many shares to cut the sum, so that every multiprocessor has work; partial needs
// shares·outputs() entries where the answer is above 1, at most 64 MiB of float32.
template <typename T>
int64_t edge_scores_shares(const EdgeScoresCall<T>& call, int64_t multiprocessors) {
  const int64_t tiles = ceil_div(call.senders, sizeof(T) == 8 ? 64 : 128) *
                        ceil_div(call.receivers, narrow_scores(call.receivers) ? 16 : 64);
  const int64_t units = call.positions_per_group() * ceil_div(call.width, kScoreSlab);
  const int64_t wanted = ceil_div(4 * multiprocessors, std::max<int64_t>(tiles * call.groups(), 1));
  const int64_t afforded = (int64_t{1} << 24) / std::max<int64_t>(call.outputs(), 1);
  return std::max<int64_t>(1, std::min({wanted, units, afforded}));
}

template <typename Tile>
void launch_edge_scores_tiles(const EdgeScoresCall<typename Tile::Element>& call,
                              cudaStream_t stream) {
  const int64_t tiles =
      ceil_div(call.senders, Tile::kRows) * ceil_div(call.receivers, Tile::kColumns);
  launch(&edge_scores_kernel<Tile>, tiles * call.groups() * call.shares, kProductThreads, stream,
         call);
}

// There is at least one pair. call.shares and call.partial are set; prompts, tokens and width may
// be 0.
template <typename T>
void launch_edge_scores(EdgeScoresCall<T> call, cudaStream_t stream) {
  call.aligned = call.width % kVectorOf<T> == 0 && call.delta.aligned() && call.grad.aligned();
  if (narrow_scores(call.receivers)) {
    launch_edge_scores_tiles<ProductTile<T, 16>>(call, stream);
  } else {
    launch_edge_scores_tiles<ProductTile<T, 64>>(call, stream);
  }
  if (call.shares > 1) {
    launch(&edge_scores_sum_kernel<T>, ceil_div(call.outputs(), kProductThreads), kProductThreads,
           stream, call);
  }
}

}  // namespace kcircuits::cuda
