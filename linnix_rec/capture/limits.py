"""How large the parts of a capture may be: what is larger was not written by any recorder. Knows no file.

A capture comes from a machine that the reader does not trust, and a small file can claim a large content.
Each limit stands well above what the writer makes, and all together keep a reader below 500 MB.
"""

from typing import Final

# ---- capture.json --------------------------------------------------------------------------------------
#: 270 bytes a segment: 120,000 of them, or two weeks at one every 10 s, if retention removes none. At worst
#: such a document takes 2 s and 450 MB (numbers or keys without end), small ones in proportion.
DOCUMENT_BYTES: Final = 32 << 20
#: Objects and lists: a segment is one. `[]` takes 2 bytes there and 64 in memory: bytes alone bound little.
DOCUMENT_CONTAINERS: Final = 1 << 20
#: Strings, keys included: a segment has seven. The shortest takes 4 bytes there and some 90 in memory.
DOCUMENT_STRINGS: Final = 1 << 21
#: Characters of one string. The longest is an argument of the recorded command: 128 KiB (MAX_ARG_STRLEN).
DOCUMENT_STRING_CHARACTERS: Final = 1 << 18

# ---- A segment's footer --------------------------------------------------------------------------------
#: 11 KB with one row group, 5 KB for each more; pyarrow makes up to 150 bytes of each.
FOOTER_BYTES: Final = 1 << 20
#: A million events with the longest arguments are 60 row groups.
ROW_GROUPS: Final = 128
#: The schema has 38, with syscalls 46.
COLUMNS: Final = 128
#: Elements of any list in the footer: row groups, and the schema's elements (columns, and two more for argv).
FOOTER_LIST: Final = 256
#: Bytes of any string in the footer: the longest is pyarrow's own copy of the schema, 6 KB.
FOOTER_STRING_BYTES: Final = 256 << 10
#: A segment closes at 1 Mi rows.
SEGMENT_ROWS: Final = 1 << 22
#: A row group closes at 128 Ki rows.
ROW_GROUP_ROWS: Final = 1 << 19

# ---- Pages ---------------------------------------------------------------------------------------------
#: A row group closes at 32 MiB in memory and the batch of 2 MiB that fills it; pages hold no more than that.
#: pyarrow holds the largest page of every column at once, and before that, compressed, the whole column.
ROW_GROUP_BYTES: Final = 64 << 20
#: A page's header takes some 30 bytes, with the statistics of a column of short names some 80.
PAGE_HEADER_BYTES: Final = 512
#: A page has as many rows as make 128 KiB, or a few more: some 300 make a row group of one long column.
PAGES_OF_COLUMN: Final = 1 << 12
#: Arguments, nulls included, that a row group has: at least 4 bytes each in memory.
ARGUMENTS_OF_ROW_GROUP: Final = 1 << 24

# ---- One event -----------------------------------------------------------------------------------------
#: An event takes at most 16 slots of 128 bytes, and a byte that is no UTF-8 three bytes: 6 KiB.
TEXT_BYTES: Final = 16 << 10
#: An argument takes at least its NUL there.
ARGUMENTS: Final = 1 << 12

#: Characters of a name from the capture that an error message shows.
SHOWN_CHARACTERS: Final = 120
