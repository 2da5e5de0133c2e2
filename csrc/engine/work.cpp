#include "engine/work.h"

#include "profile.h"

namespace kcircuits::engine {
namespace {

// Of a weight as it is kept; of codes, the share that its columns have.
double bytes_of(const Weight& w) {
  if (w.values()) return static_cast<double>(w.values()->nbytes());
  const Codes& codes = *w.codes();
  double whole = 0;
  codes.of_each([&whole](const at::Tensor& x) {
    whole += static_cast<double>(x.nbytes());
    return x;
  });
  const int64_t kept = codes.scale.size(1) * codes.group;
  return whole * static_cast<double>(w.size(w.transposed() ? 0 : 1)) / static_cast<double>(kept);
}

}  // namespace

void add_product(const at::Tensor& x, const Weight& w) {
  if (!profile::recording()) return;
  const double numbers = static_cast<double>(x.size(0)) * static_cast<double>(w.size(0));
  const double moved =
      static_cast<double>(x.element_size()) * (static_cast<double>(x.numel()) + numbers);
  profile::add_work(2 * numbers * static_cast<double>(x.size(1)), moved + bytes_of(w), x.size(0));
}

}  // namespace kcircuits::engine
