#include "cpu/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "cpu/simd.h"

namespace kcircuits::cpu {
namespace {

// [B or 1, rows, d] as a pointer and the step from one hypothesis to the next.
struct Rows {
  const float* data;
  int64_t step;
  at::Tensor owner;

  explicit Rows(const at::Tensor& x) : owner(x.contiguous()) {
    data = owner.const_data_ptr<float>();
    step = owner.size(0) == 1 ? 0 : owner.stride(0);
  }
};

}  // namespace

bool attends(const at::Tensor& x) { return x.device().is_cpu() && x.scalar_type() == at::kFloat; }

void rotate_(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const at::Tensor c = cos.contiguous();
  const at::Tensor s = sin.contiguous();
  TORCH_INTERNAL_ASSERT(x.is_contiguous());
  float* rows = x.mutable_data_ptr<float>();
  const float* c_rows = c.const_data_ptr<float>();
  const float* s_rows = s.const_data_ptr<float>();
  const int64_t per_hypothesis = x.size(1);
  const int64_t d = x.size(2);
  const int64_t half = c.size(1);
  const auto kernel = kcircuits::cpu::rows().rotate;
  at::parallel_for(0, x.size(0) * per_hypothesis, 1 + at::internal::GRAIN_SIZE / d,
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) {
                       const int64_t row = i % per_hypothesis;
                       kernel(rows + i * d, c_rows + row * half, s_rows + row * half, half);
                     }
                   });
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const std::vector<int64_t>& starts, double scale, bool last_only) {
  const Rows queries(q), keys(k), values(v);
  const int64_t batch = std::max({q.size(0), k.size(0), v.size(0)});
  const int64_t rows = q.size(1);
  const int64_t d = q.size(2);
  const auto prompts = static_cast<int64_t>(starts.size()) - 1;
  const at::Tensor out = at::empty({batch, rows, d}, q.options());
  float* outputs = out.mutable_data_ptr<float>();
  int64_t longest = 0;
  for (int64_t n = 0; n < prompts; ++n) longest = std::max(longest, starts[n + 1] - starts[n]);
  const auto kernel = kcircuits::cpu::rows().attend;
  const int64_t work = 2 * d * longest * (last_only ? 1 : (longest + 1) / 2);
  at::parallel_for(0, batch * prompts, 1 + at::internal::GRAIN_SIZE / work,
                   [&](int64_t begin, int64_t end) {
                     std::vector<float> scores(longest);
                     for (int64_t i = begin; i < end; ++i) {
                       const int64_t b = i / prompts;
                       const int64_t n = i % prompts;
                       const float* key = keys.data + b * keys.step + starts[n] * d;
                       const float* value = values.data + b * values.step + starts[n] * d;
                       const float* query = queries.data + b * queries.step;
                       float* output = outputs + b * rows * d;
                       const int64_t length = starts[n + 1] - starts[n];
                       for (int64_t t = last_only ? length - 1 : 0; t < length; ++t) {
                         const int64_t row = last_only ? n : starts[n] + t;
                         kernel(output + row * d, query + row * d, key, value, t + 1, d,
                                static_cast<float>(scale), scores.data());
                       }
                     }
                   });
  return out;
}

}  // namespace kcircuits::cpu
