"""Media read in a process of its own, which may be killed by what it reads.

    server process                          fork server (one, started once, opens no media)
      IsolatedMedia --- socket pair ---.      |
        frames, image, noise, sound    |      | fork, for each job
                                       '--- reader process: LocalMedia behind limits

A reader holds one socket and the files of one job. It has limits of memory, processor time, open
files and file size, no core dumps, no way to write, and where the kernel allows it no network and
no files but its own. It ends when its job does, when the server does, however that ends, and when
it breaks a limit; then its job gets one MediaError.
"""

from wan_trt.media.isolation.processes import FORK_SERVER, ForkServer, ProcessLimits
from wan_trt.media.isolation.reader import IsolatedMedia

__all__ = ["FORK_SERVER", "ForkServer", "IsolatedMedia", "ProcessLimits"]
