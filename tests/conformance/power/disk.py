"""What lies on a disk after a power cut, built from the calls that changed files.

The model, in which everything that is not promised may be lost:

- A call begins and ends; between the two it may or may not have had its effect. A sync covers the calls that had
  ended when it began, and only once it has ended itself before the cut.
- `fsync` and `fdatasync` of a file cover its bytes and its size, not its name. `fsync` of a directory covers the
  names in it, not what they name. A rename is covered by the sync of the directory that gets the name, and is
  never half done. `sync_file_range` covers nothing.
- The kernel may have written any page of 4 KiB at any time: after the cut a page is as it was after the last sync
  or after any later write to it. A file's size is that of the last sync, or larger with zeros where pages are missing.

`dropped`   all that no sync covers is gone.
`torn`      of each page that no sync covers some version is there; of the names and truncations that no sync covers,
            any subset. So it has every disk of a journal that keeps their order, and more.
"""

import bisect
import dataclasses

PAGE = 4096
MODELS = ("dropped", "torn")


class Pages:
    """A file's bytes by page. What is not there is zero."""

    def __init__(self):
        self.pages = {}
        self.size = 0

    def write(self, offset, data):
        for page, change in written_pages(offset, data):
            self.pages[page] = changed(self.pages.get(page), change)
        self.size = max(self.size, offset + len(data))

    def truncate(self, length):
        for page in [page for page in self.pages if (page + 1) * PAGE > length]:
            self.pages[page] = cut_page(self.pages[page], page, length)
            if not self.pages[page]:
                del self.pages[page]
        self.size = length

    def bytes(self):
        content = bytearray(self.size)
        for page, data in self.pages.items():
            begin = page * PAGE
            if begin < self.size:
                data = data[: self.size - begin]
                content[begin : begin + len(data)] = data
        return bytes(content)


def written_pages(offset, data):
    """The pages that a write touches, each with where in it and what."""
    at = 0
    while at < len(data):
        page, inside = divmod(offset + at, PAGE)
        part = data[at : at + PAGE - inside]
        yield page, (inside, part)
        at += len(part)


def changed(page, change):
    inside, data = change
    before = (page or b"").ljust(inside, b"\0")
    return before[:inside] + data + before[inside + len(data) :]


def cut_page(data, page, length):
    return data[: max(0, length - page * PAGE)]


@dataclasses.dataclass
class Change:
    """A write (with data) or a truncation (without) of a file."""

    begin: float
    end: float
    offset: int
    data: bytes | None


@dataclasses.dataclass
class Naming:
    """Names given or taken, as one step: `(directory, name, inode or None)`. The first says which directory's sync
    covers it."""

    begin: float
    end: float
    what: str
    entries: list


class Inode:
    def __init__(self, number, is_directory, path):
        self.number = number
        self.is_directory = is_directory
        # The first name, for messages.
        self.path = path
        self.changes = []
        # `(begin, end, call)`, in order of their ends.
        self.syncs = []
        # As the running system sees it.
        self.names = {}
        self.now = Pages()


class History:
    """Everything that happened to a directory and what is below it, in order of completion."""

    def __init__(self):
        self.inodes = []
        self.namings = []
        self.root = self.inode(True, "")

    def inode(self, is_directory, path):
        inode = Inode(len(self.inodes), is_directory, path)
        self.inodes.append(inode)
        return inode

    def begin_with(self, image):
        """What was there before everything else is durable."""
        long_ago = 0.0
        for path, content in sorted(image.items()):
            inode = self.create(long_ago, long_ago, path, content is None)
            if content:
                self.change(inode, long_ago, long_ago, 0, content)
        for inode in self.inodes:
            inode.syncs.append((long_ago, long_ago, "it was there"))

    def find(self, path):
        """The inode of a path below the root, as the running system sees it now."""
        inode = self.root
        for name in filter(None, path.split("/")):
            inode = inode.names.get(name)
            if inode is None:
                return None
        return inode

    def parent(self, path):
        directory, _, name = path.rpartition("/")
        return self.find(directory), name

    def create(self, begin, end, path, is_directory):
        directory, name = self.parent(path)
        inode = self.inode(is_directory, path)
        self.name(Naming(begin, end, "mkdir" if is_directory else "create", [(directory, name, inode)]))
        return inode

    def remove(self, begin, end, path, what):
        directory, name = self.parent(path)
        self.name(Naming(begin, end, what, [(directory, name, None)]))

    def rename(self, begin, end, source, target):
        inode = self.find(source)
        (from_directory, from_name), (to_directory, to_name) = self.parent(source), self.parent(target)
        entries = [(to_directory, to_name, inode), (from_directory, from_name, None)]
        self.name(Naming(begin, end, "rename", entries))

    def name(self, naming):
        self.namings.append(naming)
        for directory, name, inode in naming.entries:
            set_name(directory.names, name, inode)

    def change(self, inode, begin, end, offset, data):
        inode.changes.append(Change(begin, end, offset, data))
        if data is None:
            inode.now.truncate(offset)
        else:
            inode.now.write(offset, data)

    def tree(self):
        """Path to bytes, or to None for a directory, as the running system sees it now."""
        return walk(self.root, lambda inode: inode.names, lambda inode: inode.now.bytes())

    def moments(self):
        """Begin and end of each call that changed or synced something."""
        found = [(naming.begin, naming.end) for naming in self.namings]
        for inode in self.inodes:
            found += [(change.begin, change.end) for change in inode.changes]
            found += [(begin, end) for begin, end, _ in inode.syncs]
        return [moment for moment in found if moment[0] > 0]


