#include "engine/risk.h"

#include <algorithm>
#include <array>

namespace kcircuits::engine {
namespace {

// Measured on SmolLM2-135M, zero ablation: how often the prediction is on the wrong side of the
// threshold, by |prediction| / threshold.
struct Point {
  double ratio, risk;
};
constexpr std::array kCurve = {Point{0.001, 0.001}, Point{0.01, 0.002}, Point{0.1, 0.01},
                               Point{0.3, 0.03},    Point{0.6, 0.08},   Point{1.0, 0.25},
                               Point{2.0, 0.20},    Point{10.0, 0.15},  Point{100.0, 0.05}};

double measured(double ratio) {
  if (!(ratio > kCurve.front().ratio)) return kCurve.front().risk;
  for (size_t i = 1; i < kCurve.size(); ++i) {
    if (ratio > kCurve[i].ratio) continue;
    const double t =
        std::log(ratio / kCurve[i - 1].ratio) / std::log(kCurve[i].ratio / kCurve[i - 1].ratio);
    return kCurve[i - 1].risk + t * (kCurve[i].risk - kCurve[i - 1].risk);
  }
  return kCurve.back().risk;
}

}  // namespace

double Risk::of(double predicted) const {
  const double ratio = threshold_ > 0 ? std::abs(predicted) / threshold_ : kCurve.back().ratio;
  return std::min(1.0, measured(ratio) * seen_ / expected_);
}

void Risk::learn(double predicted, bool wrong) {
  constexpr double kMemory = 0.995;
  const double ratio = threshold_ > 0 ? std::abs(predicted) / threshold_ : kCurve.back().ratio;
  seen_ = kMemory * seen_ + (wrong ? 1 : 0) + (1 - kMemory) * 0.1;
  expected_ = kMemory * expected_ + measured(ratio) + (1 - kMemory) * 0.1;
}

}  // namespace kcircuits::engine
