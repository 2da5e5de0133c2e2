// The op vocab_readout for an unembedding that may be kept as codes, too.
#pragma once

#include "ops/vocab_readout.h"

namespace kcircuits::cpu {

// Fills `out` (empty_vocab_readout) for a problem whose tensors are on the CPU.
void read_vocabulary(const VocabReadoutProblem& problem, const VocabReadout& out);

}  // namespace kcircuits::cpu
