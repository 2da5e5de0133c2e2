// What the launchers ask of torch: the device's stream and size, and tensors as kernels see them.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>
#include <type_traits>

#include "cuda/block.cuh"

namespace kcircuits::cuda {

// torch's element type on the host, the kernels' on the device: the same bits.
template <typename T>
struct DeviceTypeOf {
  using type = T;
};
template <>
struct DeviceTypeOf<at::Half> {
  using type = Half;
};
template <>
struct DeviceTypeOf<at::BFloat16> {
  using type = BFloat16;
};
template <typename T>
using DeviceType = typename DeviceTypeOf<T>::type;

// The elements, or null where the tensor is undefined.
template <typename T>
const T* elements(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<const T*>(tensor.const_data_ptr()) : nullptr;
}
template <typename T>
T* mutable_elements(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

inline int64_t multiprocessors(const at::Tensor& tensor) {
  int count = 0;
  C10_CUDA_CHECK(
      cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, tensor.get_device()));
  return count;
}

inline cudaStream_t current_stream(const at::Tensor& tensor) {
  return c10::cuda::getCurrentCUDAStream(tensor.get_device()).stream();
}

}  // namespace kcircuits::cuda
