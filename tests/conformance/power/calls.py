"""Reads what strace wrote into the history of a directory.

Calls that could change a file below it and are not modelled end the run: an image that leaves something out
would prove nothing. After each stop of the daemon the history is compared with the directory as it is.

A call's interval contains the moment of its effect. All moments, those of the clients too, are of CLOCK_REALTIME,
which must not be set meanwhile.
"""

import pathlib
import re

import disk
import images
import strace
from strace import DESCRIPTOR, HEX, bytes_of, text_of

TRACED = (
    "openat,?open,?creat,openat2,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,"
    "?rename,renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,?rmdir,ftruncate,truncate,fallocate,lseek,mmap,"
    "?link,linkat,?symlink,symlinkat,copy_file_range,sendfile,splice,io_uring_setup"
)
# More than any call writes at once; strace cuts what is longer.
LONGEST_BYTES = 64 * 1024 * 1024

STRING = re.compile(rf'"{HEX}"')


class Unmodelled(Exception):
    pass


def recorded(trace):
    """What precedes the command line of a daemon whose calls are to be recorded."""
    return ["strace", *strace.WRITES, "--seccomp-bpf", "-s", str(LONGEST_BYTES), "-e", f"trace={TRACED}", "-o", trace]


def read(traces, root, snapshots, image=None):
    """The history of `root` from the traces of consecutive runs of the daemon, each with a copy of `root` from after
    its end. It begins with an image, or empty."""
    reader = Reader(root)
    reader.history.begin_with(image or {})
    for trace, snapshot in zip(traces, snapshots):
        with open(trace, encoding="ascii") as lines:
            wanted = (strace.hexed(root), "io_uring_setup")
            found = [call for call in strace.calls(lines, wanted) if not call.error]
        reader.replay(sorted(found, key=lambda call: (call.end, call.begin)), snapshot)
    return reader.history


