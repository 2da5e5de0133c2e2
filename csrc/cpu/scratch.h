// A thread's buffer, kept from call to call: fresh pages would cost more than what is written
// there.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace kcircuits::cpu {

class Scratch {
 public:
  float* at_least(int64_t count) {
    if (count > size_) {
      data_.reset(static_cast<float*>(::operator new(count * sizeof(float), kAlignment)));
      size_ = count;
    }
    return data_.get();
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(float* data) const { ::operator delete(data, kAlignment); }
  };
  std::unique_ptr<float, Free> data_;
  int64_t size_ = 0;
};

}  // namespace kcircuits::cpu
