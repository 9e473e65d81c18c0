#include "memory.h"

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace sealwax {

void preferHugePages(MutableSpan memory) {
#ifdef __linux__
  // The whole pages inside: neighbours are somebody else's.
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<uintptr_t>(memory.data);
  const uintptr_t from = (start + page - 1) / page * page, to = (start + memory.length) / page * page;
  // A refusal costs time, not correctness.
  if (from < to) static_cast<void>(madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE));
#else
  static_cast<void>(memory);
#endif
}

}  // namespace sealwax
