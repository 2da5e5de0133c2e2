#include "profile.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <map>
#include <optional>
#include <tuple>

namespace kcircuits::profile {
namespace {

using Clock = std::chrono::steady_clock;
using Key = std::tuple<Op, bool, int64_t, int64_t>;  // op, products, layer, rows

struct Frame {
  Op op = Op::kOther;
  bool products = false;
  int64_t layer = kNoLayer;
  int64_t rows = 0;
  double seconds = 0, flop = 0, bytes = 0;
};

class Recorder {
 public:
  void begin(Op op, int64_t layer) {
    account();
    const Frame around = open_.empty() ? Frame{} : open_.back();
    const bool absorbed =
        around.op == Op::kGradients &&
        (op == Op::kAttention || op == Op::kMlp || op == Op::kVocabulary || op == Op::kOther);
    Frame frame;
    frame.products = op == Op::kProducts;
    frame.op = frame.products || absorbed ? around.op : op;
    frame.layer = layer == kSameLayer ? around.layer : layer;
    open_.push_back(frame);
  }

  void end() {
    account();
    const Frame& frame = open_.back();
    const int64_t rows = frame.rows > 0 ? std::bit_ceil(static_cast<uint64_t>(frame.rows)) : 0;
    Row& row = table_[{frame.op, frame.products, frame.layer, rows}];
    row = {frame.op,
           frame.products,
           frame.layer,
           rows,
           row.calls + 1,
           row.seconds + frame.seconds,
           row.flop + frame.flop,
           row.bytes + frame.bytes};
    open_.pop_back();
  }

  void add_work(double flop, double bytes, int64_t rows) {
    if (open_.empty()) return;
    Frame& frame = open_.back();
    frame.flop += flop;
    frame.bytes += bytes;
    frame.rows = std::max(frame.rows, rows);
  }

  std::vector<Row> table() const {
    TORCH_CHECK(open_.empty(), "profile: stopped within a scope");
    std::vector<Row> out;
    for (const auto& [key, row] : table_) out.push_back(row);
    return out;
  }

 private:
  // The time since the last change of scope is the innermost one's.
  void account() {
    const Clock::time_point now = Clock::now();
    if (!open_.empty())
      open_.back().seconds += std::chrono::duration<double>(now - changed_).count();
    changed_ = now;
  }

  std::vector<Frame> open_;
  std::map<Key, Row> table_;
  Clock::time_point changed_;
};

thread_local std::optional<Recorder> recorder;

}  // namespace

bool recording() { return recorder.has_value(); }

void start() {
  TORCH_CHECK(!recorder, "profile: already started in this thread");
  recorder.emplace();
}

std::vector<Row> stop() {
  TORCH_CHECK(recorder, "profile: not started in this thread");
  const std::vector<Row> rows = recorder->table();
  recorder.reset();
  return rows;
}

void add_work(double flop, double bytes, int64_t rows) {
  if (recorder) recorder->add_work(flop, bytes, rows);
}

void Scope::begin(Op op, int64_t layer) { recorder->begin(op, layer); }
void Scope::end() { recorder->end(); }

}  // namespace kcircuits::profile
