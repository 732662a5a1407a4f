"""Fails when an #include goes through a wall of docs/architecture.md.

    walls.py ROOT

Prints one line `file:line: what is wrong: the rule` for each, and leaves with 1 if there are any.
It also holds headers to their include guards and code files to their length. Tests and benchmarks
stand outside the walls, but for `main`, which nobody may include.
"""

import os
import re
import sys

# The doors: what a room may include besides itself, the standard library and the like. The longest
# prefix says which room a file is in; a file that is in none is an error.
DOORS = {
    "kernels": [],
    "kernels/reference": ["kernels"],
    "kernels/cpu": ["kernels"],
    "kernels/cuda": ["kernels"],
    "proto": [],
    "auth": ["proto"],
    "server/api": [],
    "server/model": ["kernels", "server/api", "server/model/cost_model"],
    "server/model/cost_model": ["kernels", "server/api", "server/model"],
    "server/tokenizer": ["server/api"],
    "server/cache": ["kernels", "server/api"],
    "server/scheduler": ["server/api"],
    "server/engine": [
        "kernels",
        "server/api",
        "server/cache",
        "server/model",
        "server/model/cost_model",
        "server/scheduler",
    ],
    "server/telemetry": ["server/api", "server/model/cost_model"],
    "server/billing": ["server/api", "server/model/cost_model", "server/telemetry"],
    "server/service": ["auth", "proto", "server/api", "server/tokenizer"],
    "client": ["auth", "proto"],
}
# The composition root, the files of server/ itself, knows every room; none knows it.
ROOT_ROOM = "server"
OUTSIDE = ("tests", "bench")

# Libraries that one room hides from all the others: how their headers begin or end, and where they
# may be included.
HIDDEN_LIBRARIES = [
    ("CUDA", r"^(cuda|cublas|cub/|thrust/|cooperative_groups)", ["kernels/cuda/"]),
    ("oneDNN", r"^(oneapi/dnnl/|dnnl)", ["kernels/cpu/"]),
    ("Highway", r"^hwy/", ["kernels/cpu/"]),
    ("gRPC", r"^(grpc|grpcpp|grpc\+\+)/|\.grpc\.pb\.h$",
     ["server/service/", "client/", "server/main.cc"]),
    ("Prometheus", r"^prometheus/", ["server/telemetry/"]),
    ("SQLite", r"^sqlite3", ["server/billing/"]),
    ("OpenSSL", r"^openssl/", ["auth/"]),
]

MAX_LINES = 450
CPP_SUFFIXES = (".h", ".cuh", ".cc", ".cu")
CODE_SUFFIXES = CPP_SUFFIXES + (".py", ".sh", ".cmake", ".proto", "CMakeLists.txt")
NOT_OURS = re.compile(r"^(\..*|build.*|__pycache__|node_modules|runs|.*\.egg-info)$")

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
PROJECT_PATH = re.compile(r"^(auth|kernels|server|client|tests|bench)/")


def code_files(root):
    """Yields the paths of the project's code files, relative to `root`."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not NOT_OURS.match(name))
        for name in sorted(names):
            if name.endswith(CODE_SUFFIXES) and "_pb2" not in name:
                yield os.path.relpath(os.path.join(folder, name), root)


def room_of(path):
    if path.startswith("deltaserve/v1/"):
        return "proto"
    if path.startswith(tuple(room + "/" for room in OUTSIDE)):
        return OUTSIDE[0]
    if path.count("/") == 1 and path.startswith(ROOT_ROOM + "/"):
        return ROOT_ROOM
    rooms = [room for room in DOORS if path.startswith((room + "/", room + "."))]
    return max(rooms, key=len, default=None)


def check_project_include(path, room, header):
    target = room_of(header)
    if os.path.basename(header).startswith("main."):
        return "nobody includes main"
    if target is None:
        return f"{header} is in no known room: give it one in tests/architecture/walls.py"
    if room in OUTSIDE:
        return None
    if target in OUTSIDE:
        return "only tests and benchmarks include tests"
    if room in (ROOT_ROOM, target):
        return None
    if target == ROOT_ROOM:
        return "nobody includes the composition root"
    if target not in DOORS[room]:
        allowed = ", ".join(DOORS[room]) or "no other room"
        return f"{room} may include {allowed}; not {target}"
    return None


def check_library_include(path, room, header, quoted):
    if room in OUTSIDE:
        return None
    for library, pattern, places in HIDDEN_LIBRARIES:
        if re.search(pattern, header) and not path.startswith(tuple(places)):
            return f"{library} belongs to {', '.join(places)} alone"
    if room != "server/api" or room_of(header) == room:
        return None
    standard = not quoted and re.fullmatch(r"[a-z_]+", header)
    if not standard and not header.startswith("absl/"):
        return "server/api includes only the standard library and Abseil"
    return None


def check_includes(root, path, lines):
    room = room_of(path)
    if room is None:
        yield 1, "the file is in no known room: give it one in tests/architecture/walls.py"
        return
    targets = {}  # room: the line that first includes something of it
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        header = match.group(1) or match.group(2)
        quoted = match.group(1) is not None
        beside = os.path.join(os.path.dirname(path), header)
        wrong = None
        if PROJECT_PATH.match(header) or header.startswith("deltaserve/v1/"):
            targets.setdefault(room_of(header), number)
            wrong = check_project_include(path, room, header)
        elif quoted and os.path.exists(os.path.join(root, beside)):
            wrong = f'a project header is included from the root, as "{os.path.normpath(beside)}"'
        wrong = wrong or check_library_include(path, room, header, quoted)
        if wrong:
            yield number, f"#include {header}: {wrong}"

    if room == "server/engine" and not path.startswith("server/engine/model_lane."):
        if "server/cache" in targets and "server/scheduler" in targets:
            yield (max(targets["server/cache"], targets["server/scheduler"]),
                   "only server/engine/model_lane knows scheduler, cache and engine together")


def check_guard(path, lines):
    # Highway's headers of code that is compiled once per target have guards of their own kind.
    if not path.endswith((".h", ".cuh")) or path.endswith("-inl.h"):
        return
    guard = "DELTASERVE_" + re.sub(r"[^A-Z0-9]", "_", path.upper()) + "_"
    directives = [(n, line.strip()) for n, line in enumerate(lines, 1) if line.startswith("#")]
    expected = [(0, f"#ifndef {guard}"), (1, f"#define {guard}"), (-1, f"#endif  // {guard}")]
    for index, text in expected:
        number, found = directives[index] if len(directives) >= 3 else (1, "")
        if found != text:
            yield number, f"an include guard spells the path: expected `{text}`"
            return


def check_tree(root):
    """Returns all complaints as `file:line: text`."""
    complaints = []
    for path in code_files(root):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            lines = file.read().splitlines()
        found = []
        if path.endswith(CPP_SUFFIXES):
            found += check_includes(root, path, lines)
            found += check_guard(path, lines)
        if len(lines) > MAX_LINES:
            found.append((len(lines), f"a code file has at most {MAX_LINES} lines"))
        complaints += [f"{path}:{number}: {text}" for number, text in found]
    return complaints


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    complaints = check_tree(sys.argv[1])
    print("\n".join(complaints) if complaints else "The walls stand.")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
