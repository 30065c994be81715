"""The only door for text: files, folders, URLs and Hugging Face datasets come in, the `documents` table goes out.

`documents.read_corpus` is the stage; `files` finds what to read, one module reads each kind of file, `schemas` makes the files agree,
`columns` finds the text, `row_hash` names a row by its content.
"""
