// Linear, SwiGlu, HeadNormGate, TwoLayerGate, GatherRows, CopyRows.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tests/kernels/op_test_suite.h"

namespace deltaserve {
namespace {

// Outputs near N(0, 1).
struct LinearCase {
  Lengths lengths;
  std::vector<int64_t> outs;  // of the stacked parts
  int64_t in;
  DType y_dtype;
  int64_t x_padding;
  std::vector<std::vector<float>> parts;
  TokenRows x;

  LinearCase(int64_t rows, std::vector<int64_t> outs, int64_t in, DType y_dtype, int64_t x_padding)
      : lengths{rows}, outs(outs), in(in), y_dtype(y_dtype), x_padding(x_padding) {
    Random random(rows + in);
    for (int64_t out : outs) {
      parts.push_back(random.Normals(out * in, 1 / std::sqrt(static_cast<float>(in))));
    }
    x = TokenRows::Normals(lengths, in, random);
  }

  OpResults Run(TestDevice& device, const Schedule& schedule) const {
    const std::unique_ptr<PackedLinear> weight = device.Pack(parts, in);
    int64_t out = 0;
    for (int64_t part : outs) out += part;
    EXPECT_EQ(weight->in_features(), in);
    EXPECT_EQ(weight->out_features(), out);
    OpResults results = {{"y", TokenRows(lengths, out)}};
    for (const StepRuns& step : schedule) {
      const int64_t rows = NumTokens(step);
      const TensorView y =
          device.Output(y_dtype == DType::kF32 ? DType::kF32 : device.storage(), {rows, out});
      device.backend().Linear({.weight = weight.get(),
                               .x = device.Model({rows, in}, x.Gather(step), x_padding),
                               .y = y});
      results["y"].Scatter(step, device.Floats(y));
    }
    return results;
  }
};

TEST_P(OpTest, Linear) {
  Random random(1);
  const std::vector<int64_t> sizes = {1, 7, 80, 213, 768};
  for (int64_t rows : {1, 2, 3, 7, 19, 64, 80}) {
    for (int64_t in : sizes) {
      std::vector<int64_t> outs(random.Int(1, 3));
      for (int64_t& out : outs) out = random.Pick(sizes);
      const DType y_dtype = random.Chance(0.5) ? DType::kF32 : GetParam().dtype;
      const LinearCase op(rows, outs, in, y_dtype, random.Pick<int64_t>({0, 1, 80}));
      SCOPED_TRACE(absl::StrCat("[", rows, ", ", in, "] of ", outs.size(), " parts"));
      TestDevice device = Device(), reference = ReferenceDevice();
      const Tolerance tolerance =
          y_dtype == DType::kF32 ? Tolerance{1e-5f, 1e-5f} : ModelTolerance(1e-5f);
      ExpectNear(op.Run(device, OneStep(op.lengths)).at("y"),
                 op.Run(reference, OneStep(op.lengths)).at("y"), tolerance, "y");
    }
  }
}

// A row's sum may not depend on how many rows there are: batch-dependent blocking would show here.
TEST_P(OpTest, LinearRowsAreIndependentOfTheirNumber) {
  struct Size {
    int64_t rows, in, out;
  };
  for (const Size& size : {Size{1023, 7, 5}, Size{1023, 80, 213}, Size{1023, 213, 80},
                           Size{257, 768, 128}, Size{65, 1031, 200}}) {
    SCOPED_TRACE(absl::StrCat(size.in, " to ", size.out));
    const LinearCase op(size.rows, {size.out}, size.in, GetParam().dtype, 0);
    TestDevice device = Device();
    const OpResults single_rows = op.Run(device, TokenByToken(op.lengths));
    for (int64_t rows = 3; rows <= size.rows; rows = 2 * rows + 1 + rows % 4) {
      SCOPED_TRACE(absl::StrCat(rows, " rows at a time"));
      Schedule schedule;
      for (int64_t begin = 0; begin < size.rows; begin += rows) {
        schedule.push_back({{0, begin, std::min(rows, size.rows - begin)}});
      }
      ExpectSameBits(op.Run(device, schedule), single_rows);
    }
  }
}

struct SwiGluCase {
  Lengths lengths = {19};
  int64_t hidden;
  TokenRows gate_up;

