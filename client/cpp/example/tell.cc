// Prints how a model goes on from a prompt, as it comes, and what that took.
//
//   tell HOST:PORT PROMPT
#include <iostream>

#include "deltaserve/client/cpp/client.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: tell HOST:PORT PROMPT\n";
    return 2;
  }
  const deltaserve::Client client = deltaserve::Client::Connect(argv[1]);

  deltaserve::v1::GenerateRequest request;
  request.set_text(argv[2]);
  request.set_max_tokens(16);
  request.set_temperature(0);
  deltaserve::GenerationStream stream =
      client.GenerateStream(request, {.timeout = absl::Seconds(30)});
  deltaserve::v1::Usage usage;
  for (deltaserve::v1::GenerateChunk chunk; stream.Read(&chunk);) {
    for (const deltaserve::v1::Sample& sample : chunk.samples()) {
      std::cout << sample.text() << std::flush;
    }
    if (chunk.has_usage()) usage = chunk.usage();
  }
  const absl::Status status = stream.Finish();
  if (!status.ok()) {
    std::cerr << status << '\n';
    return 1;
  }
  std::cout << '\n'
            << usage.prompt_tokens() << " prompt, " << usage.completion_tokens()
            << " generated tokens, " << usage.device_seconds() * 1e3 << " ms of the device\n";
}
