"""The rules of tidy_test.py. Each is a function from text to a list of complaints."""

import ast
import re

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
MAIN_LINES_MAX = 120
FILE_BYTES_MAX = 200_000

LAYER_OF_DIRECTORY = {
    "common/core": "core", "common/compress/cuda": "compress_cuda", "common/compress": "compress",
    "common/wire": "wire", "common/collective/nccl": "collective_nccl",
    "common/collective/cuda": "collective_cuda", "common/collective": "collective",
    "common/sync": "sync", "common/convex": "convex", "common/metrics": "metrics",
    "server": "server", "worker/agent": "agent", "worker/trainer": "trainer", "cli": "cli"}

# Which outside dependency an include belongs to. Headers of the standard library stand for the
# threads that they start; a mutex alone starts none.
OUTSIDE = [
    (r"absl/", "absl"), (r"grpcpp/|grpc/", "grpc"), (r"google/protobuf/", "protobuf"),
    (r"torch/|ATen/|c10/", "torch"), (r"yaml-cpp/", "yaml"), (r"CLI/", "cli11"),
    (r"spdlog/|fmt/", "spdlog"), (r"prometheus/", "prometheus"), (r"sqlite3\.h$", "sqlite"),
    (r"nccl\.h$", "nccl"), (r"cuda|cooperative_groups", "cuda"), (r"zlib\.h$", "zlib"), (r"xxhash\.h$", "xxhash"), (r"laconic/v1/", "proto"),
    (r"(thread|future|pthread\.h)$", "threads")]

# (what may not occur, in which files, what to write instead)
BANNED_WORDS = [
    (r"\bTODO\b|\bFIXME\b|\bXXX\b", r".*", "an issue, or the work itself"),
    (r"\bstd::cout\b|(?<![\w.>:])(?:std::)?printf\s*\(", r"(common|server|worker|tests)/.*\.(cc|h)$",
     "spdlog, or a Status that the caller shows"),
    (r"\bsleep_for\b|\bsleep_until\b|\busleep\s*\(|\bSleepFor\b", r"tests/.*\.(cc|h)$",
     "core's fake clock, or wait for the event itself"),
    (r"(?<![\w:.>])(std::)?s?rand\s*\(", r".*\.(cc|h)$", "core/random.h with (seed, round, rank)"),
    (r"\bstd::random_device\b|\bstd::mt19937", r"common/.*\.(cc|h)$", "core/random.h"),
    (r"\busing\s+namespace\b", r".*\.(cc|h)$", "using-declarations or full names")]
BANNED_FILE_NAMES = re.compile(r"(^|_)(utils?|helpers?|managers?|misc|common)(_test)?\.(cc|h|py|proto)$")
BANNED_TEST_NAMES = {"Default", "Basic", "Works", "Sanity", "Simple", "Test"}


# ---- Rules: text in, complaints out ----------------------------------------------------------

def parse_layers(cmake_text):
    """{layer: names it may use} from cmake/Layers.cmake."""
    return {layer: set(names.split())
            for layer, names in re.findall(r"set\(LACONIC_MAY_USE_(\w+)\s+([^)]*)\)", cmake_text)}


def find_layer(path):
    for directory, layer in LAYER_OF_DIRECTORY.items():
        if path.startswith(directory + "/"):
            return layer
    return None


def check_includes(path, text, may_use):
    layer = find_layer(path)
    if layer is None:
        return []
    complaints = []
    for match in re.finditer(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.M):
        header = match.group(1)
        used = find_layer(header)
        if used is None:
            used = next((name for pattern, name in OUTSIDE if re.match(pattern, header)), None)
        if used not in (None, layer) and used not in may_use[layer]:
            complaints.append(f"{path}: layer '{layer}' includes {header}, but may not use "
                              f"'{used}' (cmake/Layers.cmake)")
    return complaints


def blank_out(text):
    """C++ text with comments, strings and character literals blanked, line breaks kept."""
    pattern = (r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|'
               r"(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'|^[ \t]*#(?:\\\n|[^\n])*")
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S | re.M)


