#include "client/cli/prompt_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace deltaserve::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(PromptSourceTest, StandardInputIsTakenAsItIs) {
  CommandLine command;
  command.request = v1::TokenizeRequest();
  command.text_path = "-";
  const std::string text("two\nlines\0 and more\n", 20);
  std::istringstream in(text);

  ASSERT_TRUE(ReadPrompt(in, command).ok());

  EXPECT_EQ(std::get<v1::TokenizeRequest>(command.request).text(), text);
}

TEST(PromptSourceTest, AFileIsTakenAsItIs) {
  const std::string path = ::testing::TempDir() + "/prompt.txt";
  std::ofstream(path) << "Grüße\n";
  std::istringstream in("not this");
  for (const CommandLine::Request& request :
       {CommandLine::Request(v1::GenerateRequest()), CommandLine::Request(v1::ScoreRequest())}) {
    CommandLine command;
    command.request = request;
    command.text_path = path;

    ASSERT_TRUE(ReadPrompt(in, command).ok());

    if (const auto* generate = std::get_if<v1::GenerateRequest>(&command.request)) {
      EXPECT_EQ(generate->text(), "Grüße\n");
    } else {
      EXPECT_EQ(std::get<v1::ScoreRequest>(command.request).text(), "Grüße\n");
    }
  }
}

TEST(PromptSourceTest, AFileThatCannotBeReadIsNamed) {
  std::istringstream in;
  for (const char* path : {"/no/such/file", "/"}) {
    CommandLine command;
    command.request = v1::GenerateRequest();
    command.text_path = path;
    EXPECT_THAT(std::string(ReadPrompt(in, command).message()), HasSubstr(path));
  }
}

TEST(PromptSourceTest, ARequestThatIsCompleteReadsNothing) {
  std::istringstream in("unread");
  CommandLine command;
  command.request = v1::ListModelsRequest();

  EXPECT_TRUE(ReadPrompt(in, command).ok());

  std::string rest;
  in >> rest;
  EXPECT_EQ(rest, "unread");
}

TEST(PromptSourceTest, TextThatIsNotUtf8IsRefused) {
  std::istringstream in;
  CommandLine command;

  v1::GenerateRequest generate;
  generate.set_text("ab\xff");
  command.request = generate;
  EXPECT_THAT(std::string(ReadPrompt(in, command).message()),
              AllOf(HasSubstr("the prompt is not UTF-8"), HasSubstr("index 2")));

  generate.set_text("fine");
  generate.add_stop("\xc3");
  command.request = generate;
  EXPECT_THAT(std::string(ReadPrompt(in, command).message()), HasSubstr("--stop"));

  v1::ScoreRequest score;
  score.add_continuations()->set_text("\x80");
  command.request = score;
  EXPECT_THAT(std::string(ReadPrompt(in, command).message()), HasSubstr("--continuation"));
}

}  // namespace
}  // namespace deltaserve::cli
