#include "server/billing/usage_ledger.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "tests/billing/full_disk.h"
#include "tests/billing/records.h"
#include "tests/support/temp_dir.h"

namespace deltaserve {
namespace {

absl::Status WriteAndWait(UsageLedger& ledger, UsageRecord record) {
  std::promise<absl::Status> written;
  ledger.Write(std::move(record), [&](const absl::Status& status) { written.set_value(status); });
  return written.get_future().get();
}

std::vector<UsageTotal> Totals(UsageLedger& ledger) {
  std::promise<std::vector<UsageTotal>> totals;
  ledger.FindTotals({}, [&](absl::StatusOr<std::vector<UsageTotal>> found) {
    EXPECT_TRUE(found.ok()) << found.status();
    totals.set_value(*std::move(found));
  });
  return totals.get_future().get();
}

class UsageLedgerTest : public testing::Test {
 protected:
  // Tries again only with the next record.
  std::unique_ptr<UsageLedger> Open(size_t max_unwritten = 1000) {
    auto ledger = UsageLedger::Open(
        path_, {.on_change = [this](const absl::Status& status) { changes_.push_back(status); },
                .retry = absl::InfiniteDuration(),
                .max_unwritten = max_unwritten});
    EXPECT_TRUE(ledger.ok()) << ledger.status();
    return *std::move(ledger);
  }
  // What has been written lies in here.
  uintmax_t FileSize() const { return std::filesystem::file_size(path_ + "-wal"); }

