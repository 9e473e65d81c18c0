#pragma once
#include "span.h"

namespace sealwax {

// Asks the system to back memory that nothing was written to yet by huge pages; without them, faults of 4 KiB take
// longer than sealing (bench/engine.ts). Does nothing where there are none.
void preferHugePages(MutableSpan memory);

}  // namespace sealwax