class Reader:
    def __init__(self, root):
        self.root = str(root)
        self.history = disk.History()
        # Descriptor to [inode, offset], for calls that name no offset.
        self.offsets = {}
        self.snapshot = None

    def replay(self, ordered, snapshot):
        self.snapshot = pathlib.Path(snapshot)
        self.offsets.clear()
        for call in ordered:
            if '"...' in call.arguments:
                raise Unmodelled(f"cut: {call.arguments[:200]}")
            handle = getattr(self, f"on_{call.name}", None)
            if handle is None:
                raise Unmodelled(f"{call.name}({call.arguments[:200]}")
            handle(call)
        self.compare()

    def compare(self):
        """What was recorded is what happened."""
        found, tree = images.read(self.snapshot), self.history.tree()
        for path in sorted(set(found) | set(tree)):
            if path not in found or path not in tree or found[path] != tree[path]:
                raise Unmodelled(f"{path} is not as the trace has it")

    # Paths.

    def below(self, path):
        """The path below the root, or None."""
        if path == self.root:
            return ""
        return path.removeprefix(self.root + "/") if path.startswith(self.root + "/") else None

    def paths(self, call):
        """The paths of a call that names some, with those that are relative to a descriptor made whole."""
        directory, found = "", []
        for descriptor, string in re.findall(rf'(?:AT_FDCWD|\d+)<{HEX}>|"{HEX}"', call.arguments):
            if descriptor:
                directory = text_of(descriptor)
            else:
                found.append(self.below(str(pathlib.PurePosixPath(directory, text_of(string)))))
        return found

    def opened(self, call):
        """The inode behind a call's descriptor; None if no name leads to it any more."""
        matched = DESCRIPTOR.match(call.arguments)
        if not matched:
            raise Unmodelled(f"{call.name} of a descriptor without a path: {call.arguments[:200]}")
        _, path, deleted = matched.groups()
        path = self.below(text_of(path))
        if path is None or deleted:
            return None
        inode = self.history.find(path)
        if inode is None:
            raise Unmodelled(f"{call.name} of {path}, which was never made")
        return inode

    # Calls whose end was not seen are looked for in the directory as it was found.

    def happened(self, call, seen):
        return call.result is not None or seen

    def is_in_snapshot(self, path):
        return (self.snapshot / path).exists()

    # Names.

    def on_openat(self, call):
        (path,) = self.paths(call)
        if path is None:
            return
        inode = self.history.find(path)
        flags = call.arguments
        if inode is None and "O_CREAT" in flags and self.happened(call, self.is_in_snapshot(path)):
            inode = self.history.create(call.begin, call.end, path, False)
        elif inode is not None and "O_TRUNC" in flags and inode.now.size:
            self.history.change(inode, call.begin, call.end, 0, None)
        if call.result is not None:
            self.offsets[call.result] = [inode, None if "O_APPEND" in flags or "O_RDWR" in flags else 0]

    def on_mkdir(self, call):
        (path,) = self.paths(call)
        if path is not None and self.happened(call, self.is_in_snapshot(path)):
            self.history.create(call.begin, call.end, path, True)

    on_mkdirat = on_mkdir

    def on_unlink(self, call):
        (path,) = self.paths(call)
        if path is not None and self.happened(call, not self.is_in_snapshot(path)):
            self.history.remove(call.begin, call.end, path, call.name)

    on_unlinkat = on_rmdir = on_unlink

    def on_rename(self, call):
        source, target = self.paths(call)
        if source is None and target is None:
            return
        if source is None or target is None or "RENAME_" in call.arguments:
            raise Unmodelled(f"{call.name}({call.arguments}")
        if self.happened(call, not self.is_in_snapshot(source)):
            self.history.rename(call.begin, call.end, source, target)

    on_renameat = on_renameat2 = on_rename

    # Bytes.

    def put(self, call, inode, offset):
        data = b"".join(bytes_of(part) for part in STRING.findall(call.arguments))
        if call.result is None:
            data = self.same_start(inode, offset, data)
        else:
            data = data[: call.result]
        if data:
            self.history.change(inode, call.begin, call.end, offset, data)
        return len(data)

    def same_start(self, inode, offset, data):
        """How much of a write that was killed is there."""
        path = self.snapshot / inode.path
        there = path.read_bytes()[offset : offset + len(data)] if path.exists() else b""
        same = next((at for at, pair in enumerate(zip(there, data)) if pair[0] != pair[1]), len(there))
        return data[:same]

    def on_write(self, call):
        inode = self.opened(call)
        if inode is None:
            return
        known = self.offsets.get(int(DESCRIPTOR.match(call.arguments)[1]))
        if known is None or known[0] is not inode or known[1] is None:
            raise Unmodelled(f"{call.name} at an unknown place of {inode.path}")
        known[1] += self.put(call, inode, known[1])

    def on_lseek(self, call):
        known = self.offsets.get(int(DESCRIPTOR.match(call.arguments)[1]))
        if known is not None and known[1] is not None and call.result is not None:
            known[1] = call.result

    def on_pwrite64(self, call):
        inode = self.opened(call)
        if inode is not None:
            self.put(call, inode, int(re.search(r", (\d+)$", call.arguments)[1]))

    def on_ftruncate(self, call):
        inode = self.opened(call)
        if inode is None:
            return
        length = int(re.search(r", (\d+)$", call.arguments)[1])
        path = self.snapshot / inode.path
        if self.happened(call, path.exists() and path.stat().st_size == length):
            self.history.change(inode, call.begin, call.end, length, None)

    # Syncs.

    def on_fsync(self, call):
        inode = self.opened(call)
        if inode is not None and call.result is not None:
            inode.syncs.append((call.begin, call.end, call.name))

    on_fdatasync = on_fsync

    def on_sync_file_range(self, call):
        """Promises nothing."""

    def on_mmap(self, call):
        if "MAP_SHARED" in call.arguments and "PROT_WRITE" in call.arguments:
            raise Unmodelled(f"{call.name}({call.arguments}")
