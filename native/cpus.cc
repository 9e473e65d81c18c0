#include "cpus.h"

#include <algorithm>
#include <thread>

#ifdef __linux__
#include <sched.h>

#include <fstream>
#include <limits>
#include <string>
#endif

namespace sealwax {
#ifdef __linux__
namespace {

constexpr unsigned kUnlimited = std::numeric_limits<unsigned>::max();

unsigned affinity() {
  cpu_set_t cpus;
  // Fails on machines of more than CPU_SETSIZE CPUs.
  if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) return std::thread::hardware_concurrency();
  return static_cast<unsigned>(CPU_COUNT(&cpus));
}

unsigned wholeCpus(double quota, double period) {
  if (!(quota > 0) || !(period > 0)) return kUnlimited;
  return static_cast<unsigned>(std::clamp(quota / period, 1.0, 65536.0));
}

// cpu.max: "$quota $period", where the quota may be "max".
unsigned quotaV2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  double quota = 0;
  double period = 0;
  return file >> quota >> period ? wholeCpus(quota, period) : kUnlimited;
}

unsigned quotaV1(const std::string& folder) {
  std::ifstream quotaFile(folder + "/cpu.cfs_quota_us");
  std::ifstream periodFile(folder + "/cpu.cfs_period_us");
  double quota = 0;  // -1: no limit
  double period = 0;
  return quotaFile >> quota && periodFile >> period ? wholeCpus(quota, period) : kUnlimited;
}

// A group is bound by the quotas of all above it too.
template <class Quota>
unsigned tightest(const std::string& mount, std::string path, Quota quota) {
  unsigned limit = kUnlimited;
  for (;;) {
    limit = std::min(limit, quota(mount + path));
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return limit;
    path.resize(slash);
  }
}

// /proc/self/cgroup: "hierarchy:controllers:path" a line; version 2 is hierarchy 0 without controllers.
unsigned cgroupQuota() {
  unsigned limit = kUnlimited;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) limit = std::min(limit, tightest("/sys/fs/cgroup", path, quotaV2));
    if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
      limit = std::min(limit, tightest("/sys/fs/cgroup/cpu", path, quotaV1));
    }
  }
  return limit;
}

}  // namespace

unsigned availableCpus() {
  return std::max(1U, std::min(affinity(), cgroupQuota()));
}

#else

unsigned availableCpus() {
  return std::max(1U, std::thread::hardware_concurrency());
}

#endif

}  // namespace sealwax
