// Where the time of a call goes. Off unless started, and then for the calling thread alone: a Scope
// names what it runs until it ends, and time within inner scopes is theirs. Work is added by
// whoever does it. Scopes are not for kernels that run inside at::parallel_for.
#pragma once

#include <cstdint>
#include <vector>

namespace kcircuits::profile {

enum class Op : uint8_t {
  kOther,
  kEdgeMix,
  kAttention,
  kMlp,
  kVocabulary,
  kEdgeScores,
  kGradients,  // attention, MLP and vocabulary within it belong to it
  kProducts,   // the products with weights of whatever op is around
};

inline constexpr int64_t kSameLayer = -2;  // as the scope around
inline constexpr int64_t kNoLayer = -1;

// Scopes that have the same name and whose products' rows are the same up to a power of two.
struct Row {
  Op op;  // not kProducts
  bool products;
  int64_t layer;
  int64_t rows;  // of x in x · wᵀ, rounded up to a power of two; 0 where there is no such product
  int64_t calls;
  double seconds;
  double flop;
  double bytes;  // operands read once and results written once
};

bool recording();
void start();
// What was recorded since start; nothing is recorded any longer.
std::vector<Row> stop();

// Added to the innermost scope.
void add_work(double flop, double bytes, int64_t rows = 0);

class Scope {
 public:
  explicit Scope(Op op, int64_t layer = kSameLayer) : recording_(recording()) {
    if (recording_) begin(op, layer);
  }
  ~Scope() {
    if (recording_) end();
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  static void begin(Op op, int64_t layer);
  static void end();

  bool recording_;
};

}  // namespace kcircuits::profile
