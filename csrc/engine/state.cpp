#include "engine/state.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "engine/mix.h"

namespace kcircuits::engine {

State::State(const Session& session)
    : session_(session),
      need_(session.graph().num_senders(), Need::kNone),
      delta_(session.clean_delta().clone()),
      delta_last_(delta_.index_select(1, session.tokens().last)) {
  const Graph& g = session.graph();
  for (int64_t r = 0; r < g.num_receivers(); ++r)
    present_.emplace_back(g.num_senders_of(r), uint8_t{1});
}

void State::remove_all(int64_t receiver) {
  std::fill(present_[receiver].begin(), present_[receiver].end(), uint8_t{0});
}

Need State::receiver_need(int64_t receiver) const {
  const Graph& g = session_.graph();
  const Receiver r = g.describe(receiver);
  switch (r.kind) {
    case Kind::kLogits:
      return Need::kLast;
    case Kind::kMlp:
      return need_[g.mlp(r.layer)];
    case Kind::kQuery:
      return need_[g.head(r.layer, r.head)];
    default: {
      // Keys and values are read at every position, whichever query reads them.
      const int64_t first = g.head(r.layer, r.head * g.group_size());
      const bool read = std::any_of(need_.begin() + first, need_.begin() + first + g.group_size(),
                                    [](Need need) { return need != Need::kNone; });
      return read ? Need::kAll : Need::kNone;
    }
  }
}

void State::settle_from(int64_t first_settled_receiver) {
  const Graph& g = session_.graph();
  std::fill(need_.begin(), need_.end(), Need::kNone);
  for (int64_t r = g.num_receivers() - 1; r >= first_settled_receiver; --r) {
    const Need need = receiver_need(r);
    for (size_t s = 0; need != Need::kNone && s < present_[r].size(); ++s) {
      if (present_[r][s]) need_[s] = std::max(need_[s], need);
    }
    unite_heads(session_.model(), r, need_);
  }
}

at::Tensor State::inputs(const std::vector<int64_t>& receivers, bool last_only,
                         const Norm* norm) const {
  const int64_t num_senders = session_.graph().num_senders_of(receivers.at(0));
  at::Tensor mask = at::empty({static_cast<int64_t>(receivers.size()), num_senders}, at::kBool);
  bool* out = mask.mutable_data_ptr<bool>();
  for (const int64_t r : receivers) out = std::copy_n(present_[r].begin(), num_senders, out);
  const at::Tensor& delta = last_only ? delta_last_ : delta_;
  return mix(delta.slice(0, 0, num_senders).unsqueeze(1), mask.to(delta.device()),
             session_.constant(receivers[0], last_only), norm);
}

void State::set_all(int64_t sender, const at::Tensor& rows) {
  delta_.select(0, sender).copy_(rows);
  delta_last_.select(0, sender).copy_(rows.index_select(0, session_.tokens().last));
}

void State::set_last(int64_t sender, const at::Tensor& rows) {
  delta_last_.select(0, sender).copy_(rows);
}

}  // namespace kcircuits::engine
