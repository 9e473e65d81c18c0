#pragma once

// For digest.cc, pool.cc and thread.cc. A prebuilt addon must load wherever Node.js does: with glibc 2.28 and the
// libstdc++ of GCC 8. Left alone, the linker asks for the versions of the machine that builds.
// test/package/prebuilds.test.ts finds what is missing here.
#if defined(__GLIBC__) && defined(__x86_64__)
#define SEALWAX_OLDEST_GLIBC "GLIBC_2.2.5"
#elif defined(__GLIBC__) && defined(__aarch64__)
#define SEALWAX_OLDEST_GLIBC "GLIBC_2.17"
#endif

#ifdef SEALWAX_OLDEST_GLIBC
asm(".symver dladdr, dladdr@" SEALWAX_OLDEST_GLIBC);
asm(".symver dlopen, dlopen@" SEALWAX_OLDEST_GLIBC);
asm(".symver pthread_sigmask, pthread_sigmask@" SEALWAX_OLDEST_GLIBC);
#endif

#if defined(SEALWAX_OLDEST_GLIBC) && defined(__GLIBCXX__)
#define SEALWAX_WAIT "_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE"
asm(".symver " SEALWAX_WAIT ", " SEALWAX_WAIT "@GLIBCXX_3.4.11");

namespace std {
// What containers call since GCC 11.
__attribute__((noreturn, weak)) void __throw_bad_array_new_length() {
  throw bad_array_new_length();
}
}  // namespace std
#endif
