"""A directory as a mapping: path to bytes, or to None for a directory."""


def write(image, directory):
    directory.mkdir(mode=0o700, parents=True)
    for path, content in sorted(image.items()):
        if content is None:
            (directory / path).mkdir(mode=0o700)
        else:
            (directory / path).write_bytes(content)


def read(directory):
    return {
        str(path.relative_to(directory)): None if path.is_dir() else path.read_bytes() for path in directory.rglob("*")
    }
