// The threads of a block in turns on one thread of the system: each runs until it has to wait.
#include <ucontext.h>

#include <memory>
#include <vector>

#include "emulation.h"

namespace kcircuits::cuda::emulation {
namespace {

constexpr size_t kStack = 128 << 10;

struct Fiber {
  Thread thread;
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool done = false;
};

ucontext_t scheduler;
Fiber* running = nullptr;
const std::function<void()>* body = nullptr;
uint64_t progress = 0;

void enter() {
  (*body)();
  running->done = true;
  ++progress;
}

void run_block(std::vector<Fiber>& fibers) {
  for (Fiber& fiber : fibers) {
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, enter, 0);
  }
  for (size_t left = fibers.size(); left > 0;) {
    const uint64_t before = progress;
    left = 0;
    for (Fiber& fiber : fibers) {
      if (fiber.done) continue;
      running = &fiber;
      current = &fiber.thread;
      swapcontext(&scheduler, &fiber.context);
      left += fiber.done ? 0 : 1;
    }
    if (left > 0 && progress == before) {
      std::fprintf(stderr, "a barrier or shuffle is not reached by all of its threads\n");
      std::abort();
    }
  }
}

}  // namespace

void Barrier::wait() {
  ++progress;
  const unsigned mine = generation;
  if (++arrived == expected) {
    arrived = 0;
    ++generation;
    return;
  }
  while (generation == mine) swapcontext(&running->context, &scheduler);
}

void run(unsigned blocks, unsigned threads, const std::function<void()>& kernel) {
  grid_size.x = blocks;
  block_size.x = threads;
  body = &kernel;
  std::vector<Warp> warps(threads / kLanes);
  Barrier barrier(threads);
  std::vector<Fiber> fibers(threads);
  for (unsigned i = 0; i < threads; ++i) {
    fibers[i].thread = {{i}, {0}, &warps[i / kLanes], &barrier, 0};
    fibers[i].stack = std::make_unique_for_overwrite<char[]>(kStack);
  }
  for (unsigned block = 0; block < blocks; ++block) {
    for (Fiber& fiber : fibers) fiber.thread.block.x = block;
    run_block(fibers);
  }
}

}  // namespace kcircuits::cuda::emulation
