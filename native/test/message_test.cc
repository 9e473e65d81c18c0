#include "message.h"

#include "check.h"
#include "frames.h"
#include "pool.h"

using namespace sealwax;

namespace {

constexpr size_t kIdEnd = 3 + 32;
constexpr size_t kHeaderLength = kIdEnd + 9 + 32;
constexpr size_t kFrameLength = 16;

size_t messageLength(size_t plaintextLength) {
  return kHeaderLength + 16 + bodyLength(plaintextLength, kFrameLength);
}

struct Opened {
  std::vector<OpenedMessage> results;
  Bytes out;
};

Opened open(const MessageRun& run, const std::vector<Bytes>& messages) {
  std::vector<Span> views;
  size_t room = 0;
  for (const Bytes& message : messages) {
    views.push_back(view(message));
    if (message.size() > messageLength(0)) room += message.size() - messageLength(0);
  }
  Opened opened{std::vector<OpenedMessage>(messages.size()), Bytes(room, 0xaa)};
  check(openMessages(run, views.data(), views.size(), opened.results.data(), span(opened.out)) == Status::ok, "opens");
  return opened;
}

}  // namespace

int main() {
  const Bytes dataKey(32, 1), ids(50 * 32, 2), unstored(5, 3);
  Bytes header(kHeaderLength, 4);
  header[0] = 2;
  const MessageRun run{view(dataKey), Hash::sha512, view(header), view(unstored), kFrameLength};
  std::vector<Bytes> plaintexts;
  std::vector<Span> views;
  size_t total = 0;
  for (size_t i = 0; i < 50; i++) plaintexts.push_back(Bytes(i, static_cast<uint8_t>(i)));
  for (const Bytes& plaintext : plaintexts) {
    views.push_back(view(plaintext));
    total += messageLength(plaintext.size());
  }

  Bytes first;
  std::vector<Bytes> messages;
  for (const unsigned threads : {1, 2, 7}) {
    for (const size_t grain : {0, 1}) {
      Pool::instance().force(threads, grain);
      Bytes sealed(total);
      check(sealMessages(run, view(ids), views.data(), views.size(), span(sealed)) == Status::ok, "seals");
      if (first.empty()) first = sealed;
      check(sealed == first, "the same bytes for every number of threads");
      messages.clear();
      size_t at = 0;
      for (const Bytes& plaintext : plaintexts) {
        const auto start = sealed.begin() + static_cast<std::ptrdiff_t>(at);
        messages.emplace_back(start, start + static_cast<std::ptrdiff_t>(messageLength(plaintext.size())));
        at += messages.back().size();
      }

      const Opened all = open(run, messages);
      at = 0;
      for (size_t i = 0; i < plaintexts.size(); i++) {
        check(all.results[i].plaintextLength == i && all.results[i].used == messages[i].size(), "opens all of it");
        check(std::equal(plaintexts[i].begin(), plaintexts[i].end(), all.out.begin() + static_cast<std::ptrdiff_t>(at)),
              "to the same plaintext");
        at += messages[i].size() - messageLength(0);
      }
    }
  }

  // Every byte counts, and every end but the right one is refused.
  const Bytes& whole = messages[40];
  for (size_t at = 0; at < whole.size(); at++) {
    Bytes changed = whole;
    changed[at] ^= 1;
    const Opened opened = open(run, {changed, Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(at))});
    check(opened.results[0].used == 0 && opened.results[1].used == 0, "refuses a changed or a cut message");
    check(allZero(opened.out), "wipes what it opened before");
  }
  Bytes longer = whole;
  longer.push_back(0);
  check(open(run, {longer}).results[0].used == whole.size(), "says where the message ends");

  MessageRun broken = run;
  broken.frameLength = 0;
  Bytes out(messageLength(0));
  check(sealMessages(broken, view(ids).sub(0, 32), views.data(), 1, span(out)) == Status::invalid,
        "a frame length of 0");
  check(sealMessages(run, view(ids).sub(0, 31), views.data(), 1, span(out)) == Status::invalid, "a short message ID");
  broken = run;
  broken.kdf.reset();
  check(sealMessages(broken, view(ids).sub(0, 32), views.data(), 1, span(out)) == Status::invalid, "no commitment");
  broken = run;
  broken.header = view(header).sub(0, kIdEnd);
  const MutableSpan fits = span(out).sub(0, out.size() - (header.size() - kIdEnd));
  check(sealMessages(broken, view(ids).sub(0, 32), views.data(), 1, fits) == Status::invalid, "a short header");
  broken = run;
  broken.dataKey = run.dataKey.sub(0, 31);
  check(sealMessages(broken, view(ids).sub(0, 32), views.data(), 1, span(out)) == Status::invalid, "a short data key");
  const Span inside = span(out).sub(1, 8);
  Bytes room(messageLength(inside.length));
  check(sealMessages(run, view(ids).sub(0, 32), &inside, 1, span(room)) == Status::ok, "elsewhere");
  const Span overlapping = span(room).sub(3, 8);
  check(sealMessages(run, view(ids).sub(0, 32), &overlapping, 1, span(room)) == Status::overlapping, "in place");
  const MutableSpan last = span(room).sub(room.size() - header.size(), header.size());
  std::copy(header.begin(), header.end(), last.data);
  broken = run;
  broken.header = last;
  check(sealMessages(broken, view(ids).sub(0, 32), &inside, 1, span(room)) == Status::overlapping, "over its header");
  check(sealMessages(run, last.sub(0, 32), &inside, 1, span(room)) == Status::overlapping, "over its message ID");
  // Nothing is touched: there need not be so much.
  broken = run;
  broken.frameLength = 1;
  const Span endless{out.data(), uint64_t{1} << 32};
  const MutableSpan asLong{out.data(), header.size() + kTagLength + bodyLength(endless.length, 1)};
  check(sealMessages(broken, view(ids).sub(0, 32), &endless, 1, asLong) == Status::invalid, "more frames than numbers");
  checkNoErrorLeft();
}
