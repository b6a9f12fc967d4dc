#!/usr/bin/env python3
"""clang-tidy for one source file, skipped when it passed before with the same input.

  .ci/tidy_file.py BUILD_DIR CACHE_DIR FILE [CHECKS]

BUILD_DIR holds compile_commands.json. CHECKS, as in clang-tidy's --checks, is added to those of
.clang-tidy. A file that passes leaves an empty stamp in CACHE_DIR, named
by a hash of everything the verdict depends on; failures leave none. Prints the CPU seconds of each
file that is not skipped. Exits with 1 when clang-tidy complains, with 2 when it cannot run.
"""

import hashlib
import json
import pathlib
import re
import resource
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(command, directory):
    done = subprocess.run(command, cwd=directory, capture_output=True, check=False)
    if done.returncode != 0:
        sys.stderr.buffer.write(done.stderr)
        sys.exit(2)
    return done.stdout


def compile_command(build_dir, source):
    """The arguments and the directory that `source` is compiled with."""
    for entry in json.loads((build_dir / "compile_commands.json").read_text(encoding="utf-8")):
        if pathlib.Path(entry["file"]) == source:
            return shlex.split(entry["command"]), entry["directory"]
    print(f"{source}: not in {build_dir}/compile_commands.json; configure again, with the preset "
          "tidy", file=sys.stderr)
    sys.exit(2)


def own_texts(preprocessed):
    """The files of this tree that were read. Comments count, NOLINT is one, but the preprocessor
    drops them."""
    names = set(re.findall(rb'^# \d+ "([^"]+)"', preprocessed, re.MULTILINE))
    paths = sorted(pathlib.Path(name.decode()) for name in names)
    return [path.read_bytes() for path in paths if path.is_relative_to(ROOT) and path.is_file()]


def cache_key(build_dir, source, options):
    command, directory = compile_command(build_dir, source)
    output = command.index("-o")
    preprocess = command[:output] + command[output + 2:]
    preprocess.remove("-c")
    # With the macro definitions: checks look at them, too.
    preprocessed = run(preprocess + ["-E", "-dD"], directory)
    parts = [run(["clang-tidy", "--version"], directory),
             # With the settings of every parent directory.
             run(["clang-tidy", "-p", build_dir, *options, "--dump-config", source], directory),
             shlex.join(command).encode(), preprocessed, *own_texts(preprocessed)]
    digest = hashlib.sha256()
    for part in parts:
        # Every checkout of the same tree has the same key.
        part = part.replace(bytes(ROOT), b"")
        digest.update(b"%d\n" % len(part) + part)
    return digest.hexdigest()


def main():
    build_dir, cache_dir, source = (pathlib.Path(word).resolve() for word in sys.argv[1:4])
    options = [f"--checks={checks}" for checks in sys.argv[4:]]
    stamp = cache_dir / cache_key(build_dir, source, options)
    if stamp.exists():
        stamp.touch()  # Old ones are deleted by age.
        return 0
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["clang-tidy", "--quiet", "-p", build_dir, *options, source],
                          check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    verdict = "passed" if done.returncode == 0 else "FAILED"
    complaints = re.sub(r"^\d+ warnings? .*generated\.\n", "", done.stdout, flags=re.MULTILINE)
    print(f"{complaints}clang-tidy {source.relative_to(ROOT)}: {verdict}, {seconds:.1f} CPU s",
          flush=True)
    if done.returncode != 0:
        return 1
    cache_dir.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
