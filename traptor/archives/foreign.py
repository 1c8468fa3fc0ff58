"""What holds no tweets that can be read, by its first bytes, and what to do about it."""

import re

_UNPACK = "unpack it first"
_CONVERT = "write JSON from it with what has made it, ids as texts"
_PICTURE = "pictures of tweets cannot be read; fetch the tweets by their ids"
_FETCH = "the tweets themselves have to be fetched by their ids first"
_LITERALS = (
    "make JSON lines of it: "
    "python3 -c 'import ast, json, sys; [print(json.dumps(ast.literal_eval(line))) for line in sys.stdin]'"
)

_CELL = rb'(?:"[^"\r\n]*"|[\w .:/-]*)'
_COLUMN = rb"(?:id|id_str|text|tweet|tweet_?id|status_?id|user|username|screen_?name|author_?id|created_?at|date)"
_HEADER = rb'(?i:(?=(?:[^\r\n]*[,;\t])?"?%b"?[,;\t\r\n])%b(?:[,;\t]%b)+\r?\n)' % (_COLUMN, _CELL, _CELL)

_KINDS = [
    (re.compile(pattern), f"is {what}: {advice}")
    for pattern, what, advice in (
        (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF(?s:....)WEBP", "a picture", _PICTURE),
        (rb"%PDF", "a PDF document", _PICTURE),
        (
            rb"(?i:\s*<(?:!doctype\s+html|html|head|body))",
            "a web page",
            "download the file itself; it may need a login",
        ),
        (rb"\s*<\?xml", "XML", "look for the JSON of the same tweets"),
        (rb"\s*[\[{][\s{]*u?'\w+'\s*:", "Python's own writing, not JSON", _LITERALS),
        (rb"(?:\d{5,20}[ \t\r]*\n)+(?:\d*\s*$|\d{5,20}[ \t\r]*\n)", "a list of tweet ids", _FETCH),
        (rb'\s*\[\s*("?)\d{5,20}\1\s*[,\]]', "a list of tweet ids", _FETCH),
        (_HEADER, "a table (CSV)", "look for the JSON that it was made from; with ids alone, fetch the tweets by them"),
        (rb"version https://git-lfs", "a pointer of Git LFS", "get the file itself: git lfs pull"),
        (rb"7z\xbc\xaf|Rar!|\x04\x22\x4d\x18|LZIP|\x1f\x9d", "packed with 7-Zip, RAR, LZ4, lzip or compress", _UNPACK),
        (rb"SQLite format 3\0", "a SQLite database", _CONVERT),
        (rb"PAR1|ARROW1|FEA1|Obj\x01", "a table (Parquet, Arrow or Avro)", _CONVERT),
        (rb"RD[XA]\d\n|[XA]\n\0", "data of R", _CONVERT),
        (rb"\x80[\x02-\x05].", "data of Python (pickle)", _CONVERT),
        (rb"\xd0\xcf\x11\xe0", "a document of Excel or Word", _CONVERT),
        (rb"(?s:(?!\s*[\[{\x1e]).*\0)", "binary, of a kind that is not known", "JSON is wanted"),
    )
]


def recognised(head: bytes) -> str | None:
    """What it is and what to do; None where it may be JSON."""
    return next((told for pattern, told in _KINDS if pattern.match(head)), None)
