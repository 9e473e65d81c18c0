#pragma once

namespace sealwax {

// How many CPUs this process may use: its affinity and its cgroups' quotas (version 1 and 2). At least 1.
unsigned availableCpus();

}  // namespace sealwax
