"""Just enough of C++ to see what a file includes, which macros it defines and how long its
functions are: a lexer that knows comments, strings, raw strings and directives, and a reading of
braces."""

import dataclasses
import re

TOKEN = re.compile(
    r"""
    (?P<comment>   //(?:\\\r?\n|[^\n])* | /\*.*?\*/ )
  | (?P<directive> (?:(?<=\n)|(?<![\s\S]))[ \t]*\#
                   (?:"(?:\\.|[^"\\\n])*" | /\*.*?\*/ | //(?:\\\r?\n|[^\n])* | \\\r?\n | [^\n])* )
  | (?P<raw>       \b(?:u8|[uUL])?R"(?P<delimiter>[^()\\\s]{0,16})\(.*?\)(?P=delimiter)" )
  | (?P<string>    \b(?:u8|[uUL])"(?:\\.|[^"\\\n])*" | "(?:\\.|[^"\\\n])*" )
  | (?P<char>      \b(?:u8|[uUL])'(?:\\.|[^'\\\n])+' | '(?:\\.|[^'\\\n])+' )
  | (?P<number>    \.?\d(?:[eEpP][+-]|'(?=\w)|[\w.])* )
  | (?P<name>      [A-Za-z_]\w* )
  | (?P<symbol>    ::|->|[^\s\w] )
    """,
    re.S | re.X,
)

OPENING = ("(", "[", "{")
# Words whose parenthesis holds no parameters.
NO_PARAMETERS = ("requires", "alignas", "decltype", "noexcept", "explicit", "__attribute__")
TYPES = {"class", "struct", "union", "enum"}
# What may stand before the body of a function without a trailing result type.
SIGNATURE_ENDS = (")", "}", "const", "noexcept", "override", "final", "&", "mutable", "try")
# Symbols of a lambda's trailing result type.
RESULT = ("::", "->", "<", ">", "*", "&", ",")


class UnbalancedError(Exception):
    """Brackets that do not match; `line` is where."""

    def __init__(self, line, what):
        super().__init__(what)
        self.line = line


@dataclasses.dataclass(frozen=True)
class Token:
    kind: str
    text: str
    line: int
    end_line: int


@dataclasses.dataclass(frozen=True)
class Function:
    """A function, or a lambda outside any function: lines `first` to `last`, both counted."""

    name: str
    first: int
    last: int

    @property
    def length(self):
        return self.last - self.first + 1


def tokenize(text):
    """All tokens of the file; comments are left out."""
    tokens, line, position = [], 1, 0
    for match in TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        end_line = line + match.group().count("\n")
        if match.lastgroup != "comment":
            # lastgroup of a raw string is its delimiter, which is matched inside it.
            kind = "string" if match.group("raw") else match.lastgroup
            tokens.append(Token(kind, match.group(), line, end_line))
        line, position = end_line, match.end()
    return tokens


def directives(tokens, name):
    """(line, argument) of every preprocessor directive of that name."""
    pattern = re.compile(r"\s*#\s*" + name + r"\b(.*)", re.S)
    found = []
    for token in tokens:
        match = pattern.match(token.text) if token.kind == "directive" else None
        if match:
            found.append((token.line, match.group(1).strip()))
    return found


def includes(tokens):
    """(line, opening character, path) of every include; path is "" where a macro names it."""
    found = []
    for line, argument in directives(tokens, "include"):
        match = re.match(r'([<"])([^>"]+)[>"]', argument)
        found.append((line, *match.groups()) if match else (line, "", ""))
    return found


def functions(tokens):
    """Every function that is not inside another, in order. Raises UnbalancedError."""
    code = _one_branch(tokens)
    return _Reader(code, _match_brackets(code)).functions()


def _one_branch(tokens):
    """The code tokens. Branches of an #if are all kept as long as each is balanced; where one opens
    what another closes, only the first counts. The inside of an `#if 0` is left out."""
    code, stack, depth, skipping = [], [], 0, False
    for token in tokens:
        if token.kind != "directive":
            if not skipping:
                code.append(token)
                depth += {"{": 1, "}": -1}.get(token.text, 0)
            continue
        text = re.sub(r"\s+", " ", token.text.strip().replace("# ", "#", 1))
        if text.startswith("#if"):
            stack.append((depth, skipping))
            skipping = skipping or text == "#if 0"
        elif text.startswith(("#else", "#elif")) and stack:
            before, outer = stack[-1]
            skipping = outer or depth != before
        elif text.startswith("#endif") and stack:
            skipping = stack.pop()[1]
    return code


def _match_brackets(code):
    """Index of the partner of every bracket. Raises UnbalancedError."""
    partner, stack = {}, []
    closing = {"(": ")", "[": "]", "{": "}"}
    for index, token in enumerate(code):
        if token.kind != "symbol":
            continue
        if token.text in closing:
            stack.append(index)
        elif token.text in closing.values():
            if not stack or closing[code[stack[-1]].text] != token.text:
                raise UnbalancedError(token.line, f"'{token.text}' closes nothing")
            partner[index] = stack[-1]
            partner[stack.pop()] = index
    if stack:
        open_token = code[stack[-1]]
        raise UnbalancedError(open_token.line, f"'{open_token.text}' is never closed")
    return partner


