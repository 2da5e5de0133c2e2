// The best k entries of a row, kept sorted in global memory by one warp while entries stream past.
#pragma once

#include "cuda/block.cuh"

namespace kcircuits::cuda {

inline constexpr int64_t kNoId = INT64_MAX;

template <typename Acc>
class BestList {
 public:
  __device__ BestList(Acc* values, int64_t* ids, int64_t count)
      : values_(values), ids_(ids), count_(count) {}

  // All calls are made by the whole warp.
  __device__ void clear() {
    for (int64_t i = lane(); i < count_; i += kWarp) {
      values_[i] = -static_cast<Acc>(INFINITY);
      ids_[i] = kNoId;
    }
    KCIRCUITS_WARP_BARRIER(list_cleared);
  }

  // Whether each lane's entry goes ahead of the list's last.
  __device__ bool enters(Acc value, int64_t id) const {
    return ahead(value, id, values_[count_ - 1], ids_[count_ - 1]);
  }

  // Takes one entry, the same in all lanes, that enters().
  __device__ __forceinline__ void insert(Acc value, int64_t id) {
    int64_t place = 0;
    for (int64_t first = 0; first < count_; first += kWarp) {
      const int64_t i = first + lane();
      const bool stays = i < count_ && ahead(values_[i], ids_[i], value, id);
      const unsigned lanes = __ballot_sync(kAllLanes, stays);
      place += __popc(lanes);
      if (lanes != kAllLanes) break;
    }
    // From the end, so that every run of entries is read before it is written over.
    for (int64_t first = (count_ - 1) / kWarp * kWarp; first + kWarp > place; first -= kWarp) {
      const int64_t i = first + lane();
      const bool moves = i > place && i < count_;
      const Acc moved_value = moves ? values_[i - 1] : value;
      const int64_t moved_id = moves ? ids_[i - 1] : id;
      KCIRCUITS_WARP_BARRIER(entries_read);
      if (i >= place && i < count_) {
        values_[i] = moved_value;
        ids_[i] = moved_id;
      }
      KCIRCUITS_WARP_BARRIER(entries_moved);
      if (first == 0) break;
    }
  }

 private:
  __device__ static int64_t lane() { return threadIdx.x % kWarp; }
  // Descending by value; the lower id first among equals.
  __device__ static bool ahead(Acc value, int64_t id, Acc other, int64_t other_id) {
    return value > other || (value == other && id < other_id);
  }

  Acc* values_;
  int64_t* ids_;
  int64_t count_;
};

// log Σ exp of the values seen so far: maximum + log(sum).
template <typename Acc>
struct RunningExp {
  Acc maximum, sum;

  __device__ static RunningExp none() { return {-static_cast<Acc>(INFINITY), 0}; }

  // Equal values count as one even where both are infinite. NaN makes the sum NaN.
  __device__ void add(Acc value, Acc weight = 1) {
    if (value > maximum) {
      sum = sum * exp(maximum - value) + weight;
      maximum = value;
    } else {
      sum += value == maximum ? weight : weight * exp(value - maximum);
    }
  }
  // Takes in what the other lanes of the warp have seen.
  __device__ void add_lanes() {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
      const Acc other = __shfl_xor_sync(kAllLanes, maximum, distance);
      const Acc other_sum = __shfl_xor_sync(kAllLanes, sum, distance);
      add(other, other_sum);
    }
  }
  __device__ Acc log() const { return maximum + ::log(sum); }
};

}  // namespace kcircuits::cuda