def set_name(names, name, inode):
    if inode is None:
        names.pop(name, None)
    else:
        names[name] = inode


def walk(root, names_of, bytes_of):
    found, waiting = {}, [("", root)]
    while waiting:
        above, directory = waiting.pop()
        for name, inode in names_of(directory).items():
            path = f"{above}{name}"
            if inode.is_directory:
                found[path] = None
                waiting.append((path + "/", inode))
            else:
                found[path] = bytes_of(inode)
    return found


class Cutter:
    """Builds disks as they could be after a cut. Cuts are to come in order of time."""

    def __init__(self, history, ignored=lambda inode, call: False):
        self.history = history
        self.syncs = {
            inode.number: [(begin, end) for begin, end, call in inode.syncs if not ignored(inode, call)]
            for inode in history.inodes
        }
        self.durable = {}
        self.ends = {inode.number: [change.end for change in inode.changes] for inode in history.inodes}

    def covered_until(self, inode, cut):
        """Calls that had ended by then are durable."""
        return max((begin for begin, end in self.syncs[inode.number] if end <= cut), default=float("-inf"))

    def image(self, model, cut, random):
        """Path to bytes, or to None for a directory."""
        covered = {
            inode.number: self.covered_until(inode, cut) for inode in self.history.inodes if self.syncs[inode.number]
        }
        names = {}
        for naming in self.history.namings:
            if naming.begin > cut:
                continue
            is_covered = naming.end <= covered.get(naming.entries[0][0].number, float("-inf"))
            if is_covered or model == "torn" and random.random() < 0.5:
                for directory, name, target in naming.entries:
                    set_name(names.setdefault(directory.number, {}), name, target)

        def content(inode):
            durable, pending = self.parts(inode, cut, covered.get(inode.number, float("-inf")))
            return durable.bytes() if model == "dropped" or not pending else torn(durable, pending, random)

        return walk(self.history.root, lambda inode: names.get(inode.number, {}), content)

    def parts(self, inode, cut, covered):
        """What is durable of a file, and the changes that may be there or not."""
        applied, durable = self.durable.setdefault(inode.number, [0, Pages()])
        until = bisect.bisect_right(self.ends[inode.number], covered)
        for change in inode.changes[applied:until]:
            if change.data is None:
                durable.truncate(change.offset)
            else:
                durable.write(change.offset, change.data)
        self.durable[inode.number][0] = max(applied, until)
        return durable, [change for change in inode.changes[until:] if change.begin <= cut]


def torn(durable, pending, random):
    """Each page in one of the versions that it had, and a size that goes with them."""
    # Every version of each page that changed, with the number of the change that made it; -1 is the durable one.
    versions = {}

    def latest(page):
        known = versions.get(page)
        return known[-1][1] if known else durable.pages.get(page)

    size = durable.size
    truncated = []
    for number, change in enumerate(pending):
        if change.data is None:
            size = change.offset
            if random.random() < 0.5:
                truncated.append((number, change.offset))
            for page in sorted(set(durable.pages) | set(versions)):
                if (page + 1) * PAGE > change.offset and latest(page):
                    kept = versions.setdefault(page, [(-1, durable.pages.get(page))])
                    kept.append((number, cut_page(kept[-1][1], page, change.offset)))
        else:
            size = max(size, change.offset + len(change.data))
            for page, part in written_pages(change.offset, change.data):
                kept = versions.setdefault(page, [(-1, durable.pages.get(page))])
                kept.append((number, changed(kept[-1][1], part)))

    chosen = {}
    for page, known in sorted(versions.items()):
        which = random.random()
        chosen[page] = known[0] if which < 0.35 else known[-1] if which < 0.7 else random.choice(known)

    result = Pages()
    result.size = durable.size
    for number, change in enumerate(pending):
        if change.data is None:
            if (number, change.offset) in truncated:
                result.size = change.offset
        else:
            for page, (inside, part) in written_pages(change.offset, change.data):
                if chosen[page][0] >= number:
                    result.size = max(result.size, page * PAGE + inside + len(part))
    if random.random() < 0.5:
        # The size was written, of the pages those that were chosen.
        result.size = size
    for page in set(durable.pages) | set(chosen):
        number, data = chosen.get(page, (-1, durable.pages.get(page)))
        for at, length in truncated:
            if at > number and data:
                data = cut_page(data, page, length)
        if data:
            result.pages[page] = data
    return result.bytes()
