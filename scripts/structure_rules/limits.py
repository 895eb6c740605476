"""Sizes of files, functions and lines; macros, header guards, large files, machine paths."""

import ast
import re

from structure_rules import cpp_source
from structure_rules.tree import HEADER_SUFFIXES, Finding

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 100
MAX_KERNEL_LINES = 200
MAX_COLUMNS = 100
MAX_BYTES = 1 << 20

# Files whose functions are kernels: the loops of an op, written out.
KERNEL_FILE = re.compile(r"ops/.*\.(cc|cu)$")
# The macros of Choir, their helpers, and the only folder that defines any.
MACRO = re.compile(r"(CHECK|RETURN_IF_ERROR|ASSIGN_OR_RETURN(_IMPL)?|CHOIR_CONCAT\w*)$")
MACRO_FOLDER = "base/"
# A folder that exists on one machine only. A name or a variable before it makes it part of another
# path; `${TMPDIR:-...}` is a default that the user can change.
# Fixtures are exempt: they hold the words of others.
FIXTURES = "tests/fixtures/"
MACHINE_PATH = re.compile(
    r"(?<![\w.$}*)\]/-])/(?:(?:work|tmp|root)(?=[/\"'`\s]|$)|(?:home|Users)/\w)", re.M
)


def check(files):
    findings = []
    for file in files:
        if file.size > MAX_BYTES:
            message = f"{file.size} bytes; files of more than 1 MiB are built, not committed"
            findings.append(Finding(file.path, 1, message))
        if file.text is None:
            continue
        if not file.path.startswith(FIXTURES):
            findings += _check_paths(file)
        if file.is_code:
            findings += _check_lines(file)
        if file.is_cpp:
            findings += _check_cpp(file)
        if file.is_python:
            findings += _check_python(file)
    return findings


def _check_paths(file):
    findings = []
    for match in MACHINE_PATH.finditer(file.text):
        line = file.text.count("\n", 0, match.start()) + 1
        message = f"'{match.group()}' names a folder of one machine; make the path relative"
        findings.append(Finding(file.path, line, message))
    return findings


def _check_lines(file):
    findings = []
    if len(file.lines) >= MAX_FILE_LINES:
        message = f"the file has {len(file.lines)} lines, the limit is under {MAX_FILE_LINES}"
        findings.append(Finding(file.path, MAX_FILE_LINES, message))
    for number, line in enumerate(file.lines, 1):
        # Nobody can break an include or an address.
        if len(line) > MAX_COLUMNS and not re.match(r"\s*#\s*include\b|.*\w://\S{40}", line):
            message = f"{len(line)} columns, the limit is {MAX_COLUMNS}"
            findings.append(Finding(file.path, number, message))
    return findings


def _check_cpp(file):
    findings = []
    tokens = cpp_source.tokenize(file.text)
    pragmas = [argument for _, argument in cpp_source.directives(tokens, "pragma")]
    if file.path.endswith(HEADER_SUFFIXES) and not any(p.startswith("once") for p in pragmas):
        findings.append(Finding(file.path, 1, "a header starts with #pragma once"))
    for line, argument in cpp_source.directives(tokens, "define"):
        name = re.match(r"\w+", argument).group()
        if not MACRO.match(name):
            message = f"macro {name}: only CHECK, RETURN_IF_ERROR and ASSIGN_OR_RETURN are allowed"
            findings.append(Finding(file.path, line, message))
        elif not file.path.startswith(MACRO_FOLDER):
            findings.append(Finding(file.path, line, f"macro {name} belongs into {MACRO_FOLDER}"))
    limit = MAX_KERNEL_LINES if KERNEL_FILE.match(file.path) else MAX_FUNCTION_LINES
    try:
        functions = cpp_source.functions(tokens)
    except cpp_source.UnbalancedError as error:
        return findings + [Finding(file.path, error.line, f"cannot read the functions: {error}")]
    for function in functions:
        findings += _check_length(file.path, function.name, function.first, function.length, limit)
    return findings


def _check_python(file):
    try:
        tree = ast.parse(file.text)
    except SyntaxError as error:
        return [Finding(file.path, error.lineno or 1, f"not valid Python: {error.msg}")]
    findings = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            findings += _check_length(
                file.path, node.name, node.lineno, length, MAX_FUNCTION_LINES
            )
    return findings


def _check_length(path, name, line, length, limit):
    if length < limit:
        return []
    return [Finding(path, line, f"{name} has {length} lines, the limit is under {limit}")]
