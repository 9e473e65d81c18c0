#include "cpus.h"

#include <algorithm>
#include <thread>

#ifdef __linux__
#include <sched.h>

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
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

// Of a small file; empty where it cannot be read.
std::string contentOf(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  std::string content;
  char chunk[4096];
  for (size_t length = 0; file && (length = std::fread(chunk, 1, sizeof chunk, file.get())) > 0;) {
    content.append(chunk, length);
  }
  return content;
}

// cpu.max: "$quota $period", where the quota may be "max".
unsigned quotaV2(const std::string& folder) {
  const std::string limits = contentOf(folder + "/cpu.max");
  char* rest = nullptr;
  const double quota = std::strtod(limits.c_str(), &rest);
  return wholeCpus(quota, std::strtod(rest, nullptr));
}

unsigned quotaV1(const std::string& folder) {
  const std::string quota = contentOf(folder + "/cpu.cfs_quota_us");  // -1: no limit
  const std::string period = contentOf(folder + "/cpu.cfs_period_us");
  return wholeCpus(std::strtod(quota.c_str(), nullptr), std::strtod(period.c_str(), nullptr));
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
  const std::string groups = contentOf("/proc/self/cgroup");
  for (size_t start = 0, end = 0; (end = groups.find('\n', start)) != std::string::npos; start = end + 1) {
    const std::string line = groups.substr(start, end - start);
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