  explicit SwiGluCase(int64_t hidden) : hidden(hidden) {
    Random random(hidden);
    gate_up = TokenRows::Normals(lengths, 2 * hidden, random, 3);
  }

  OpResults Run(TestDevice& device, const Schedule& schedule) const {
    OpResults results = {{"out", TokenRows(lengths, hidden)}};
    for (const StepRuns& step : schedule) {
      const int64_t rows = NumTokens(step);
      const TensorView out = device.Output(device.storage(), {rows, hidden});
      device.backend().SwiGlu(
          {.gate_up = device.F32({rows, 2 * hidden}, gate_up.Gather(step), 3), .out = out});
      results["out"].Scatter(step, device.Floats(out));
    }
    return results;
  }
};

TEST_P(OpTest, SwiGlu) {
  for (int64_t hidden : {1, 7, 80, 213, 256}) {
    SCOPED_TRACE(hidden);
    const SwiGluCase op(hidden);
    TestDevice device = Device(), reference = ReferenceDevice();
    ExpectNear(op.Run(device, OneStep(op.lengths)).at("out"),
               op.Run(reference, OneStep(op.lengths)).at("out"), ModelTolerance(1e-5f), "out");
    ExpectRowsIndependent(op.lengths, [&](const Schedule& s) { return op.Run(device, s); });
  }
}

struct HeadNormGateCase {
  Lengths lengths = {11};
  int64_t num_heads, head_dim;
  bool norm, gate;
  TokenRows y, gates;
  std::vector<float> norm_weight;

  HeadNormGateCase(int64_t num_heads, int64_t head_dim, bool norm, bool gate)
      : num_heads(num_heads), head_dim(head_dim), norm(norm), gate(gate) {
    Random random(head_dim);
    y = TokenRows::Normals(lengths, num_heads * head_dim, random);
    gates = TokenRows::Normals(lengths, num_heads * head_dim, random, 3);
    norm_weight = random.Normals(head_dim);
  }

  OpResults Run(TestDevice& device, const Schedule& schedule) const {
    const int64_t width = num_heads * head_dim;
    OpResults results = {{"y", TokenRows(lengths, width)}};
    for (const StepRuns& step : schedule) {
      const int64_t rows = NumTokens(step);
      HeadNormGateParams p = {.y = device.Model({rows, width}, y.Gather(step)),
                              .num_heads = num_heads,
                              .norm_weight = {},
                              .norm_eps = 1e-2f,
                              .gate = {}};
      if (norm) p.norm_weight = device.F32({head_dim}, norm_weight);
      if (gate) p.gate = device.F32({rows, width}, gates.Gather(step), 5);
      device.backend().HeadNormGate(p);
      results["y"].Scatter(step, device.Floats(p.y));
    }
    return results;
  }
};

TEST_P(OpTest, HeadNormGate) {
  for (int64_t head_dim : {1, 7, 16, 64, 80}) {
    for (int which : {1, 2, 3}) {
      SCOPED_TRACE(absl::StrCat("D=", head_dim, " norm=", which & 1, " gate=", which & 2));
      const HeadNormGateCase op(3, head_dim, which & 1, which & 2);
      TestDevice device = Device(), reference = ReferenceDevice();
      // In bf16, y may or may not be rounded between the norm and the gate.
      const Tolerance tolerance =
          bf16() && which == 3 ? Tolerance{1e-5f, 0x1p-7f} : ModelTolerance(1e-5f);
      ExpectNear(op.Run(device, OneStep(op.lengths)).at("y"),
                 op.Run(reference, OneStep(op.lengths)).at("y"), tolerance, "y");
      ExpectRowsIndependent(op.lengths, [&](const Schedule& s) { return op.Run(device, s); });
    }
  }
}

struct TwoLayerGateCase {
  Lengths lengths = {21};
  int64_t width;
  TokenRows hidden;
  std::vector<float> out_weight;

  explicit TwoLayerGateCase(int64_t width) : width(width) {
    Random random(width);
    hidden = TokenRows::Normals(lengths, width, random, 2);
    out_weight = random.Normals(width, 2 / std::sqrt(static_cast<float>(width)));
  }

