// How likely a drafted decision is wrong. Chunks end where the risks of their drafts add up to a
// limit, so the search speculates far where effects are clearly below the threshold and one by one
// where they are not.
#pragma once

#include <cmath>
#include <utility>

namespace kcircuits::engine {

class Risk {
 public:
  // `threshold` is the search's τ.
  explicit Risk(double threshold) : threshold_(threshold) {}

  // Probability that an edge with this predicted effect is decided otherwise than drafted.
  double of(double predicted) const;
  // What became of a draft with this prediction.
  void learn(double predicted, bool wrong);

  // What has been learnt, and the same again.
  std::pair<double, double> learnt() const { return {seen_, expected_}; }
  void restore(double seen, double expected) { seen_ = seen, expected_ = expected; }

 private:
  double threshold_;
  // Wrong drafts, seen and expected, over the last few hundred; where they differ, `of` is
  // corrected.
  double seen_ = 4, expected_ = 4;
};

}  // namespace kcircuits::engine
