#pragma once
#include "span.h"
#include "status.h"

namespace sealwax {

// One draw from a generator; false where it had nothing to give.
using CpuSource = bool (*)(uint64_t& word);

// Which generators this CPU offers.
struct CpuRandom {
  bool rdseed;
  bool rdrand;
};
CpuRandom cpuRandom();

// This CPU's generator, or null. `seed` asks for RDSEED, the slower one, where there is one.
CpuSource cpuSource(bool seed);

// Fills `out` from OpenSSL's private DRBG, with fresh bytes of the operating system and of the CPU as additional input
// of every request: a copied process or machine does not repeat itself, and a CPU that lies does no harm.
// A source that gives nothing, or the same word over and over, is done without.
Status randomBytes(MutableSpan out);
Status randomBytes(MutableSpan out, CpuSource source);

// For tests: how many different, plausible words the source gave for the `wanted` asked for.
size_t drawWords(CpuSource source, uint64_t* words, size_t wanted);

}  // namespace sealwax
