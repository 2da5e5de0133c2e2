// Every thread of a block is a thread of the system.
#include <thread>
#include <vector>

#include "emulation.h"

namespace kcircuits::cuda::emulation {

void Barrier::wait() {
  const unsigned mine = generation.load(std::memory_order_acquire);
  if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == expected) {
    arrived.store(0, std::memory_order_relaxed);
    generation.fetch_add(1, std::memory_order_acq_rel);
    generation.notify_all();
    return;
  }
  while (generation.load(std::memory_order_acquire) == mine) {
    generation.wait(mine, std::memory_order_acquire);
  }
}

void run(unsigned blocks, unsigned threads, const std::function<void()>& kernel) {
  grid_size.x = blocks;
  block_size.x = threads;
  std::vector<Warp> warps(threads / kLanes);
  Barrier barrier(threads), next_block(threads);
  std::vector<std::thread> running;
  for (unsigned i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      Thread thread = {{i}, {0}, &warps[i / kLanes], &barrier, 0};
      current = &thread;
      for (; thread.block.x < blocks; ++thread.block.x) {
        kernel();
        next_block.wait();
      }
    });
  }
  for (std::thread& thread : running) thread.join();
}

}  // namespace kcircuits::cuda::emulation
