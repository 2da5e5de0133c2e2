// A search that stands still, as named tensors on the CPU: what a later process goes on from.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace kcircuits::engine {

using Snapshot = std::map<std::string, at::Tensor>;

// The tensor of this name if it has this type and these sizes, of which -1 may be any; throws
// ValueError if not.
const at::Tensor& entry(const Snapshot& snapshot, const std::string& name, at::ScalarType dtype,
                        const std::vector<int64_t>& sizes);

// An entry of ids, int64 [n], each at least 0 and less than `end`; throws ValueError if not.
std::vector<int64_t> ids(const Snapshot& snapshot, const std::string& name, int64_t end);

}  // namespace kcircuits::engine
