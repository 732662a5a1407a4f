"""Plants violations in small trees and sees that walls.py finds them, and nothing else."""

import os
import tempfile
import unittest

import walls


def complaints(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        return walls.check_tree(root)


class Doors(unittest.TestCase):
    def assert_caught(self, path, include, rule):
        found = complaints({path: f"// A comment.\n#include {include}\n"})
        self.assertEqual(len(found), 1, (path, include, found))
        self.assertTrue(found[0].startswith(f"{path}:2: "), found)
        self.assertIn(rule, found[0])

    def assert_fine(self, path, *includes):
        text = "".join(f"#include {include}\n" for include in includes)
        self.assertEqual(complaints({path: text}), [])

    def test_what_goes_through_a_wall_is_caught(self):
        for path, include, rule in [
            ("kernels/tensor.cc", '"server/api/request.h"', "not server/api"),
            ("kernels/cpu/linear.cc", '"kernels/reference/ops.h"', "not kernels/reference"),
            ("server/model/decoder.cc", '"server/engine/engine.h"', "not server/engine"),
            ("server/model/decoder.cc", '"kernels/cpu/cpu_backend.h"', "not kernels/cpu"),
            ("server/cache/cache_manager.cc", '"server/engine/engine.h"', "not server/engine"),
            ("server/scheduler/scheduler.cc", '"server/cache/cache_manager.h"', "not server/cache"),
            ("server/scheduler/scheduler.cc", '"kernels/tensor.h"', "not kernels"),
            ("server/engine/engine.cc", '"server/service/wire.h"', "not server/service"),
            ("server/engine/engine.cc", '"deltaserve/v1/types.pb.h"', "not proto"),
            ("server/service/wire.cc", '"server/engine/engine_loop.h"', "not server/engine"),
            ("server/service/wire.cc", "<server/model/config.h>", "not server/model"),
            ("server/telemetry/metrics.cc", '"server/model/config.h"', "not server/model"),
            ("server/telemetry/metrics.cc", '"server/engine/engine.h"', "not server/engine"),
            ("server/tokenizer/tokenizer.cc", '"kernels/tensor.h"', "not kernels"),
            ("server/api/request.cc", '"kernels/tensor.h"', "not kernels"),
            ("client/cli/main.cc", '"server/api/request.h"', "not server/api"),
            ("server/engine/engine.cc", '"server/options.h"', "composition root"),
            ("server/engine/engine.cc", '"tests/support/model_harness.h"', "only tests"),
            ("tests/server/main_test.cc", '"server/main.h"', "nobody includes main"),
            ("server/engine/engine.cc", '"server/attic/old.h"', "no known room"),
        ]:
            with self.subTest(path=path, include=include):
                self.assert_caught(path, include, rule)

    def test_hidden_libraries_stay_hidden(self):
        for path, include, rule in [
            ("server/engine/engine.cc", "<cuda_runtime.h>", "CUDA"),
            ("kernels/cpu/linear.cc", "<cublasLt.h>", "CUDA"),
            ("kernels/reference/linear.cc", '"oneapi/dnnl/dnnl.hpp"', "oneDNN"),
            ("kernels/tensor.cc", "<hwy/highway.h>", "Highway"),
            ("server/engine/engine.cc", "<grpcpp/server.h>", "gRPC"),
            ("server/options.cc", '"deltaserve/v1/inference.grpc.pb.h"', "gRPC"),
            ("server/service/health.cc", "<prometheus/counter.h>", "Prometheus"),
            ("server/api/clock.cc", "<spdlog/spdlog.h>", "standard library and Abseil"),
            ("server/api/clock.cc", "<time.h>", "standard library and Abseil"),
        ]:
            with self.subTest(path=path, include=include):
                self.assert_caught(path, include, rule)

    def test_open_doors_are_open(self):
        self.assert_fine("kernels/cpu/linear.cc", "<vector>", '"kernels/ops.h"',
                         '"oneapi/dnnl/dnnl.hpp"', '"hwy/highway.h"')
        self.assert_fine("kernels/cuda/linear.cu", "<cuda_bf16.h>", '"kernels/tensor.h"')
        self.assert_fine("server/api/clock.cc", "<chrono>", '"absl/status/status.h"',
                         '"server/api/request.h"')
        self.assert_fine("server/telemetry/cost_meter.cc", '"server/model/cost_model.h"',
                         "<prometheus/gauge.h>")
        self.assert_fine("server/service/wire.cc", '"deltaserve/v1/inference.pb.h"',
                         "<grpcpp/server.h>", '"server/tokenizer/tokenizer.h"')
        self.assert_fine("server/main.cc", '"kernels/cpu/cpu_backend.h"', "<grpcpp/server.h>",
                         '"server/engine/engine_loop.h"', '"server/options.h"')
        self.assert_fine("client/cli/main.cc", '"client/cpp/client.h"', "<grpcpp/channel.h>")
        self.assert_fine("tests/integration/server_test.cc", '"server/service/wire.h"',
                         '"server/options.h"', "<grpcpp/channel.h>", '"tests/support/temp_dir.h"')
        self.assert_fine("bench/engine_bench.cc", '"server/engine/engine.h"')

    def test_only_the_model_lane_knows_scheduler_cache_and_engine(self):
        includes = ('#include "server/cache/cache_manager.h"\n'
                    '#include "server/scheduler/scheduler.h"\n')
        found = complaints({"server/engine/engine.cc": includes,
                            "server/engine/model_lane.cc": includes,
                            "server/engine/model_lane.h": includes.splitlines()[0] + "\n"})
        self.assertIn("server/engine/engine.cc:2: only server/engine/model_lane", found[0])
        self.assertEqual([c for c in found if "model_lane.cc:" in c], [])

    def test_a_project_header_is_included_from_the_root(self):
        found = complaints({"server/cache/a.cc": '#include "b.h"\n',
                            "server/cache/b.h": "#ifndef DELTASERVE_SERVER_CACHE_B_H_\n"
                                                "#define DELTASERVE_SERVER_CACHE_B_H_\n"
                                                "#endif  // DELTASERVE_SERVER_CACHE_B_H_\n"})
        self.assertEqual(len(found), 1, found)
        self.assertIn('as "server/cache/b.h"', found[0])

    def test_a_file_outside_every_room_is_caught(self):
        self.assertIn("no known room", complaints({"server/attic/old.cc": "\n"})[0])


class Guards(unittest.TestCase):
    def test_a_guard_spells_the_path(self):
        text = "// What it is.\n#ifndef {0}\n#define {0}\n#include <vector>\n#endif  // {0}\n"
        path = "server/model/residual/delta_gate.h"
        guard = "DELTASERVE_SERVER_MODEL_RESIDUAL_DELTA_GATE_H_"
        self.assertEqual(complaints({path: text.format(guard)}), [])
        found = complaints({path: text.format("DELTASERVE_MODEL_DELTA_GATE_H_")})
        self.assertEqual(found, [f"{path}:2: an include guard spells the path: "
                                 f"expected `#ifndef {guard}`"])
        self.assertIn("expected `#ifndef", complaints({path: "#pragma once\n"})[0])

    def test_per_target_headers_are_exempt(self):
        text = "#if defined(A) == defined(B)\n#endif\n"
        self.assertEqual(complaints({"kernels/cpu/simd-inl.h": text}), [])


class Length(unittest.TestCase):
    def test_code_files_are_short(self):
        for path in ("kernels/tensor.cc", "models/train.py", "deploy/quickstart.sh"):
            self.assertEqual(complaints({path: "\n" * walls.MAX_LINES}), [])
            found = complaints({path: "\n" * (walls.MAX_LINES + 1)})
            self.assertEqual(found, [f"{path}:451: a code file has at most 450 lines"])

    def test_data_and_build_trees_are_not_code(self):
        long = "\n" * 1000
        self.assertEqual(complaints({"tests/tokenizer/merges.txt": long, "build/x.cc": long,
                                     ".cache/y.cc": long, "client/python/a_pb2.py": long}), [])


if __name__ == "__main__":
    unittest.main()
