#include "engine/state.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "engine/mix.h"

namespace kcircuits::engine {

State::State(const Session& session)
    : session_(session),
      need_(session.graph().num_senders(), Need::kNone),
      changed_(session.graph().num_senders(), uint8_t{0}),
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
  changed_[sender] = 1;
}

void State::set_last(int64_t sender, const at::Tensor& rows) {
  delta_last_.select(0, sender).copy_(rows);
  changed_[sender] = 1;
}

void State::save(Snapshot& into) const {
  std::vector<int64_t> at_all, at_last;
  for (int64_t s = 0; s < session_.graph().num_senders(); ++s) {
    if (!changed_[s] || need_[s] == Need::kNone) continue;
    (need_[s] == Need::kAll ? at_all : at_last).push_back(s);
  }
  const auto add = [&into](const char* name, const std::vector<int64_t>& senders,
                           const at::Tensor& delta) {
    const at::Tensor ids = at::tensor(senders, at::kLong);
    into[std::string(name) + "_senders"] = ids;
    into[std::string(name) + "_rows"] = delta.index_select(0, ids.to(delta.device())).cpu();
  };
  add("all", at_all, delta_);
  add("last", at_last, delta_last_);
  int64_t edges = 0;
  for (const auto& senders : present_) edges += static_cast<int64_t>(senders.size());
  const at::Tensor present = at::empty({edges}, at::kBool);
  bool* out = present.mutable_data_ptr<bool>();
  for (const auto& senders : present_) out = std::copy(senders.begin(), senders.end(), out);
  into["present"] = present;
}

void State::restore(const Snapshot& from) {
  const auto rows_of = [&from](const char* name, const std::vector<int64_t>& senders,
                               const at::Tensor& delta) {
    return entry(from, std::string(name) + "_rows", delta.scalar_type(),
                 {static_cast<int64_t>(senders.size()), delta.size(1), delta.size(2)});
  };
  const int64_t num_senders = session_.graph().num_senders();
  const std::vector<int64_t> at_all = ids(from, "all_senders", num_senders);
  const at::Tensor all = rows_of("all", at_all, delta_);
  for (size_t i = 0; i < at_all.size(); ++i)
    set_all(at_all[i], all[static_cast<int64_t>(i)].to(delta_.device()));
  const std::vector<int64_t> at_last = ids(from, "last_senders", num_senders);
  const at::Tensor last = rows_of("last", at_last, delta_last_);
  for (size_t i = 0; i < at_last.size(); ++i) set_last(at_last[i], last[static_cast<int64_t>(i)]);
  int64_t edges = 0;
  for (const auto& senders : present_) edges += static_cast<int64_t>(senders.size());
  const bool* in = entry(from, "present", at::kBool, {edges}).const_data_ptr<bool>();
  for (auto& senders : present_) {
    for (uint8_t& is_present : senders) is_present = *in++;
  }
}

}  // namespace kcircuits::engine
