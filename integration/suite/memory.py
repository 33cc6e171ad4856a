"""Peak memory of a process and its children, sampled."""
import os
import threading

SAMPLE_SECONDS = 0.02


class Memory:
    """Samples the peaks of a command and its children while they live.

    Not wait4's ru_maxrss: after vfork it starts from the peak of the parent, that is of this program.
    """

    def __init__(self, pid):
        self.pid, self.peak, self.ended = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()

    def sample(self):
        while not self.ended.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, sum(map(high_water, tree(self.pid))))

    def stop(self):
        self.ended.set()
        self.thread.join()


def tree(pid):
    found = [pid]
    try:
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, task)) as f:
                for child in f.read().split():
                    found += tree(int(child))
    except OSError:
        pass  # it ended meanwhile
    return found


def high_water(pid):
    """Peak resident bytes of a process."""
    try:
        with open("/proc/%d/status" % pid) as f:
            return next((int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM")), 0)
    except OSError:
        return 0
