"""Runs an image's command as an engine would, without one.

The container has its own process, mount and network namespaces, a read-only root filesystem, the
image's user, no capabilities and no way to gain any; its command is process 1. As root.
"""

import json
import os
import signal
import subprocess

# Binds the root read-only over itself, brings up loopback and becomes the command: in namespaces of
# its own. $1 is the root, $2 and $3 the user and group.
START = """
set -e
ip link set lo up
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
root=$1 user=$2 group=$3
shift 3
exec unshare --pid --fork --root="$root" --wd=/var/lib/deltaserve \
  --mount-proc setpriv --reuid="$user" --regid="$group" --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all "$@"
"""


class Container:
    """The image's command with `flags` after it; `config` is the image's, of the Docker format."""

    def __init__(self, root, config, flags=()):
        self._config = config
        self._user = config["User"].split(":")
        self._starter = subprocess.Popen(
            ["unshare", "--mount", "--net", "sh", "-c", START, "sh", root, *self._user,
             *config["Entrypoint"], *(config.get("Cmd") or []), *flags],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self._starter.poll() is None:
            os.kill(self.pid or self._starter.pid, signal.SIGKILL)
        self._starter.communicate()

    @property
    def pid(self):
        """Of the container's process 1, seen from outside; None while there is none yet."""
        path = f"/proc/{self._starter.pid}/task/{self._starter.pid}/children"
        with open(path, encoding="ascii") as file:
            children = file.read().split()
        return int(children[0]) if children else None

    def status(self):
        """Process 1's /proc/PID/status."""
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file)

    def outside(self, *command):
        """Runs a command of this machine's that sees the container's network only."""
        return subprocess.run(["nsenter", "--target", str(self.pid), "--net", *command],
                              capture_output=True, text=True, timeout=60, check=False)

    def inside(self, *command):
        """Runs a command of the image's in the container, as its user."""
        user, group = self._user
        return subprocess.run(
            ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--root", "--wd",
             "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *command],
            capture_output=True, text=True, timeout=60, check=False)

    def health(self):
        """The exit code of the image's HEALTHCHECK."""
        kind, *command = self._config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.inside(*command).returncode

    def wait_for_line(self, beginning):
        """The first line of standard output that begins so; fails when it ends before."""
        for line in self._starter.stdout:
            if line.startswith(beginning):
                return line
        raise AssertionError(f"ended without {beginning!r}: {self._starter.stderr.read()}")

    def stop(self):
        """What SIGTERM to process 1 makes of it: its exit code and its log."""
        os.kill(self.pid, signal.SIGTERM)
        _, log = self._starter.communicate(timeout=60)
        return self._starter.returncode, log

    def wait(self):
        """For an end of its own accord: the exit code and what it said."""
        _, log = self._starter.communicate(timeout=60)
        return self._starter.returncode, log


def json_of(ended):
    """The object that an ended command has printed."""
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)
