// How a batch of prompts lies in memory: real tokens only, prompt after prompt, so that no row of
// any GEMM is padding. P tokens in all, N prompts.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace kcircuits::engine {

struct Tokens {
  int64_t num_prompts;
  int64_t num_tokens;
  int64_t max_length;
  bool equal_lengths;
  std::vector<int64_t> starts;  // [N + 1], each prompt's first row, and P
  at::Tensor ids;               // int64 [P]
  at::Tensor positions;         // int64 [P], counted from 0 in each prompt
  at::Tensor last;              // int64 [N], row of each prompt's last token
  at::Tensor
      gather;  // int64 [N * max_length], row of each (prompt, position); 0 where there is none
  at::Tensor scatter;  // int64 [P], the inverse: index into N * max_length
  // float [1, max_length, max_length], 0 or -inf, added to the scores. Also right for padding: it
  // is behind the real tokens of a prompt, so that none of these sees it, and nobody reads what it
  // sees.
  at::Tensor causal;
  at::Tensor causal_last;  // float [N or 1, 1, max_length], the row of each prompt's last token
};

// ids: int64 [N, T], left-padded: each row's last lengths[n] entries are real. lengths: int64 [N].
Tokens pack_tokens(const at::Tensor& ids, const at::Tensor& lengths, at::Device device);

// The same on another device.
Tokens tokens_on(const Tokens& tokens, at::Device device);

// [B, P, d] <-> [B * N, max_length, d]
at::Tensor to_padded(const Tokens& tokens, const at::Tensor& rows);
at::Tensor to_packed(const Tokens& tokens, const at::Tensor& padded);

}  // namespace kcircuits::engine
