"""client_encoding as Python codecs: text is rewritten as str and written back as it came.

Owns the names. In the encodings without a Python codec every byte of a multi-byte character is
above 0x7F, so Latin-1 finds the same tokens in them and gives the same bytes back.
"""

from __future__ import annotations

from proxy.errors import UnsupportedError

_CODECS = {
    "BIG5": "cp950",
    "EUC_CN": "gb2312",
    "EUC_JIS_2004": "euc_jis_2004",
    "EUC_JP": "euc_jp",
    "EUC_KR": "euc_kr",
    "EUC_TW": "latin-1",
    "GB18030": "gb18030",
    "GBK": "gbk",
    "ISO_8859_5": "iso8859-5",
    "ISO_8859_6": "iso8859-6",
    "ISO_8859_7": "iso8859-7",
    "ISO_8859_8": "iso8859-8",
    "JOHAB": "johab",
    "KOI8R": "koi8-r",
    "KOI8U": "koi8-u",
    "LATIN1": "latin-1",
    "LATIN2": "iso8859-2",
    "LATIN3": "iso8859-3",
    "LATIN4": "iso8859-4",
    "LATIN5": "iso8859-9",
    "LATIN6": "iso8859-10",
    "LATIN7": "iso8859-13",
    "LATIN8": "iso8859-14",
    "LATIN9": "iso8859-15",
    "LATIN10": "iso8859-16",
    "MULE_INTERNAL": "latin-1",
    "SHIFT_JIS_2004": "shift_jis_2004",
    "SJIS": "cp932",
    "SQL_ASCII": "latin-1",
    "UHC": "cp949",
    "UTF8": "utf-8",
    "WIN1250": "cp1250",
    "WIN1251": "cp1251",
    "WIN1252": "cp1252",
    "WIN1253": "cp1253",
    "WIN1254": "cp1254",
    "WIN1255": "cp1255",
    "WIN1256": "cp1256",
    "WIN1257": "cp1257",
    "WIN1258": "cp1258",
    "WIN866": "cp866",
    "WIN874": "cp874",
}


def codec_of(client_encoding: str) -> str:
    """Return the Python codec for a value of client_encoding."""
    return _CODECS.get(client_encoding.upper(), "latin-1")


# What Python takes for other letters is ASCII to PostgreSQL: a backslash escapes, a tilde compares.
_AS_ASCII = {"shift_jis_2004": {"\N{YEN SIGN}": "\\", "\N{OVERLINE}": "~"}}


def decode(text: bytes, codec: str) -> str | None:
    """Return the statement as str, or None where the upstream must judge the bytes itself.

    Every ASCII character of the result is one to PostgreSQL too, so the statement can be read by
    it; before it is edited it must pass `check_exact`.
    """
    if b"\0" in text:
        return None
    try:
        decoded = text.decode(codec)
    except UnicodeDecodeError:
        return None
    for letter, character in _AS_ASCII.get(codec, {}).items():
        decoded = decoded.replace(letter, character)
    return decoded


def check_exact(text: bytes, decoded: str, codec: str) -> None:
    """Refuse to edit a statement that would not be written again as it came.

    Raises
    ------
    UnsupportedError
        The codec does not give the same bytes back: it writes some character in another way.
    """
    if codec != "utf-8" and decoded.encode(codec, "replace") != text:
        raise UnsupportedError(
            "this statement cannot be rewritten exactly in the client's encoding",
            hint="Use client_encoding UTF8 for statements with models.",
        )
