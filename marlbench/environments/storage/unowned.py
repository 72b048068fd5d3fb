"""Views of arrays that cost nothing in compiled functions."""

from __future__ import annotations

from typing import Any

import numba.extending


@numba.extending.intrinsic
def _unowned(typing: Any, array: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.make_array(array)
        view = kind(context, builder, arguments[0])
        view.meminfo = view.meminfo.type(None)
        view.parent = view.parent.type(None)
        return view._getvalue()

    return array(array), build


# A view of an array that does not count references, which costs more than a request does otherwise; for arrays that
# the caller of the compiled function holds all the while.
unowned: Any = _unowned