class _Reader:
    """Walks the code from brace to brace and says what each opens."""

    def __init__(self, code, partner):
        self._code = code
        self._partner = partner

    def functions(self):
        """Every outermost function."""
        found, head, index = [], 0, 0
        while index < len(self._code):
            text = self._text(index)
            if text == "(":
                found += self._lambdas(index)
                index = self._partner[index]
            elif text == "{":
                name = self._function_name(head, index)
                if name is not None:
                    found.append(self._function(name, head, index))
                    index = self._partner[index]
                elif self._goes_on_behind(head, index):
                    index = self._partner[index] + 1
                    continue
                head = index + 1
            elif text in (";", "}") or self._ends_access_label(head, index):
                head = index + 1
            index += 1
        return found

    def _function(self, name, head, brace):
        start = self._lambda_start(brace)
        first = self._code[head if start is None else start].line
        return Function(name, first, self._code[self._partner[brace]].end_line)

    def _lambdas(self, opening):
        """The lambdas among parameters or arguments."""
        found, index = [], opening + 1
        while index < self._partner[opening]:
            if self._text(index) == "{" and self._lambda_start(index) is not None:
                found.append(self._function("lambda", index, index))
                index = self._partner[index]
            index += 1
        return found

    def _text(self, index):
        return self._code[index].text if 0 <= index < len(self._code) else ""

    def _ends_access_label(self, head, index):
        labels = ("public", "private", "protected")
        return self._text(index) == ":" and index == head + 1 and self._text(head) in labels

    def _outside_brackets(self, begin, end):
        """Indices of the tokens outside brackets, template arguments and parameters."""
        indices, index = [], begin
        while index < end:
            if self._text(index) == "<" and self._code[index - 1].kind == "name":
                behind = self._behind_angles(index, end)
                if behind is not None and self._text(index - 1) != "operator":
                    index = behind
                    continue
            indices.append(index)
            if self._text(index) in OPENING:
                index = self._partner[index]
            index += 1
        return indices

    def _behind_angles(self, index, end):
        """Behind the `>` that closes the `<` at `index`; None where nothing does."""
        depth = 0
        while index < end:
            depth += {"<": 1, ">": -1}.get(self._text(index), 0)
            if depth == 0:
                return index + 1
            index = (self._partner[index] if self._text(index) in OPENING else index) + 1
        return None

    def _before_angles(self, index):
        """Before the `<` that opens the `>` at `index`."""
        depth = 0
        while index >= 0:
            depth += {">": 1, "<": -1}.get(self._text(index), 0)
            index -= 1
            if depth == 0:
                break
        return index

    def _function_name(self, head, brace):
        """The name of the function whose body opens at `brace`; None where it opens none."""
        if self._lambda_start(brace) is not None:
            return "lambda"
        outer = self._outside_brackets(head, brace)
        parentheses = [
            i for i in outer if self._text(i) == "(" and self._text(i - 1) not in NO_PARAMETERS
        ]
        if not parentheses or any(self._is_assignment(i, head) for i in outer):
            return None
        if TYPES & {self._text(i) for i in outer} and self._text(brace - 1) != ")":
            return None
        if self._is_member_value(outer, brace) or not self._ends_signature(outer, brace):
            return None
        return self._name_before(parentheses[0], head)

    def _is_assignment(self, index, head):
        """Whether the `=` gives a value; the `=` of `operator==` does not."""
        if self._text(index) != "=":
            return False
        while index > head and self._code[index].kind == "symbol":
            index -= 1
        return self._text(index) != "operator"

    def _is_member_value(self, outer, brace):
        """Whether the brace holds the value of a member, as in `Foo() : a_{1}, b_{2} {`."""
        is_named = self._code[brace - 1].kind == "name" or self._text(brace - 1) == ">"
        follows = self._text(self._partner[brace] + 1)
        return is_named and follows in (",", "{") and ":" in {self._text(i) for i in outer}

    def _ends_signature(self, outer, brace):
        return self._text(brace - 1) in SIGNATURE_ENDS or "->" in {self._text(i) for i in outer}

    def _goes_on_behind(self, head, brace):
        """Whether the declaration continues behind the brace's partner: values of members, and the
        body of a requires-expression."""
        outer = self._outside_brackets(head, brace)
        if "(" in {self._text(i) for i in outer} and self._is_member_value(outer, brace):
            return True
        opening = self._partner.get(brace - 1)
        return opening is not None and self._text(opening - 1) == "requires"

    def _name_before(self, opening, head):
        """The qualified name that ends before the parenthesis."""
        for index in range(opening - 1, max(head, opening - 6) - 1, -1):
            if self._text(index) == "operator":
                symbol = "".join(self._text(i) for i in range(index + 1, opening)) or "()"
                return "operator" + (" " if symbol[0].isalpha() else "") + symbol
        begin = opening - 1
        if self._text(begin - 1) == "~":
            begin -= 1
        while begin - 2 >= head and self._text(begin - 1) == "::":
            begin -= 2
            if self._text(begin) == ">":
                begin = self._before_angles(begin)
        return "".join(self._text(i) for i in range(begin, opening))

    def _lambda_start(self, brace):
        """Index of the `[` of the lambda whose body opens at `brace`; None for other braces."""
        index = brace - 1
        while index >= 0 and (self._code[index].kind == "name" or self._text(index) in RESULT):
            index -= 1
        while self._text(index) == ")":  # Parameters, perhaps behind a noexcept(...).
            index = self._partner[index] - 1
            if self._text(index) == "noexcept":
                index -= 1
        if self._text(index) == ">":
            index = self._before_angles(index)
        if self._text(index) != "]":
            return None
        start = self._partner[index]
        before = self._code[start - 1] if start else Token("symbol", "", 0, 0)
        is_subscript = before.kind == "name" and before.text not in ("return", "co_return")
        if is_subscript or before.text in (")", "]") or self._text(start + 1) == "[":
            return None
        return start