  TempDir dir_;
  const std::string path_ = dir_ / "ledger.db";
  std::vector<absl::Status> changes_;
};

TEST_F(UsageLedgerTest, WritesOfManyThreads) {
  constexpr int kThreads = 8;
  constexpr int kEach = 50;
  const auto ledger = Open();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const std::string id = std::to_string(t) + "-" + std::to_string(i);
        EXPECT_TRUE(WriteAndWait(*ledger, ClosedRecord(id, 1)).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Totals(*ledger).at(0).requests, kThreads * kEach);
}

TEST_F(UsageLedgerTest, WritesAllBeforeItGoes) {
  {
    const auto ledger = Open();
    for (int i = 0; i < 100; ++i) {
      ledger->Write(ClosedRecord(std::to_string(i), 1), [](const absl::Status&) {});
    }
  }
  EXPECT_EQ(Totals(*Open()).at(0).requests, 100);
}

TEST_F(UsageLedgerTest, FindsARequest) {
  const auto ledger = Open();
  ASSERT_TRUE(WriteAndWait(*ledger, ClosedRecord("a-1", 3)).ok());
  std::promise<absl::StatusOr<UsageRecord>> found;
  ledger->FindRequest("a-1", "acme",
                      [&](absl::StatusOr<UsageRecord> record) { found.set_value(record); });
  EXPECT_EQ(found.get_future().get()->billed, 3);
}

TEST_F(UsageLedgerTest, ReadsThatWaitAreBounded) {
  const auto ledger =
      UsageLedger::Open(path_, {.retry = absl::InfiniteDuration(), .max_reads = 2}).value();
  std::promise<void> asked, go_on;
  ledger->FindTotals({}, [&](absl::StatusOr<std::vector<UsageTotal>>) {
    asked.set_value();
    go_on.get_future().wait();
  });
  asked.get_future().wait();
  std::promise<absl::Status> second;
  ledger->FindRequest("a-1", std::nullopt, [&](absl::StatusOr<UsageRecord> record) {
    second.set_value(record.status());
  });
  const absl::Status full =
      absl::ResourceExhaustedError("the ledger is busy: 2 questions are waiting for their answers");
  absl::Status totals, request;
  ledger->FindTotals(
      {}, [&](absl::StatusOr<std::vector<UsageTotal>> found) { totals = found.status(); });
  ledger->FindRequest("a-1", std::nullopt,
                      [&](absl::StatusOr<UsageRecord> record) { request = record.status(); });
  EXPECT_EQ(totals, full);
  EXPECT_EQ(request, full);

  go_on.set_value();
  EXPECT_TRUE(absl::IsNotFound(second.get_future().get()));
  ASSERT_TRUE(WriteAndWait(*ledger, ClosedRecord("a-1", 3)).ok());  // behind the second read
  EXPECT_EQ(Totals(*ledger).at(0).requests, 1);
}

TEST_F(UsageLedgerTest, AFullDiskIsToldAndWhatFailedIsWrittenLater) {
  const auto ledger = Open();
  ASSERT_TRUE(WriteAndWait(*ledger, ClosedRecord("1", 1)).ok());
  {
    const FullDisk full(FileSize());
    const absl::Status failed = WriteAndWait(*ledger, ClosedRecord("2", 20));
    EXPECT_TRUE(absl::IsUnavailable(failed)) << failed;
    EXPECT_EQ(ledger->status(), failed);
    EXPECT_FALSE(WriteAndWait(*ledger, ClosedRecord("3", 300)).ok());
    EXPECT_EQ(Totals(*ledger).at(0).billed, 1);
  }
  EXPECT_TRUE(WriteAndWait(*ledger, ClosedRecord("4", 4000)).ok());
  EXPECT_TRUE(ledger->status().ok());
  EXPECT_EQ(Totals(*ledger).at(0).billed, 4321);
  ASSERT_EQ(changes_.size(), 2);
  EXPECT_TRUE(absl::IsUnavailable(changes_[0]));
  EXPECT_TRUE(changes_[1].ok());
  EXPECT_EQ(ledger->num_lost(), 0);
}

TEST_F(UsageLedgerTest, KeepsSoManyThatFailedAndNoMore) {
  const auto ledger = Open(/*max_unwritten=*/2);
  ASSERT_TRUE(WriteAndWait(*ledger, ClosedRecord("0", 1)).ok());
  {
    const FullDisk full(FileSize());
    for (const char* id : {"1", "2", "3", "4"}) {
      EXPECT_FALSE(WriteAndWait(*ledger, ClosedRecord(id, 1)).ok());
    }
  }
  EXPECT_EQ(ledger->num_lost(), 2);
  EXPECT_TRUE(WriteAndWait(*ledger, ClosedRecord("5", 1)).ok());
  EXPECT_EQ(Totals(*ledger).at(0).requests, 4);
}

TEST_F(UsageLedgerTest, WritesALongBacklogInParts) {
  const auto ledger = Open(/*max_unwritten=*/100'000);
  ASSERT_TRUE(WriteAndWait(*ledger, ClosedRecord("0", 1)).ok());
  {
    const FullDisk full(FileSize());
    for (int i = 1; i < 2500; ++i) {
      ledger->Write(ClosedRecord(std::to_string(i), 1), [](const absl::Status&) {});
    }
    EXPECT_FALSE(WriteAndWait(*ledger, ClosedRecord("2500", 1)).ok());
  }
  EXPECT_TRUE(WriteAndWait(*ledger, ClosedRecord("2501", 1)).ok());
  EXPECT_EQ(Totals(*ledger).at(0).requests, 2502);
  EXPECT_EQ(ledger->num_lost(), 0);
}

TEST_F(UsageLedgerTest, WhatIsWrittenAtTheVeryEndIsNotLost) {
  auto ledger = Open();
  UsageLedger& writer = *ledger;
  std::promise<void> told;
  writer.Write(ClosedRecord("1", 1), [&](const absl::Status&) {
    told.get_future().wait();  // until the ledger is about to go
    writer.Write(ClosedRecord("2", 1), [](const absl::Status&) {});
  });
  std::thread end([&] { ledger.reset(); });
  told.set_value();
  end.join();
  EXPECT_EQ(Totals(*Open()).at(0).requests, 2);
}

TEST_F(UsageLedgerTest, TriesAgainByItself) {
  auto ledger = *UsageLedger::Open(path_, {.retry = absl::Milliseconds(1)});
  ASSERT_TRUE(WriteAndWait(*ledger, ClosedRecord("1", 1)).ok());
  {
    const FullDisk full(FileSize());
    EXPECT_FALSE(WriteAndWait(*ledger, ClosedRecord("2", 20)).ok());
  }
  while (!ledger->status().ok()) std::this_thread::yield();
  EXPECT_EQ(Totals(*ledger).at(0).billed, 21);
}

TEST_F(UsageLedgerTest, ALockedLedgerIsAnErrorAtTheStart) {
  const auto ledger = Open();
  EXPECT_TRUE(absl::IsUnavailable(UsageLedger::Open(path_, {}).status()));
}

}  // namespace
}  // namespace deltaserve
