"""Packs whole numbers of any width side by side, one run of bits per row.

In: numbers [F, N], one row of F fields per column, each field with a width of its own. Out: uint8
[N, row_bytes], little-endian, the first field in the lowest bits. Every row fills the same number
of bytes, so row n of a file is found by multiplication.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = 64


class BitLayout:
    """Where each field of a row lies.

    Args:
        widths: bits of each field, 1 to 63, in order.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        self._widths = tuple(widths)
        bits = sum(self._widths)
        self.row_bytes = -(-bits // 8)
        self._words = -(-bits // _WORD)

    def pack(self, number_FN: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Bytes of N rows: uint8 [N, row_bytes]. Numbers must fit their widths."""
        rows = number_FN.shape[1]
        word_WN = np.zeros((self._words, rows), np.uint64)
        start = 0
        for number_N, width in zip(number_FN, self._widths, strict=True):
            word, shift = divmod(start, _WORD)
            word_WN[word] |= number_N << np.uint64(shift)
            if shift + width > _WORD:
                word_WN[word + 1] |= number_N >> np.uint64(_WORD - shift)
            start += width
        byte_NB = np.ascontiguousarray(word_WN.T).astype("<u8", copy=False).view(np.uint8)
        return np.ascontiguousarray(byte_NB[:, : self.row_bytes])

    def unpack(self, byte_NB: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """The numbers of N rows: uint64 [F, N]."""
        rows = len(byte_NB)
        whole_NB = np.zeros((rows, self._words * 8), np.uint8)
        whole_NB[:, : self.row_bytes] = byte_NB
        word_WN = np.ascontiguousarray(whole_NB.view("<u8").T).astype(np.uint64, copy=False)
        number_FN = np.empty((len(self._widths), rows), np.uint64)
        start = 0
        for field, width in enumerate(self._widths):
            word, shift = divmod(start, _WORD)
            number_N = word_WN[word] >> np.uint64(shift)
            if shift + width > _WORD:
                number_N |= word_WN[word + 1] << np.uint64(_WORD - shift)
            number_FN[field] = number_N & np.uint64((1 << width) - 1)
            start += width
        return number_FN
