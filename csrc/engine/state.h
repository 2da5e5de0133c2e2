// The circuit as the search has left it so far, with every sender's output in that masked run.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "engine/session.h"
#include "engine/snapshot.h"

namespace kcircuits::engine {

// At which rows somebody needs a node's output. What feeds only last positions is needed only
// there.
enum class Need : uint8_t { kNone, kLast, kAll };

class State {
 public:
  explicit State(const Session& session);

  const Session& session() const { return session_; }

  bool present(int64_t sender, int64_t receiver) const { return present_[receiver][sender]; }
  void remove(int64_t sender, int64_t receiver) { present_[receiver][sender] = false; }
  void remove_all(int64_t receiver);
  const std::vector<uint8_t>& senders_present(int64_t receiver) const { return present_[receiver]; }

  // Receivers from `first` on have had their tests; only they count as readers of a sender's
  // output.
  void settle_from(int64_t first_settled_receiver);
  Need need(int64_t sender) const { return need_[sender]; }
  // Rows at which a receiver's input is needed: kNone when nothing reads its node.
  Need receiver_need(int64_t receiver) const;

  // Sender outputs minus ablated values in the present masked run: [S, P, D], and [S, N, D] for the
  // last rows. Rows that nobody needs are stale.
  const at::Tensor& delta() const { return delta_; }
  const at::Tensor& delta_last() const { return delta_last_; }
  // What receivers of one sub-block read in the present masked run: [receivers, 1, rows, D],
  // normed, or the stream itself when norm is nullptr.
  at::Tensor inputs(const std::vector<int64_t>& receivers, bool last_only, const Norm* norm) const;
  void set_all(int64_t sender, const at::Tensor& rows);
  void set_last(int64_t sender, const at::Tensor& rows);

  // Which edges are there, and the outputs that are no longer those of the full model and that
  // somebody still needs: of the others nothing is read again. Both while the same receivers are
  // settled, and `restore` on a state as it was made.
  void save(Snapshot& into) const;
  void restore(const Snapshot& from);

 private:
  const Session& session_;
  std::vector<std::vector<uint8_t>> present_;  // [R][senders of r]
  std::vector<Need> need_;                     // [S]
  std::vector<uint8_t> changed_;               // [S], whether an output was set
  at::Tensor delta_, delta_last_;
};

}  // namespace kcircuits::engine
