/*
 * A PKCS#11 module in front of another (SHIM_MODULE), for tests: it passes every call on, counts it, and answers as the
 * file SHIM_STATE says. All processes share the file, and a test writes it while they run:
 *
 *     u64 function (1 + its place in the list, 0 for none) | u64 nth call from now, from 1 | u64 how many calls, 0 for all |
 *     u64 value | u64 what (0 answer value, 1 wait value ms before the call, 2 add value to the length of the answer, 3 crash, 4 an IV of the token's own, 5 the same in silence, 6 value objects at most, 7 the flags in value set for the token) |
 *     u64 open sessions | u64 most sessions open | u64 calls of each function, 68
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long ulong_t;
typedef ulong_t (*function_t)(ulong_t, ulong_t, ulong_t, ulong_t, ulong_t, ulong_t, ulong_t, ulong_t);

enum { COUNT = 68, GET_TOKEN_INFO = 6, ENCRYPT_INIT = 29, OPEN_SESSION = 12, CLOSE_SESSION = 13, FIND_OBJECTS = 27, ENCRYPT = 30, DECRYPT = 34 };

struct state {
  _Atomic uint64_t function, nth, many, value, what;
  _Atomic int64_t sessions, most;
  _Atomic uint64_t calls[COUNT];
};

struct list {
  unsigned char version[2];
  void *functions[COUNT];
};

static struct list own;
static struct list *real;
static struct state *state;

static void wait_ms(uint64_t ms) {
  struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
  nanosleep(&time, NULL);
}

struct mechanism {
  ulong_t type;
  struct { unsigned char *iv; } * parameter;
};

struct token_info {
  unsigned char names[96];
  ulong_t flags;
};

/* As AWS CloudHSM: no IV is taken, one is made. In silence, it is not told either. */
static ulong_t own_iv(struct mechanism *mechanism, ulong_t session, ulong_t key, int silent) {
  static const unsigned char zeros[12];
  static _Atomic unsigned counter;
  unsigned char mine[12] = {1};
  unsigned number = ++counter;
  unsigned char *given = mechanism->parameter->iv;
  memcpy(mine + 4, &number, sizeof number);
  if (!silent && memcmp(given, zeros, sizeof zeros) != 0) return 0x71;
  mechanism->parameter->iv = mine;
  ulong_t rv = ((function_t)real->functions[ENCRYPT_INIT])(session, (ulong_t)mechanism, key, 0, 0, 0, 0, 0);
  mechanism->parameter->iv = given;
  if (!silent) memcpy(given, mine, sizeof mine);
  return rv;
}

static ulong_t call(int i, ulong_t a, ulong_t b, ulong_t c, ulong_t d, ulong_t e, ulong_t f, ulong_t g, ulong_t h) {
  int hit = 0;
  state->calls[i]++;
  if (state->function == (uint64_t)i + 1) {
    uint64_t nth = state->nth;
    if (nth > 1) state->nth = nth - 1;
    else if (nth == 1) {
      hit = 1;
      if (state->many > 0 && --state->many == 0) state->nth = 0;
    }
  }
  if (hit && state->what == 0) return (ulong_t)state->value;
  if (hit && state->what == 3) abort();
  if (hit && state->what == 1) wait_ms(state->value);
  if (hit && i == ENCRYPT_INIT && state->what >= 4) return own_iv((struct mechanism *)b, a, c, state->what == 5);
  if (hit && i == FIND_OBJECTS && state->what == 6) c = (ulong_t)state->value;
  ulong_t rv = ((function_t)real->functions[i])(a, b, c, d, e, f, g, h);
  if (hit && state->what == 2 && rv == 0 && (i == ENCRYPT || i == DECRYPT)) *(ulong_t *)e += (ulong_t)state->value;
  if (hit && i == GET_TOKEN_INFO && state->what == 7) ((struct token_info *)b)->flags |= (ulong_t)state->value;
  if (rv == 0 && i == OPEN_SESSION) {
    int64_t open = ++state->sessions;
    if (open > state->most) state->most = open;
  }
  if (rv == 0 && i == CLOSE_SESSION) state->sessions--;
  return rv;
}

#define F(i)                                                                                                        \
  static ulong_t f##i(ulong_t a, ulong_t b, ulong_t c, ulong_t d, ulong_t e, ulong_t f, ulong_t g, ulong_t h) { \
    return call(i, a, b, c, d, e, f, g, h);                                                                         \
  }
#define TEN(X, t) X(t##0) X(t##1) X(t##2) X(t##3) X(t##4) X(t##5) X(t##6) X(t##7) X(t##8) X(t##9)
#define ALL(X)                                                                                              \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) TEN(X, 1) TEN(X, 2) TEN(X, 3) TEN(X, 4) TEN(X, 5) \
  X(60) X(61) X(62) X(63) X(64) X(65) X(66) X(67)
ALL(F)
#define NAME(i) (void *)f##i,
static void *const functions[COUNT] = {ALL(NAME)};

ulong_t C_GetFunctionList(struct list **out) {
  if (!real) {
    int fd = open(getenv("SHIM_STATE"), O_RDWR);
    state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    void *module = dlopen(getenv("SHIM_MODULE"), RTLD_NOW | RTLD_LOCAL);
    if (state == MAP_FAILED || !module) return 5;
    ulong_t (*get)(struct list **) = (ulong_t(*)(struct list **))dlsym(module, "C_GetFunctionList");
    if (!get || get(&real) != 0) return 5;
    memcpy(own.version, real->version, sizeof own.version);
    memcpy(own.functions, functions, sizeof functions);
  }
  *out = &own;
  return 0;
}