def measure_functions(text):
    """[(first line, lines)] of every function body of a C++ file; lambdas count within theirs."""
    text = blank_out(text)
    functions, stack, header = [], [], ""
    line, in_function = 1, 0
    for character in text:
        if character == "\n":
            line += 1
        if character == "{":
            head = header.strip()
            if in_function:
                kind = "block"
            elif re.search(r"\)\s*:\s", head) and re.search(r"[\w>]$", head) and not re.search(
                    r"\b(const|noexcept|override|final|mutable|try)$", head):
                kind = "initializer"  # Foo() : member_{...}: the body is still to come.
            elif "(" in head and not re.search(r"^(namespace|class|struct|union|enum|extern)\b|"
                                               r"=\s*$", head):
                kind = "function"
            else:
                kind = "scope"
            stack.append((kind, line))
            in_function += kind == "function"
            header = header if kind == "initializer" else ""
        elif character == "}" and stack:
            kind, start = stack.pop()
            if kind == "function":
                in_function -= 1
                functions.append((start, line - start + 1))
            header = header + " x" if kind == "initializer" else ""
        elif character == ";":
            header = ""
        elif not (stack and stack[-1][0] == "initializer"):
            header += character
    return functions


def check_sizes(path, text):
    complaints = []
    lines = text.count("\n")
    limit = MAIN_LINES_MAX if path.endswith("/main.cc") else FILE_LINES_MAX
    if lines > limit:
        complaints.append(f"{path}: {lines} lines, limit is {limit}: split the file")
    if path.endswith((".cc", ".h", ".cu", ".cuh")):
        functions = measure_functions(text)
    elif path.endswith(".py"):
        functions = [(node.lineno, node.end_lineno - node.lineno + 1) for node in
                     ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    else:
        functions = []
    complaints += [f"{path}:{start}: function of {length} lines, limit is {FUNCTION_LINES_MAX}"
                   for start, length in functions if length > FUNCTION_LINES_MAX]
    return complaints


def check_words(path, text):
    if path in ("tests/tidy_rules.py", "tests/tidy_test.py", "LICENSE"):
        return []  # The first two have to name the words; the licence is not ours to edit.
    complaints = []
    for pattern, files, instead in BANNED_WORDS:
        if re.match(files, path):
            for match in re.finditer(pattern, text):
                line = text.count("\n", 0, match.start()) + 1
                if "TODO" in pattern or not is_comment(text, match.start()):
                    complaints.append(f"{path}:{line}: '{match.group()}': use {instead}")
    return complaints


def is_comment(text, position):
    return "//" in text[text.rfind("\n", 0, position) + 1:position]


def check_file_name(path):
    name = path.rsplit("/", 1)[-1]
    return [f"{path}: this name says nothing: name the file after what it holds"] \
        if BANNED_FILE_NAMES.search(name) else []


def check_test_names(path, text):
    complaints = []
    for suite, name in re.findall(r"^(?:TYPED_)?TEST(?:_[FP])?\((\w+),\s*(\w+)\)", text, re.M):
        if "_" in suite + name or name in BANNED_TEST_NAMES or re.fullmatch(r"Test\d*", name):
            complaints.append(f"{path}: {suite}.{name}: name the behaviour, without underscores")
    return complaints


def check_proto(path, text):
    """Every field and enum value has a comment on its line or on the line above."""
    complaints, above = [], ""
    for number, line in enumerate(text.splitlines(), 1):
        field = re.match(r"\s+(?:(?:optional|repeated)\s+)?(?:(?:[\w.]+|map<[^>]*>)\s+)?(\w+)\s*=\s*\d+"
                         r"\s*(?:\[[^\]]*\])?\s*;\s*(//\s*\S.*)?", line)
        if field and not field.group(2) and not above.strip().startswith("//") and \
                not field.group(1).endswith("_UNSPECIFIED"):
            complaints.append(f"{path}:{number}: '{field.group(1)}' has no comment "
                              "(unit, range, meaning of unset)")
        above = line
    return complaints


def split_arguments(text, start):
    """The arguments of the call whose '(' is at `start`."""
    depth, argument, arguments, in_string = 0, "", [], False
    for index in range(start, len(text)):
        character = text[index]
        if character == '"' and text[index - 1] != "\\":
            in_string = not in_string
        if not in_string:
            depth += (character in "([{") - (character in ")]}")
            if depth == 0:
                return arguments + [argument.strip()]
            if depth == 1 and character in "(,":
                arguments += [argument.strip()] if character == "," else []
                argument = ""
                continue
        argument += character
    return arguments


def check_flags(path, text):
    """Every option, flag and command of CLI11 has a help text after its name."""
    complaints = []
    for match in re.finditer(r"(?:\.|->)add_(?:option|flag|subcommand)\w*(?:<[^>(]*>)?\(", text):
        arguments = split_arguments(text, match.end() - 1)
        texts = [a for a in arguments[1:]
                 if re.match(r'(absl::StrCat\(|std::string\(\s*)?"..|k[A-Z]\w*|[\w.>-]*(help|description)\b', a)]
        if arguments and not texts:
            line = text.count("\n", 0, match.start()) + 1
            complaints.append(f"{path}:{line}: {arguments[0]} has no help text")
    return complaints


def find_region(text, name):
    """The lines between 'docs-begin: name' and 'docs-end: name'; None if they do not stand there."""
    match = re.search(rf"[^\n]*docs-begin: {re.escape(name)}\b[^\n]*\n(.*?)[^\n]*docs-end: "
                      rf"{re.escape(name)}\b", text, re.S)
    return match.group(1) if match else None


def check_code_blocks(path, text, read):
    """A fenced block after `<!-- from: file -->` or `<!-- from: file#region -->` equals it."""
    complaints = []
    for match in re.finditer(r"^<!-- from: (\S+?)(?:#(\S+))? -->\n+(?:```[^\n]*\n(.*?)^```)?", text,
                             re.M | re.S):
        file, region, block = match.groups()
        source = read(file)
        if source is not None and region:
            source = find_region(source, region)
        if block is None or source is None:
            complaints.append(f"{path}: '{match.group(0).splitlines()[0]}': no such file or region, "
                              "or no code block after it")
        elif block.strip("\n") != source.strip("\n"):
            complaints.append(f"{path}: the block from {file} differs from the file")
    return complaints


def check_links(path, text, exists):
    """Links to files of the repository lead somewhere."""
    base = path.rsplit("/", 1)[0] + "/" if "/" in path else ""
    complaints = []
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", target):
            full = re.sub(r"[^/]+/\.\./", "", base + target)
            if not exists(full):
                complaints.append(f"{path}: link to {target}, which does not exist")
    return complaints


def find_metric_names(text):
    return set(re.findall(r'"(laconic_[a-z0-9_]+)"', text))


def check_metrics(names, documents, dashboards):
    complaints = []
    for name in sorted(names):
        if not re.search(rf"\b{name}\b", documents):
            complaints.append(f"metric {name} does not stand in docs/metrics.md")
        if not re.search(rf"\b{name}(_bucket|_sum|_count)?\b", dashboards):
            complaints.append(f"metric {name} is on no dashboard (deploy/grafana/make_dashboard.py)")
    return complaints


def check_registration(tree_tests, compiled, registered_programs, registered_scripts):
    """The tests of the tree and the tests of the build are the same set.

      tree_tests           paths of *_test.cc and *_test.py in the tree
      compiled             {path of *_test.cc: test program it is compiled into}
      registered_programs  test programs that ctest asks for their cases
      registered_scripts   *_test.py that ctest runs
    """
    complaints = []
    for path in sorted(tree_tests):
        if path.endswith(".py") and path not in registered_scripts:
            complaints.append(f"{path}: ctest does not run it")
        if path.endswith(".cc") and compiled.get(path) not in registered_programs:
            complaints.append(f"{path}: no program that ctest runs holds it")
    for path in sorted((set(compiled) | set(registered_scripts)) - set(tree_tests)):
        complaints.append(f"{path}: ctest knows it, but it is not in the tree")
    return complaints


def check_layer_table(document, may_use):
    """Rows "| `directory` | `layer` | ... | names |" name what cmake/Layers.cmake allows."""
    shown = {layer: set(re.findall(r"\w+", names)) for layer, names in
             re.findall(r"^\| `[\w/]+` \| `(\w+)` \|[^\n]*\| ([\w, ]+) \|$", document, re.M)}
    return [f"ARCHITECTURE.md: layer '{layer}' shows {sorted(shown.get(layer, []))}, "
            f"cmake/Layers.cmake allows {sorted(may_use.get(layer, []))}"
            for layer in sorted(set(may_use) | set(shown))
            if shown.get(layer) != may_use.get(layer)]


def check_dashboard(dashboards, names):
    """Every metric on a dashboard is one that the code exports."""
    exported = names | {name + suffix for name in names for suffix in ("_bucket", "_sum", "_count")}
    return [f"deploy/grafana: {name} is on a dashboard, but not in the code"
            for name in sorted(set(re.findall(r"\blaconic_[a-z0-9_]+\b", dashboards)) - exported)]
