#include "engine/snapshot.h"

#include <ATen/ATen.h>

namespace kcircuits::engine {

const at::Tensor& entry(const Snapshot& snapshot, const std::string& name, at::ScalarType dtype,
                        const std::vector<int64_t>& sizes) {
  const auto found = snapshot.find(name);
  TORCH_CHECK_VALUE(found != snapshot.end(), "snapshot: ", name, " is missing");
  const at::Tensor& value = found->second;
  bool fits = value.scalar_type() == dtype && value.dim() == static_cast<int64_t>(sizes.size()) &&
              value.is_contiguous() && value.is_cpu();
  for (size_t i = 0; fits && i < sizes.size(); ++i)
    fits = sizes[i] == -1 || value.size(static_cast<int64_t>(i)) == sizes[i];
  TORCH_CHECK_VALUE(fits, "snapshot: ", name, " should be ", dtype, " ", at::IntArrayRef(sizes),
                    ", is ", value.scalar_type(), " ", value.sizes());
  return value;
}

std::vector<int64_t> ids(const Snapshot& snapshot, const std::string& name, int64_t end) {
  const at::Tensor& value = entry(snapshot, name, at::kLong, {-1});
  const int64_t* begin = value.const_data_ptr<int64_t>();
  std::vector<int64_t> out(begin, begin + value.numel());
  for (const int64_t id : out) {
    TORCH_CHECK_VALUE(0 <= id && id < end, "snapshot: ", name, " has ", id, " of ", end);
  }
  return out;
}

}  // namespace kcircuits::engine