  OpResults Run(TestDevice& device, const Schedule& schedule) const {
    OpResults results = {{"beta", TokenRows(lengths, 1)}};
    for (const StepRuns& step : schedule) {
      const int64_t rows = NumTokens(step);
      const TensorView beta = device.Output(DType::kF32, {rows});
      device.backend().TwoLayerGate({.hidden = device.F32({rows, width}, hidden.Gather(step), 7),
                                     .out_weight = device.F32({width}, out_weight),
                                     .out_bias = 0.25f,
                                     .beta = beta});
      results["beta"].Scatter(step, device.Floats(beta));
    }
    return results;
  }
};

TEST_P(OpTest, TwoLayerGate) {
  for (int64_t width : {1, 7, 80, 128, 213}) {
    SCOPED_TRACE(width);
    const TwoLayerGateCase op(width);
    TestDevice device = Device(), reference = ReferenceDevice();
    ExpectNear(op.Run(device, OneStep(op.lengths)).at("beta"),
               op.Run(reference, OneStep(op.lengths)).at("beta"), {1e-5f, 0}, "beta");
    ExpectRowsIndependent(op.lengths, [&](const Schedule& s) { return op.Run(device, s); });
  }
}

TEST_P(OpTest, GatherRowsCopiesRows) {
  Random random(6);
  for (int64_t d : {1, 7, 80, 213}) {
    TestDevice device = Device();
    const std::vector<float> values = Rounded(random.Normals(9 * d), device.precision());
    const std::vector<int32_t> rows = {8, 0, 3, 3, 7};
    std::vector<float> expected;
    for (int32_t row : rows) {
      expected.insert(expected.end(), values.begin() + row * d, values.begin() + (row + 1) * d);
    }
    const TensorView out = device.Output(device.storage(), {5, d});
    device.backend().GatherRows(
        {.x = device.Model({9, d}, values), .rows = device.I32({5}, rows), .out = out});
    EXPECT_EQ(device.Floats(out), expected) << "d = " << d;
  }
}

TEST_P(OpTest, CopyRowsCopiesWholeRowsOfAnyType) {
  Random random(7);
  TestDevice device = Device();
  const std::vector<float> pages = Rounded(random.Normals(5 * 2 * 3 * 7), device.precision());
  const TensorView kv = device.Model({5, 2, 3, 7}, pages);
  const TensorView pairs = device.I32({3, 2}, {4, 1, 0, 2, 4, 3});
  device.backend().CopyRows({.data = kv, .pairs = pairs});
  std::vector<float> expected = pages;
  for (auto [from, to] : {std::pair(4, 1), {0, 2}, {4, 3}}) {
    std::copy_n(pages.begin() + from * 42, 42, expected.begin() + to * 42);
  }
  EXPECT_EQ(device.Floats(kv), expected);

  const TensorView ids = device.I32({5}, {10, 11, 12, 13, 14});
  device.backend().CopyRows({.data = ids, .pairs = pairs});
  EXPECT_EQ(device.Ints(ids), (std::vector<int32_t>{10, 14, 10, 14, 14}));
}

TEST_P(OpTest, AllocatesZeroedAlignedMemory) {
  TestDevice device = Device();
  for (int64_t size : {1, 63, 64, 1000, 1 << 20}) {
    const absl::StatusOr<Buffer> buffer = device.backend().Allocate(size);
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(buffer->size_bytes(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
    std::vector<char> bytes(size, 1);
    ASSERT_TRUE(device.backend().CopyToHost(bytes.data(), buffer->data(), size).ok());
    EXPECT_EQ(bytes, std::vector<char>(size, 0));
  }
  EXPECT_TRUE(device.backend().Synchronize().ok());
}

TEST_P(OpTest, RefusesPartsOfDifferentWidth) {
  TestDevice device = Device();
  const std::vector<float> weight(12);
  const HostMatrix parts[] = {{weight.data(), DType::kF32, 3, 4},
                              {weight.data(), DType::kF32, 4, 3}};
  EXPECT_EQ(device.backend().PackLinear(parts, GetParam().dtype).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace deltaserve
