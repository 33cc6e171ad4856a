"""What one pull costs: wall, CPU of the client side, bytes on the wire, peak memory. What each means is in README.md."""
import os
import subprocess
import tempfile
import time

from memory import Memory, high_water, tree

TICKS = os.sysconf("SC_CLK_TCK")


class Meter:
    def __init__(self, ask, servers):
        self.ask = ask  # the counting proxy's control port
        self.servers = servers  # pids of registry, web server and proxy

    def measure(self, command, daemons, env, warm, drop):
        """Runs the command; `daemons` are the pids that work for it, `warm` the files that shall be in memory. `drop`: nothing else is."""
        subprocess.run(["sync"], check=True)
        if drop:
            with open("/proc/sys/vm/drop_caches", "w") as f:
                f.write("3")
        for path in warm:
            read(path)
        for pid in daemons:
            with open("/proc/%d/clear_refs" % pid, "w") as f:
                f.write("5")  # VmHWM starts again
        self.ask("/reset")
        before, served = sum(map(cpu_of_tree, daemons)), sum(map(cpu_of_tree, self.servers))
        wall, usage, client_peak = timed(command, env)
        settle(daemons)
        stats, daemon_peak = self.ask("/stats"), sum(map(high_water, daemons[-1:]))
        return {"wall": wall, "cpu": sum(map(cpu_of_tree, daemons)) - before + usage.ru_utime + usage.ru_stime,
                "wire": stats["down"], "requests": stats["requests"], "ranges": stats["ranges"],
                "server_cpu": sum(map(cpu_of_tree, self.servers)) - served, "daemon_rss": daemon_peak or client_peak,
                "rss": client_peak + sum(map(high_water, daemons))}


def timed(command, env):
    """Runs a command, and ends it if this program is ended: wall seconds, resource usage, peak bytes."""
    with tempfile.TemporaryFile() as said:
        started = time.monotonic()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, env={**os.environ, **env})
        memory = Memory(child.pid)
        try:
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.monotonic() - started
            child.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            memory.stop()
        if child.returncode:
            said.seek(0)
            raise SystemExit("%s: exit %d\n%s" % (" ".join(command), child.returncode, said.read().decode(errors="replace")[-3000:]))
        return wall, usage, memory.peak


def read(path):
    with open(path, "rb", buffering=0) as f:
        while f.read(1 << 22):
            pass


def settle(daemons, seconds=5.0):
    """Waits until the daemons rest, so that work they put off is counted, too."""
    end, last = time.monotonic() + seconds, None
    while daemons and time.monotonic() < end:
        now = sum(map(cpu_of_tree, daemons))
        if now == last:
            return
        last = now
        time.sleep(0.3)


def cpu_of_tree(pid):
    return sum(map(cpu, tree(pid)))


def cpu(pid):
    """User and system seconds of a process and of its children that ended."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:15])) / TICKS
    except OSError:
        return 0.0
