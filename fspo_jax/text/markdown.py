"""Texts from data in a Markdown page: they must look as they are, and be no markup."""

from __future__ import annotations

import re

_MARKUP = re.compile(r"[\\`*|~]|(?<!\w)_|_(?!\w)|\[(?=[^\]]*\][(\[:])|!(?=\[)")
"""Characters that begin or end markup. A plain interval, `[1.0, 2.0]`, and a name, `user_id`, stay readable."""


def escaped(text: str) -> str:
    """Returns `text` for one line or table cell of Markdown, with no markup, HTML or line break in it.

    Example:
        >>> print(escaped("<b>a|b</b> [70.6, 75.0] [x](y)"))
        &lt;b&gt;a\\|b&lt;/b&gt; [70.6, 75.0] \\[x](y)
    """
    line = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\g<0>", line)
