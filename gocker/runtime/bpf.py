"""An assembler for seccomp's classic BPF: one binary search, tests of arguments, answers.

Jumps only go forward, so the program is built from its end: every target is there when a
jump to it is made. Source: include/uapi/linux/{filter,bpf_common,seccomp}.h.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    # index 0..5, operator, value, mask
    Test = tuple[int, str, int, int]
    # What to answer: the first entry whose tests all hold. The last entry has no tests.
    Leaf = tuple[tuple[tuple[Test, ...], int], ...]

BPF_MAXINSNS = 4096
# struct seccomp_data: int nr, u32 arch, u64 instruction_pointer, u64 args[6].
NR, ARCH, ARGS = 0, 4, 16
LD, AND, RET, JA = 0x20, 0x54, 0x06, 0x05
JEQ, JGT, JGE, JSET = 0x15, 0x25, 0x35, 0x45
WORD = 0xFFFFFFFF
# The offsets of a conditional jump have 8 bits; `near` may put one instruction between.
_NEAR = 254
_OPPOSITE = {"NE": "EQ", "LT": "GE", "LE": "GT"}
_instruction = struct.Struct("=HBBI")


class Label:
    """A place to jump to. `loaded` is its place behind the load of `word`, if it has one."""

    __slots__ = ("entry", "loaded", "word")

    def __init__(self, entry: int, word: int = -1, loaded: int = 0) -> None:
        self.entry = entry
        self.word = word
        self.loaded = loaded

    def when(self, holding: int) -> int:
        """Return where to jump to with the word at offset `holding` in the accumulator."""
        return self.loaded if holding == self.word else self.entry


class Assembler:
    """A program in the making. A position counts instructions from the program's end."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int]] = []
        self._answers: dict[int, int] = {}
        self._leaves: dict[Leaf, Label] = {}
        # Position -> the latest position that does the same.
        self._latest: dict[int, int] = {}

    def assemble(self) -> bytes:
        """Return the array of struct sock_filter; the last thing emitted comes first."""
        return b"".join(_instruction.pack(*instruction) for instruction in reversed(self._code))

    def load(self, word: int, then: int) -> int:
        """Load the 32-bit word at an offset of struct seccomp_data."""
        if then != len(self._code) - 1:
            self._emit(JA, 0, 0, len(self._code) - 1 - then)
        return self._emit(LD, 0, 0, word)

    def jump(self, operation: int, value: int, yes: int, no: int) -> int:
        """Compare the accumulator."""
        yes, no = self._near(yes), self._near(no)
        last = len(self._code) - 1
        return self._emit(operation, last - yes, last - no, value)

    def answer(self, value: int) -> int:
        """Return from the filter."""
        if value not in self._answers:
            self._answers[value] = self._emit(RET, 0, 0, value)
        return self._answers[value]

    def search(self, intervals: list[tuple[int, Leaf]]) -> int:
        """Find the interval of the accumulator. Each starts at its number, the first at 0."""
        if len(intervals) == 1:
            return self._leaf(intervals[0][1]).entry
        middle = len(intervals) // 2
        above = self.search(intervals[middle:])
        below = self.search(intervals[:middle])
        return self.jump(JGE, intervals[middle][0], above, below)

    def _emit(self, code: int, yes: int, no: int, k: int) -> int:
        self._code.append((code, yes, no, k))
        return len(self._code) - 1

    def _near(self, position: int) -> int:
        """Return a position in reach of a jump: the given one, its copy, or a jump to it."""
        near = self._latest.get(position, position)
        if len(self._code) - near <= _NEAR:
            return near
        if self._code[position][0] == RET:
            near = self._emit(*self._code[position])
        else:
            near = self._emit(JA, 0, 0, len(self._code) - 1 - position)
        self._latest[position] = near
        return near

    def _leaf(self, leaf: Leaf) -> Label:
        if leaf not in self._leaves:
            label = Label(self.answer(leaf[-1][1]))
            for tests, value in reversed(leaf[:-1]):
                otherwise, label = label, Label(self.answer(value))
                for test in reversed(tests):
                    label = self._test(*test, label, otherwise)
            self._leaves[leaf] = label
        return self._leaves[leaf]

    def _test(
        self, index: int, operator: str, value: int, mask: int, yes: Label, no: Label
    ) -> Label:
        """Test a 64-bit argument: its high word, then its low word (both ABIs: little endian)."""
        if operator in _OPPOSITE:
            return self._test(index, _OPPOSITE[operator], value, mask, no, yes)
        low_at = ARGS + 8 * index
        high_at = low_at + 4
        high, low = value >> 32, value & WORD
        if operator == "EQ":
            yes = self._equal(low_at, low, mask & WORD, yes, no)
            return self._equal(high_at, high, mask >> 32, yes, no)
        compare = JGE if operator == "GE" else JGT
        loaded = self.jump(compare, low, yes.when(low_at), no.when(low_at))
        low_test = self.load(low_at, loaded)
        same = self.jump(JEQ, high, low_test, no.when(high_at))
        loaded = self.jump(JGT, high, yes.when(high_at), same)
        return Label(self.load(high_at, loaded), high_at, loaded)

    def _equal(self, word: int, value: int, mask: int, yes: Label, no: Label) -> Label:
        if not mask:
            return yes
        if mask == WORD:
            loaded = self.jump(JEQ, value, yes.when(word), no.when(word))
        elif not value:
            loaded = self.jump(JSET, mask, no.when(word), yes.when(word))
        else:
            self.jump(JEQ, value, yes.entry, no.entry)
            loaded = self._emit(AND, 0, 0, mask)
        return Label(self.load(word, loaded), word, loaded)
