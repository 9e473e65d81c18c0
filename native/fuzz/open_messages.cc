#include <vector>

#include "frames.h"
#include "message.h"

// Bytes of a stranger as header and messages, cut at any place: whatever they are, nothing is read or written out of
// bounds, and no message uses more bytes than it has.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  static const uint8_t key[32] = {1};
  const size_t headerLength = data[0] < size - 4 ? data[0] : size - 4;
  sealwax::MessageRun run{{key, data[1] % 2 == 0 ? size_t{16} : size_t{32}}, {}, {data + 4, headerLength}, {}, data[2]};
  if (data[1] / 2 % 4 != 3) run.kdf = static_cast<sealwax::Hash>(data[1] / 2 % 4);
  const sealwax::Span rest{data + 4 + headerLength, size - 4 - headerLength};
  const size_t cut = rest.length == 0 ? 0 : data[3] % (rest.length + 1);
  const sealwax::Span messages[] = {rest.sub(0, cut), rest.sub(cut, rest.length - cut)};

  // Each message's share is its length less what one without plaintext takes; so is what a caller provides.
  const size_t authLength = headerLength != 0 && run.header.data[0] == 1 ? 28 : 16;
  const size_t least = headerLength + authLength + sealwax::kFinalFrameOverhead;
  size_t room = 0;
  for (const auto& message : messages) room += message.length > least ? message.length - least : 0;
  std::vector<uint8_t> out(room);
  sealwax::OpenedMessage opened[2];
  if (sealwax::openMessages(run, messages, 2, opened, {out.data(), out.size()}) != sealwax::Status::ok) return 0;
  for (size_t i = 0; i < 2; i++) {
    if (opened[i].used > messages[i].length) __builtin_trap();
  }
  return 0;
}
