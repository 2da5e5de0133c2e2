// Exact ACDC (arXiv 2304.14997) with speculation: the sequential algorithm's decisions, many at a
// time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "engine/session.h"
#include "engine/snapshot.h"

namespace kcircuits::engine {

struct AcdcOptions {
  double threshold;
  bool absolute;
  int64_t memory;       // bytes for one chunk of hypotheses
  int64_t chunk_limit;  // hypotheses in one chunk at most
};

struct AcdcProgress {
  int64_t layer;          // num_layers while the logits' edges are tested
  int64_t edges_settled;  // edges decided, kept or removed
  int64_t edges_removed;
  int64_t tests;
};

struct AcdcEdge {
  int64_t sender;
  int64_t receiver;
  double effect;  // metric without the edge minus metric with it, when it was tested
};

struct AcdcResult {
  std::vector<AcdcEdge> edges;  // kept, in the order of receivers and senders
  double full_metric = 0;
  double circuit_metric = 0;  // the search's running value
  int64_t tests = 0;          // sequential tests: what one forward per test would have run
  int64_t evaluations = 0;    // hypotheses evaluated, wasted ones included
  int64_t chunks = 0;
};

// Who looks on.
struct AcdcWatch {
  // After every chunk; may throw to stop the search.
  std::function<void(const AcdcProgress&)> progress;
  // Whether it is time to keep a snapshot, asked after every chunk; empty: none is ever kept.
  std::function<bool()> due;
  // A snapshot, when one is due and when `progress` throws.
  std::function<void(const Snapshot&)> keep;
};

// `from`: a snapshot of a search of the same session with the same options. What follows is what
// followed there, bit for bit: the snapshot has all that the shapes of later chunks depend on,
// too, as these decide how products are rounded.
AcdcResult acdc(const Session& session, const AcdcOptions& options, const AcdcWatch& watch,
                const std::optional<Snapshot>& from);

}  // namespace kcircuits::engine
