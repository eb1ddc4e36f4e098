r"""Escape text for LaTeX, so that it compiles with pdflatex and no further package, whatever letters it has.

A library would be pylatexenc; about half of its commands for letters beyond ASCII need packages or font encodings that
an article may not load.
"""

import re
import unicodedata

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma",
    "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "ς": "varsigma", "Γ": "Gamma",
    "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Υ": "Upsilon", "Φ": "Phi",
    "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_SIGNS = {
    "±": "pm", "×": "times", "−": "-", "·": "cdot", "≤": "leq", "≥": "geq", "≠": "neq", "≈": "approx",
    "→": "rightarrow", "←": "leftarrow", "↔": "leftrightarrow", "∞": "infty", "√": "surd", "∈": "in",
    "∅": "emptyset", "∑": "sum", "⊕": "oplus", "⊗": "otimes", "★": "star", "°": "circ", "∆": "Delta", "ℓ": "ell",
}  # fmt: skip
_LETTERS = {
    "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "å": "aa", "Å": "AA",
    "ı": "i", "ȷ": "j", "§": "S", "¶": "P", "©": "copyright", "£": "pounds", "†": "dag", "‡": "ddag", "…": "dots",
    "“": "textquotedblleft", "”": "textquotedblright", "‘": "textquoteleft", "’": "textquoteright",
    "¡": "textexclamdown", "¿": "textquestiondown", "•": "textbullet", "\\": "textbackslash", "~": "textasciitilde",
    "^": "textasciicircum", "<": "textless", ">": "textgreater", "|": "textbar", "–": "textendash", "—": "textemdash",
    # \textquotedbl needs another font encoding than LaTeX's default.
    '"': "textquotedblright", "„": "textquotedblright",
}  # fmt: skip
_PLAIN = {
    **{mark: rf"\{mark}" for mark in "&%$#_{}"},
    **{letter: rf"$\{name}$" for letter, name in {**_GREEK, **_SIGNS}.items() if name.isalpha()},
    **{letter: rf"\{name}{{}}" for letter, name in _LETTERS.items()},
    "[": "{[}",  # not read as an option of the line break before it
    "−": "$-$",
    "°": r"$^\circ$",
    "–": "--",
    "«": "$\\ll$",
    "»": "$\\gg$",
    "ð": r"d\kern-.1em-", "Ð": r"D\kern-.6em-\,", "đ": r"d\kern-.1em-", "Đ": r"D\kern-.6em-\,", "þ": "th", "Þ": "Th",
    "\N{ZERO WIDTH SPACE}": "", "\N{ZERO WIDTH JOINER}": "", "\N{ZERO WIDTH NO-BREAK SPACE}": "",
    **dict(zip("οΑΒΕΖΗΙΚΜΝΟΡΤΧ", "oABEZHIKMNOPTX", strict=True)),  # LaTeX has no others: they look like Latin letters
}  # fmt: skip
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`", "\N{COMBINING ACUTE ACCENT}": "'", "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~", "\N{COMBINING DIAERESIS}": '"', "\N{COMBINING RING ABOVE}": "r",
    "\N{COMBINING CARON}": "v", "\N{COMBINING MACRON}": "=", "\N{COMBINING BREVE}": "u",
    "\N{COMBINING DOT ABOVE}": ".", "\N{COMBINING DOUBLE ACUTE ACCENT}": "H", "\N{COMBINING CEDILLA}": "c",
    "\N{COMBINING OGONEK}": "c", "\N{COMBINING DOT BELOW}": "d", "\N{COMBINING MACRON BELOW}": "b",
}  # fmt: skip


def latex_text(text: str) -> str:
    r"""Escape text for LaTeX, on one line; an equation stays together.

    Letters with accents become LaTeX's commands, Greek letters and signs mathematics. A letter that LaTeX's default
    fonts do not have, as of Chinese or Russian, becomes its code point: \texttt{U+4E2D}.
    """
    letters = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(map(_letter, letters)).replace(" = ", "~=~")


def latex_prose(text: str) -> str:
    """Escape text for LaTeX where lines break, also in long names: after an underscore or a slash."""
    return re.sub(r"(\\_|/)(?=\S)", r"\1\\allowbreak{}", latex_text(text))


def _letter(letter: str) -> str:
    if letter in _PLAIN:
        return _PLAIN[letter]
    if letter.isascii():
        return letter if letter.isprintable() else ""
    if letter in _ACCENTS:  # of a letter that does not come with it as one
        return rf"\{_ACCENTS[letter]}{{}}"
    base, *marks = list(unicodedata.normalize("NFD", letter))
    if marks and all(mark in _ACCENTS for mark in marks):
        inner = _letter(base)
        if inner.startswith("$"):  # accents of text have no place in mathematics: έ is ε
            return inner
        for mark in marks:
            inner = rf"\{_ACCENTS[mark]}{{{inner}}}"
        return inner
    alike = unicodedata.normalize("NFKC", letter)  # 𝜎 → σ, ² → 2, ﬁ → fi
    return "".join(map(_letter, alike)) if alike != letter else rf"\texttt{{U+{ord(letter):04X}}}"
