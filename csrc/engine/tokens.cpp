#include "engine/tokens.h"

#include <ATen/ATen.h>

#include <limits>
#include <vector>

namespace kcircuits::engine {

Tokens pack_tokens(const at::Tensor& ids, const at::Tensor& lengths, at::Device device) {
  TORCH_CHECK_VALUE(ids.dim() == 2 && ids.scalar_type() == at::kLong,
                    "tokens: expected int64 [N, T], got ", ids.scalar_type(), " ", ids.sizes());
  TORCH_CHECK_VALUE(lengths.dim() == 1 && lengths.size(0) == ids.size(0), "lengths: expected [",
                    ids.size(0), "], got ", lengths.sizes());
  TORCH_CHECK_VALUE(ids.size(0) > 0, "tokens: no prompts");
  const at::Tensor cpu_ids = ids.cpu().contiguous();
  const at::Tensor cpu_lengths = lengths.to(at::kLong).cpu().contiguous();
  const int64_t n = ids.size(0);
  const int64_t width = ids.size(1);
  const int64_t* length = cpu_lengths.const_data_ptr<int64_t>();

  std::vector<int64_t> flat_ids, positions, last, scatter, starts = {0};
  int64_t longest = 0;
  for (int64_t p = 0; p < n; ++p) {
    TORCH_CHECK_VALUE(length[p] > 0 && length[p] <= width, "lengths: prompt ", p, " has ",
                      length[p], " tokens of ", width);
    longest = std::max(longest, length[p]);
  }
  std::vector<int64_t> gather(n * longest, 0);
  const at::Tensor causal =
      at::full({1, longest, longest}, -std::numeric_limits<float>::infinity()).triu_(1);
  bool equal = true;
  for (int64_t p = 0; p < n; ++p) {
    equal = equal && length[p] == longest;
    const int64_t* row = cpu_ids.const_data_ptr<int64_t>() + (p + 1) * width - length[p];
    for (int64_t t = 0; t < longest; ++t) {
      if (t >= length[p]) continue;
      gather[p * longest + t] = static_cast<int64_t>(flat_ids.size());
      scatter.push_back(p * longest + t);
      flat_ids.push_back(row[t]);
      positions.push_back(t);
    }
    last.push_back(static_cast<int64_t>(flat_ids.size()) - 1);
    starts.push_back(static_cast<int64_t>(flat_ids.size()));
  }
  const auto to_device = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::kLong).to(device);
  };
  const at::Tensor causal_last = equal ? causal.slice(1, longest - 1, longest).contiguous()
                                       : causal[0].index_select(0, cpu_lengths - 1).unsqueeze(1);
  return {n,
          static_cast<int64_t>(flat_ids.size()),
          longest,
          equal,
          starts,
          to_device(flat_ids),
          to_device(positions),
          to_device(last),
          to_device(gather),
          to_device(scatter),
          causal.to(device),
          causal_last.to(device)};
}

Tokens tokens_on(const Tokens& tokens, at::Device device) {
  Tokens moved = tokens;
  for (at::Tensor* part : {&moved.ids, &moved.positions, &moved.last, &moved.gather, &moved.scatter,
                           &moved.causal, &moved.causal_last}) {
    *part = part->to(device);
  }
  return moved;
}

at::Tensor to_padded(const Tokens& tokens, const at::Tensor& rows) {
  const int64_t b = rows.size(0);
  const int64_t d = rows.size(2);
  const at::Tensor grid = tokens.equal_lengths ? rows : rows.index_select(1, tokens.gather);
  return grid.reshape({b * tokens.num_prompts, tokens.max_length, d});
}

at::Tensor to_packed(const Tokens& tokens, const at::Tensor& padded) {
  const int64_t d = padded.size(2);
  const at::Tensor grid = padded.reshape({-1, tokens.num_prompts * tokens.max_length, d});
  return tokens.equal_lengths ? grid : grid.index_select(1, tokens.scatter);
}

}  // namespace kcircuits::engine
